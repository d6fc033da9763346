import { join } from "node:path";
import type { Logger } from "../../base/logger.ts";
import { closeQuietly, type Disk, GONE_ENDING, removeIfThere, removeSoon, writeFully } from "../storage/disk/disk.ts";
import { isKernelError } from "../storage/disk/unreadable-file.ts";
import { MAX_BATCH_BYTES, RECORD_BYTES } from "./record.ts";
import { batchAt, encodeFileHead, judgeFileHead, nextBatch, visitNames } from "./trace-batch.ts";

/** A smaller limit counts as this. */
const LOWEST_LIMIT_BYTES = 2 * 1024 * 1024;
/** All files together are divided into this many, so that dropping the oldest costs a small part. */
const FILES = 16;
const SMALLEST_FILE_BYTES = 512 * 1024;
/** A start reads the newest file, which takes 3 ms for as much as this. */
const LARGEST_FILE_BYTES = 8 * 1024 * 1024;
/** A search has the names of one file in memory. */
const MOST_NAMES = 64 * 1024;

/** The name of a file: its number, and an ending. */
export const FILE_NAME = /^(\d{1,15})\.trace$/;

/** Sequences of one topic, all of them in a file. */
export interface SequenceRange {
  lowest: number;
  highest: number;
}

/** One file of traces. */
export interface TraceFile {
  readonly number: number;
  readonly path: string;
  bytes: number;
  /** Which messages its records are about, by topic number; undefined: it is written to, or nobody has read the whole of it. */
  ranges: Map<number, SequenceRange> | undefined;
}

/** What the files need of their broker. */
export interface TraceFilesParts {
  readonly disk: Disk;
  readonly directory: string;
  /** The most bytes of all files together. 0: there are none, and those of an earlier run are removed. */
  readonly limitBytes: number;
  readonly logger: Logger;
}

/**
 * The files of message traces (record.ts). Batches are appended to the newest; where it is full, a new one is begun, and the oldest
 * are removed so that all are within their limit. They are never synced: a power cut may lose what the kernel had not written.
 */
export class TraceFiles {
  /** Ascending by number. The last is written to. */
  readonly list: TraceFile[] = [];
  /** The number of the next name in the newest file. */
  nextName = 1;
  private readonly limitBytes: number;
  private readonly fileBytes: number;
  private fd = -1;
  private isRecovered = false;

  constructor(private readonly parts: TraceFilesParts) {
    this.limitBytes = parts.limitBytes > 0 ? Math.max(LOWEST_LIMIT_BYTES, parts.limitBytes) : 0;
    this.fileBytes = Math.min(LARGEST_FILE_BYTES, Math.max(SMALLEST_FILE_BYTES, Math.floor(this.limitBytes / FILES)));
  }

