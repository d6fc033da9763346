import { writeSync } from "node:fs";
import { formatTime, isUtc } from "../base/local-time.ts";
import type { Logger, LogLevel } from "../base/logger.ts";

const STDERR = 2;

const RANKS: Record<LogLevel, number> = { debug: 1, info: 2, warn: 3, error: 4, fatal: 5 };
const NAMES: Record<LogLevel, string> = { debug: "DEBUG", info: "INFO", warn: "WARNING", error: "ERROR", fatal: "FATAL" };

/** Accepts a line. Returns how many of its bytes it accepted, or throws. */
export type LineSink = (line: Uint8Array) => number;

/**
 * Writes log lines as nsqd does: `[nsqd] 2026/11/22 08:05:00.123456 INFO: text`, in local time, to standard error. Each line is
 * written before the call returns, so that the last lines of a crashing process are not lost.
 *
 * If lines cannot be written (the reader has exited, the disk is full, the pipe is not read), the program continues. Such lines
 * are dropped, and their number is logged when lines can be written again.
 */
export class LineLogger implements Logger {
  private rank = RANKS.info;
  private current: LogLevel = "info";
  private dropped = 0;
  constructor(
    level: LogLevel,
    private readonly prefix: string,
    private readonly sink: LineSink = writeToStderr,
  ) {
    this.level = level;
  }

  get level(): LogLevel {
    return this.current;
  }

  set level(level: LogLevel) {
    this.current = level;
    this.rank = RANKS[level];
  }

  debug(line: string): void {
    this.write("debug", line);
  }

  info(line: string): void {
    this.write("info", line);
  }

  warn(line: string): void {
    this.write("warn", line);
  }

  error(line: string): void {
    this.write("error", line);
  }

  fatal(line: string): void {
    this.write("fatal", line);
  }

  private write(level: LogLevel, text: string): void {
    if (RANKS[level] < this.rank) return;
    if (this.dropped > 0) {
      const notice = this.format("warn", `${this.dropped} log lines could not be written and are lost`);
      if (!this.deliver(notice)) {
        this.dropped++;
        return;
      }
      this.dropped = 0;
    }
    if (!this.deliver(this.format(level, text))) this.dropped++;
  }

  private format(level: LogLevel, text: string): string {
    return `${this.prefix}${clock.stamp()} ${NAMES[level]}: ${onOneLine(text)}\n`;
  }

  /** @returns whether the whole line was written */
  private deliver(line: string): boolean {
    let rest: Uint8Array = Buffer.from(line);
    try {
      while (rest.length > 0) {
        const taken = this.sink(rest);
        if (taken === 0) return false;
        rest = rest.subarray(taken);
      }
      return true;
    } catch {
      // There is no other place to report this to. write() counts the line.
      return false;
    }
  }
}

function writeToStderr(line: Uint8Array): number {
  return writeSync(STDERR, line);
}

/** Escapes control characters. Clients choose parts of log lines, and must not be able to forge a line or to control a terminal. */
function onOneLine(text: string): string {
  let safe = "";
  let copied = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if ((code >= 0x20 && code < 0x7f) || code >= 0xa0 || code === 0x09) continue;
    safe += `${text.slice(copied, at)}${code === 0x0a ? "\\n" : `\\x${code.toString(16).padStart(2, "0")}`}`;
    copied = at + 1;
  }
  return copied === 0 ? text : safe + text.slice(copied);
}

/** Wall-clock time to the microsecond: milliseconds from the wall clock, the rest from the monotonic clock. */
class MicrosecondClock {
  /**
   * Wall-clock time minus monotonic time, in ms. Corrected only as far as both need to agree on the millisecond, so that stamps
   * do not run backwards.
   */
  private offsetMs = performance.timeOrigin;
  private readonly utc = isUtc(process.env.TZ);
  private second = -1;
  private secondText = "";

  /** Formats the local time as Go's log package does: 2026/11/22 08:05:00.123456 */
  stamp(): string {
    const wallMs = Date.now();
    const monotonicMs = performance.now();
    const fraction = this.offsetMs + monotonicMs - wallMs;
    const micros = Math.floor(Math.min(0.999, Math.max(0, fraction)) * 1000);
    if (fraction < 0 || fraction >= 1) this.offsetMs = wallMs + micros / 1000 - monotonicMs;
    const second = Math.floor(wallMs / 1000);
    if (second !== this.second) {
      this.second = second;
      this.secondText = formatTime(wallMs, this.utc);
    }
    return `${this.secondText}.${padded(wallMs % 1000, 3)}${padded(micros, 3)}`;
  }
}

/** All loggers of the process share it, so that the lines of its servers are in the order of their stamps. */
const clock = new MicrosecondClock();

function padded(value: number, width: number): string {
  return String(value).padStart(width, "0");
}
