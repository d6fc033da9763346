import { join } from "node:path";
import { files, removeIfThere } from "../files.ts";
import type { Segment } from "./segment.ts";

/**
 * Segment files that every channel is done with, kept for the next segment of any topic.
 * Overwriting a file whose pages the kernel still holds is several times cheaper than growing a new one:
 * almost half of a publish was the kernel finding fresh pages.
 */
export class Recycler {
  private readonly pool: { path: string; bytes: number }[] = [];
  private totalBytes = 0;
  private nextName = 0;
  private taking = true;

  /** @param maxBytes bound on the pool, in bytes on disk */
  constructor(
    readonly directory: string,
    readonly maxBytes: number,
  ) {
    files.makeDirectory(directory);
    for (const name of files.list(directory)) {
      this.add(join(directory, name), files.sizeOf(join(directory, name)));
      this.nextName = Math.max(this.nextName, Number(name) + 1);
    }
  }

  /**
   * Takes over a segment's file, or removes it when the pool is full.
   *
   * @param failed called when it could not be removed
   */
  put(segment: Segment, failed: (error: Error) => void): void {
    const bytes = segment.fileBytes();
    if (!this.taking || bytes === 0 || this.totalBytes + bytes > this.maxBytes) {
      segment.discard(failed);
      return;
    }
    const path = join(this.directory, `${this.nextName++}`);
    segment.giveAway(path);
    this.add(path, bytes);
  }

  /** Space is short: the pool is given back, and what would come to it is removed, until there is room again. */
  setTaking(taking: boolean): void {
    this.taking = taking;
    if (taking) return;
    for (const { path } of this.pool.splice(0)) removeIfThere(path);
    this.totalBytes = 0;
  }

  /** A file to overwrite: the one given back last, whose pages are the warmest. */
  take(): string | undefined {
    const file = this.pool.pop();
    if (file === undefined) return undefined;
    this.totalBytes -= file.bytes;
    return file.path;
  }

  private add(path: string, bytes: number): void {
    if (this.totalBytes + bytes > this.maxBytes) {
      removeIfThere(path);
      return;
    }
    this.pool.push({ path, bytes });
    this.totalBytes += bytes;
  }
}