  /** All files together. */
  get bytes(): number {
    return this.list.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /**
   * Takes up what an earlier run left. Behind the last whole batch of the newest file it is cut. Where the disk fails, no file is
   * touched, and the first batch tries again.
   */
  recover(): void {
    const { limitBytes } = this;
    const { directory, logger } = this.parts;
    try {
      this.findFiles();
      if (limitBytes > 0) this.reopenNewest();
      this.removeOldest(limitBytes > 0 ? MAX_BATCH_BYTES : 0);
    } catch (error) {
      if (!isKernelError(error)) throw error;
      logger.warn(`TRACE: cannot read ${directory}: ${error.message}; what it has may be missing from traces`);
    }
  }

  private findFiles(): void {
    const { disk, directory } = this.parts;
    const names = disk.exists(directory) ? disk.list(directory) : [];
    const files = names.flatMap((name) => {
      if (name.endsWith(`.trace${GONE_ENDING}`)) removeIfThere(disk, join(directory, name));
      const number = FILE_NAME.test(name) ? Number.parseInt(name, 10) : -1;
      const path = this.pathOf(number);
      return number < 0 ? [] : [{ number, path, bytes: disk.sizeOf(path), ranges: undefined }];
    });
    this.list.push(...files.sort((a, b) => a.number - b.number));
    this.isRecovered = true;
  }

  private reopenNewest(): void {
    const { disk } = this.parts;
    const newest = this.list[this.list.length - 1];
    // A file that is full, or was written with a larger limit, is not read.
    if (newest === undefined || newest.bytes >= this.fileBytes) return;
    const fd = disk.open(newest.path, "r+");
    try {
      const bytes = Buffer.allocUnsafe(newest.bytes);
      if (readUpTo(disk, fd, bytes, bytes.length, 0) < bytes.length || judgeFileHead(bytes, bytes.length) !== "sound") {
        return closeQuietly(disk, fd);
      }
      let end = RECORD_BYTES;
      for (let at = end; at < bytes.length; ) {
        const found = batchAt(bytes, at, bytes.length);
        if (found === "incomplete") break;
        if (found === "damaged") {
          at = nextBatch(bytes, at, bytes.length);
          if (at + RECORD_BYTES > bytes.length) break;
          continue;
        }
        visitNames(bytes, found, (number) => {
          this.nextName = Math.max(this.nextName, number + 1);
        });
        end = at = found.end;
      }
      if (end < bytes.length) disk.truncate(fd, end);
      newest.bytes = end;
      this.fd = fd;
    } catch (error) {
      closeQuietly(disk, fd);
      throw error;
    }
  }

  /** Appends a batch. @throws the kernel's error; no part of it counts then */
  append(batch: Buffer, length: number): void {
    const { disk } = this.parts;
    if (!this.isRecovered) this.findFiles();
    // Where none can be removed, nothing is written: the limit holds.
    this.removeOldest(MAX_BATCH_BYTES);
    if (this.fd < 0) this.begin();
    const file = this.list[this.list.length - 1];
    writeFully(disk, this.fd, batch, 0, length, file.bytes);
    file.bytes += length;
  }

  /** Ends the newest file if it is full, or has as many names as a file may have. @returns whether it has ended it */
  endIfFull(): boolean {
    const newest = this.list[this.list.length - 1];
    if (newest === undefined || (newest.bytes < this.fileBytes && this.nextName < MOST_NAMES)) return false;
    this.close();
    return true;
  }

  private begin(): void {
    const { disk, directory } = this.parts;
    disk.makeDirectory(directory);
    const number = (this.list[this.list.length - 1]?.number ?? 0) + 1;
    const path = this.pathOf(number);
    const fd = disk.open(path, "w+");
    try {
      const head = encodeFileHead();
      writeFully(disk, fd, head, 0, head.length, 0);
    } catch (error) {
      closeQuietly(disk, fd);
      throw error;
    }
    this.fd = fd;
    this.list.push({ number, path, bytes: RECORD_BYTES, ranges: undefined });
  }

  /** Removes the oldest files until there is room for `room` bytes more. The newest stays. */
  private removeOldest(room: number): void {
    const { limitBytes } = this;
    const { disk, logger } = this.parts;
    const kept = limitBytes > 0 ? 1 : 0;
    for (let { bytes } = this; this.list.length > kept && bytes + room > limitBytes; ) {
      const [oldest] = this.list;
      removeSoon(disk, oldest.path, (error) => logger.warn(`TRACE: cannot remove ${oldest.path}: ${error.message}`));
      this.list.shift();
      bytes -= oldest.bytes;
    }
  }

  /** Whether a file is written to. */
  isOpen(file: TraceFile): boolean {
    return this.fd >= 0 && file === this.list[this.list.length - 1];
  }

  /** Closes the newest file. The next batch begins another one. */
  close(): void {
    if (this.fd >= 0) closeQuietly(this.parts.disk, this.fd);
    this.fd = -1;
    this.nextName = 1;
  }

  private pathOf(number: number): string {
    return join(this.parts.directory, `${number}.trace`);
  }
}

/** Reads as many bytes as there are, up to `length`. @returns how many */
export function readUpTo(disk: Disk, fd: number, buffer: Buffer, length: number, position: number): number {
  let done = 0;
  while (done < length) {
    const read = disk.read(fd, buffer, done, length - done, position + done);
    if (read === 0) break;
    done += read;
  }
  return done;
}
