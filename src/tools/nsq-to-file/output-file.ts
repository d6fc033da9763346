import { constants } from "node:fs";
import { type FileHandle, link, mkdir, open, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { formatDuration, msToNs } from "../../base/go/duration.ts";
import { lazy } from "../../base/lazy.ts";
import type { Logger } from "../../base/logger.ts";
import { Fatal } from "../tool.ts";
import { withRevision, withTime } from "./file-name.ts";

/** How files are written. */
export interface FileOptions {
  outputDir: string;
  /** Where files are until they are finished; the output directory itself if they are not moved. */
  workDir: string;
  datetimeFormat: string;
  /** The level; undefined for files that are not compressed. */
  gzipLevel: number | undefined;
  /** Bytes before compression; 0 for no limit. */
  rotateSize: number;
  /** ms; 0 for no limit. */
  rotateIntervalMs: number;
}

const NEWLINE = Buffer.from("\n");
const DIRECTORY_MODE = 0o770;

/**
 * The file that a topic's messages are appended to, a line each, and the files that follow it.
 *
 * What sync() or close() has returned for survives a crash of the machine, with the file's name. In a compressed file everything
 * between two syncs is a gzip member of its own, so that a file that ends in the middle of one can be read up to there.
 */
export class OutputFile {
  private handle: FileHandle | undefined;
  private path = "";
  /** The name without its number. */
  private name = "";
  private openedAtMs = 0;
  private size = 0;
  private revision = 0;
  private pending: Uint8Array[] = [];
  private hasMembers = false;
  private nameSecond = -1;
  private currentName = "";

  /** @param format the topic's file names. @param who begins each log line */
  constructor(
    private readonly format: string,
    private readonly options: FileOptions,
    private readonly logger: Logger,
    private readonly who: string,
  ) {}

  /** Whether the next message belongs to another file. */
  get needsRotation(): boolean {
    const { rotateIntervalMs, rotateSize } = this.options;
    if (this.handle === undefined) return true;
    const name = this.nameNow();
    if (name !== this.name) {
      this.info(`new filename ${name}, rotating...`);
      return true;
    }
    const ageMs = Date.now() - this.openedAtMs;
    if (rotateIntervalMs > 0 && ageMs > rotateIntervalMs) {
      this.info(`${formatDuration(msToNs(ageMs))} since last open, rotating...`);
      return true;
    }
    if (rotateSize > 0 && this.size > rotateSize) {
      this.info(`${this.path} currently ${this.size} bytes (> ${rotateSize}), rotating...`);
      return true;
    }
    return false;
  }

  /** Adds a line. It is written at the next flush(). */
  append(body: Uint8Array): void {
    this.pending.push(body, NEWLINE);
    this.size += body.length + 1;
  }

  /** Writes what was appended; compressed files are written at the next sync. @throws Fatal */
  async flush(): Promise<void> {
    if (this.options.gzipLevel === undefined) await this.write();
  }

  /** Writes what was appended, and returns once it is on the disk. @throws Fatal */
  async sync(): Promise<void> {
    await this.write();
    await this.attempt("failed syncing messages", () => this.handle?.sync());
  }

  /** Finishes the file, and moves it to where it belongs. @throws Fatal */
  async close(): Promise<void> {
    const { handle } = this;
    if (handle === undefined) return;
    // A file without members is no gzip file.
    if (this.options.gzipLevel !== undefined && !this.hasMembers) await this.writeAll(lazy.zlib.gzipSync(""));
    await this.write();
    await this.attempt("failed to fsync output file", () => handle.sync());
    await this.attempt("failed to close output file", () => handle.close());
    this.handle = undefined;
    if (this.options.workDir !== this.options.outputDir) await this.move();
  }

  /** Finishes the file and opens the next one. @throws Fatal */
  async rotate(): Promise<void> {
    await this.close();
    const name = this.nameNow();
    this.revision = name === this.name ? this.revision + 1 : 0;
    this.name = name;
    this.openedAtMs = Date.now();
    while (!(await this.open())) this.revision++;
  }

  /** Opens the file of the current name and number. @returns false if it is taken or full */
  private async open(): Promise<boolean> {
    const { workDir, outputDir, gzipLevel, rotateIntervalMs, rotateSize } = this.options;
    const name = withRevision(this.name, this.revision);
    const path = join(workDir, name);
    await this.makeFolder(path);
    if (workDir !== outputDir) {
      const finished = join(outputDir, name);
      await this.makeFolder(finished);
      if (await this.exists(finished)) {
        this.warn(`output file already exists: ${finished}`);
        return false;
      }
    }
    const isNew = gzipLevel !== undefined || rotateIntervalMs > 0;
    const flags = constants.O_RDWR | constants.O_CREAT | (isNew ? constants.O_EXCL : constants.O_APPEND);
    let handle: FileHandle;
    try {
      handle = await open(path, flags, 0o666);
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw this.fatal(`unable to open ${path}`, error);
      this.warn(`working file already exists: ${path}`);
      return false;
    }
    this.info(`opening ${path}`);
    const { size } = await handle.stat();
    if (rotateSize > 0 && size > rotateSize) {
      this.info(`${path} currently ${size} bytes (> ${rotateSize}), rotating...`);
      await handle.close();
      return false;
    }
    this.handle = handle;
    this.path = path;
    this.size = size;
    this.hasMembers = false;
    if (size > 0) await this.endLine(handle, size);
    await this.syncFolder(path);
    return true;
  }

  /** Ends the last line of a file whose writer was killed in the middle of it, so that the next message gets a line of its own. */
  private async endLine(handle: FileHandle, size: number): Promise<void> {
    const last = new Uint8Array(1);
    await this.attempt("unable to read the end of the file", () => handle.read(last, 0, 1, size - 1));
    if (last[0] === NEWLINE[0]) return;
    this.warn(`${this.path} ends in the middle of a line; starting a new one`);
    this.pending.push(NEWLINE);
    this.size++;
  }

  /** Moves the finished file. Another file of its name stays, and this one gets the next number that is free. */
  private async move(): Promise<void> {
    const { path } = this;
    for (let revision = this.revision; ; revision++) {
      const target = join(this.options.outputDir, withRevision(this.name, revision));
      this.info(`moving finished file ${path} to ${target}`);
      try {
        // Unlike a rename it does not replace a file.
        await link(path, target);
      } catch (error) {
        if (codeOf(error) !== "EEXIST") throw this.fatal(`unable to move file from ${path} to ${target}`, error);
        this.warn(`destination file already exists: ${target}`);
        continue;
      }
      await this.syncFolder(target);
      await this.attempt(`unable to move file from ${path} to ${target}`, () => unlink(path));
      return;
    }
  }

  private async write(): Promise<void> {
    if (this.pending.length === 0) return;
    const { gzipLevel } = this.options;
    const bytes = Buffer.concat(this.pending);
    this.pending = [];
    await this.writeAll(gzipLevel === undefined ? bytes : lazy.zlib.gzipSync(bytes, { level: gzipLevel }));
    this.hasMembers = true;
  }

  private async writeAll(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const result = await this.attempt("writing message to disk", () => this.handle?.write(bytes, at));
      at += result?.bytesWritten ?? bytes.length;
    }
  }

  private nameNow(): string {
    const nowMs = Date.now();
    const second = Math.floor(nowMs / 1_000);
    if (second !== this.nameSecond) {
      this.nameSecond = second;
      this.currentName = withTime(this.format, this.options.datetimeFormat, new Date(nowMs));
    }
    return this.currentName;
  }

  private async makeFolder(path: string): Promise<void> {
    await this.attempt("unable to create dir", () => mkdir(dirname(path), { recursive: true, mode: DIRECTORY_MODE }));
  }

  private async exists(path: string): Promise<boolean> {
    try {
      await stat(path);
      return true;
    } catch (error) {
      if (codeOf(error) === "ENOENT") return false;
      throw this.fatal(`unable to stat output file ${path}`, error);
    }
  }

  /** Makes the names in a file's folder survive a crash of the machine. */
  private async syncFolder(path: string): Promise<void> {
    await this.attempt("failed to fsync the directory", async () => {
      const folder = await open(dirname(path), "r");
      try {
        await folder.sync();
      } finally {
        await folder.close();
      }
    });
  }

  private async attempt<Result>(what: string, action: () => Promise<Result> | undefined): Promise<Result | undefined> {
    try {
      return await action();
    } catch (error) {
      throw this.fatal(what, error);
    }
  }

  private fatal(what: string, error: unknown): Fatal {
    return new Fatal(`${this.who} ${what}: ${(error as Error).message}`);
  }

  private info(line: string): void {
    this.logger.info(`${this.who} ${line}`);
  }

  private warn(line: string): void {
    this.logger.warn(`${this.who} ${line}`);
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
