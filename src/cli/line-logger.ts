import { writeSync } from "node:fs";
import { formatTime, isUtc } from "../base/local-time.ts";
import type { LogAbout, LogFormat, Logger, LogLevel } from "../base/logger.ts";

const STDERR = 2;

const RANKS: Record<LogLevel, number> = { debug: 1, info: 2, warn: 3, error: 4, fatal: 5 };
const NAMES: Record<LogLevel, string> = { debug: "DEBUG", info: "INFO", warn: "WARNING", error: "ERROR", fatal: "FATAL" };

/** Accepts a line. Returns how many of its bytes it accepted, or throws. */
export type LineSink = (line: Uint8Array) => number;

/** The log of a server. @param component the server, for JSON lines */
export function openLogger(
  { logFormat, logLevel, logPrefix }: { logFormat: LogFormat; logLevel: LogLevel; logPrefix: string },
  component: string,
): Logger {
  return logFormat === "json" ? new JsonLogger(logLevel, component) : new LineLogger(logLevel, logPrefix);
}

/**
 * Writes log lines to standard error. Each line is written before the call returns, so that the last lines of a crashing process
 * are not lost.
 *
 * If lines cannot be written (the reader has exited, the disk is full, the pipe is not read), the program continues. Such lines
 * are dropped, and their number is logged when lines can be written again.
 */
abstract class StreamLogger implements Logger {
  private rank = RANKS.info;
  private current: LogLevel = "info";
  private dropped = 0;

  constructor(
    level: LogLevel,
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

  debug(line: string, about?: LogAbout): void {
    this.write("debug", line, about);
  }

  info(line: string, about?: LogAbout): void {
    this.write("info", line, about);
  }

  warn(line: string, about?: LogAbout): void {
    this.write("warn", line, about);
  }

  error(line: string, about?: LogAbout): void {
    this.write("error", line, about);
  }

  fatal(line: string, about?: LogAbout): void {
    this.write("fatal", line, about);
  }

  /** A whole line, with its end. */
  protected abstract format(level: LogLevel, text: string, about: LogAbout): string;

  private write(level: LogLevel, text: string, about: LogAbout): void {
    if (RANKS[level] < this.rank) return;
    if (this.dropped > 0) {
      const notice = this.format("warn", `${this.dropped} log lines could not be written and are lost`, undefined);
      if (!this.deliver(notice)) {
        this.dropped++;
        return;
      }
      this.dropped = 0;
    }
    if (!this.deliver(this.format(level, text, about))) this.dropped++;
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

/** Writes log lines as nsqd does: `[nsqd] 2026/11/22 08:05:00.123456 INFO: text`, in local time. */
export class LineLogger extends StreamLogger {
  constructor(
    level: LogLevel,
    private readonly prefix: string,
    sink?: LineSink,
  ) {
    super(level, sink);
  }

  protected override format(level: LogLevel, text: string): string {
    return `${this.prefix}${clock.stamp()} ${NAMES[level]}: ${onOneLine(text)}\n`;
  }
}

/**
 * Writes each log line as a JSON object: `{"level":"info","time":"2026-11-22T08:05:00.123456Z","component":"broker","msg":"text"}`, and
 * `topic`, `channel`, `client` and `request_id` where they are known. The component of a part of a server has the part behind a
 * slash: `broker/http`.
 */
export class JsonLogger extends StreamLogger {
  constructor(
    level: LogLevel,
    private readonly component: string,
    sink?: LineSink,
  ) {
    super(level, sink);
  }

  protected override format(level: LogLevel, msg: string, about: LogAbout): string {
    const { part, topic, channel, client, requestId } = about === undefined ? {} : "logFields" in about ? about.logFields : about;
    const component = part === undefined ? this.component : `${this.component}/${part}`;
    const line = JSON.stringify({ level, time: clock.utcStamp(), component, msg, topic, channel, client, request_id: requestId });
    return `${line.replace(RAW_CONTROLS, escapeControl)}\n`;
  }
}

/** Control characters that JSON allows in strings. Clients choose parts of log lines, and must not be able to control a terminal. */
const RAW_CONTROLS = /[\x7f-\x9f\u2028\u2029]/g;

function escapeControl(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
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
    const { wallMs, micros } = this.now();
    const second = Math.floor(wallMs / 1000);
    if (second !== this.second) {
      this.second = second;
      this.secondText = formatTime(wallMs, this.utc);
    }
    return `${this.secondText}.${padded(wallMs % 1000, 3)}${padded(micros, 3)}`;
  }

  /** Formats the time as RFC 3339 has it, in UTC: 2026-11-22T08:05:00.123456Z */
  utcStamp(): string {
    const { wallMs, micros } = this.now();
    return `${new Date(wallMs).toISOString().slice(0, -1)}${padded(micros, 3)}Z`;
  }

  private now(): { wallMs: number; micros: number } {
    const wallMs = Date.now();
    const monotonicMs = performance.now();
    const fraction = this.offsetMs + monotonicMs - wallMs;
    const micros = Math.floor(Math.min(0.999, Math.max(0, fraction)) * 1000);
    if (fraction < 0 || fraction >= 1) this.offsetMs = wallMs + micros / 1000 - monotonicMs;
    return { wallMs, micros };
  }
}

/** All loggers of the process share it, so that the lines of its servers are in the order of their stamps. */
const clock = new MicrosecondClock();

function padded(value: number, width: number): string {
  return String(value).padStart(width, "0");
}
