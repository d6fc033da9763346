import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { appendFile, rename, stat } from "node:fs/promises";
import type { RateLimitedLog } from "../../base/rate-limited-log.ts";

/** A file of this size becomes `PATH.1`, and a new one is begun. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;
/** Files beside the one that is written: `PATH.1` is the youngest, and the oldest is replaced. */
const OLDER_FILES = 4;
/** Lines that wait while the file cannot be written. Beyond it the oldest is dropped. */
const MOST_WAITING = 10_000;
/** How much of the file's end is read at the start. */
const TAIL_BYTES = 1024 * 1024;

/** The bounds of an audit log, for tests. */
export interface AuditFileBounds {
  fileBytes: number;
  waiting: number;
}

/**
 * A file to which lines are appended, bounded in size. It is opened for each write, so that something else may move it away, too.
 * If it cannot be written, that is logged, and the lines wait for the next one.
 */
export class AuditFile {
  private waiting: string[] = [];
  private writing: Promise<void> | undefined;
  /** A write that failed may have left a part of a line. */
  private isTorn: boolean;
  private readonly bounds: AuditFileBounds;

  constructor(
    private readonly path: string,
    private readonly log: Pick<RateLimitedLog, "error">,
    bounds: Partial<AuditFileBounds> = {},
  ) {
    this.bounds = { fileBytes: MAX_FILE_BYTES, waiting: MOST_WAITING, ...bounds };
    // A run that was killed may have left one, too.
    this.isTorn = this.lastBytes(1) !== "\n";
  }

  append(line: string): void {
    if (this.waiting.length >= this.bounds.waiting) {
      this.waiting.shift();
      this.log.error(`audit log: more than ${this.bounds.waiting} lines wait for ${this.path}; the oldest is dropped`);
    }
    this.waiting.push(line);
    this.flush();
  }

  /** The last lines of the file, the oldest first. */
  lastLines(count: number): string[] {
    return this.lastBytes(TAIL_BYTES)
      .split("\n")
      .slice(-count - 1);
  }

  /** Tries once more to write what waits. What cannot be written is lost, and the log says how much that is. */
  async close(): Promise<void> {
    await this.writing;
    this.flush();
    await this.writing;
    if (this.waiting.length > 0) this.log.error(`audit log: ${this.waiting.length} lines could not be written to ${this.path}`);
  }

  private flush(): void {
    if (this.waiting.length === 0) return;
    this.writing ??= this.writeAll().finally(() => {
      this.writing = undefined;
    });
  }

  private async writeAll(): Promise<void> {
    while (this.waiting.length > 0) {
      const lines = this.waiting;
      this.waiting = [];
      try {
        await this.rotate();
        await appendFile(this.path, `${this.isTorn ? "\n" : ""}${lines.join("\n")}\n`, { mode: 0o640 });
        this.isTorn = false;
      } catch (error) {
        this.isTorn = true;
        this.waiting = [...lines, ...this.waiting].slice(-this.bounds.waiting);
        this.log.error(`audit log: cannot write ${this.path} - ${(error as Error).message}`);
        return;
      }
    }
  }

  private async rotate(): Promise<void> {
    if ((await sizeOf(this.path)) < this.bounds.fileBytes) return;
    for (let age = OLDER_FILES; age > 0; age--) {
      const younger = age === 1 ? this.path : `${this.path}.${age - 1}`;
      if ((await sizeOf(younger)) > 0) await rename(younger, `${this.path}.${age}`);
    }
    this.isTorn = false;
  }

  /** The end of the file; a line break if there is none, or it cannot be read. */
  private lastBytes(count: number): string {
    let descriptor: number | undefined;
    try {
      descriptor = openSync(this.path, "r");
      const { size } = fstatSync(descriptor);
      const bytes = Buffer.alloc(Math.min(size, count));
      const length = readSync(descriptor, bytes, 0, bytes.length, Math.max(0, size - count));
      return length === 0 ? "\n" : bytes.toString("utf8", 0, length);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
        this.log.error(`audit log: cannot read ${this.path} - ${(error as Error).message}`);
      }
      return "\n";
    } finally {
      if (descriptor !== undefined) closeSync(descriptor);
    }
  }
}

/** @returns 0 if there is no such file */
async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}
