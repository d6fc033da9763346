import { join } from "node:path";
import { type Disk, removeIfThere } from "../disk/disk.ts";
import type { Segment } from "./segment.ts";

interface Recycled {
  path: string;
  bytes: number;
  /**
   * Its old name is gone from the disk, so it may be overwritten. Before that a power cut could bring the old name back
   * over new bytes: records that were synced once, and are half something else.
   */
  ready: boolean;
}

/**
 * Segment files that every channel is done with, kept for the next segment of any topic.
 * Overwriting a file whose pages the kernel still holds is several times cheaper than growing a new one:
 * almost half of a publish was the kernel finding fresh pages.
 */
export class Recycler {
  private readonly pool: Recycled[] = [];
  /** Segments that are still to be removed, and when the last of them is. */
  private leaving = 0;
  private removals: Promise<void> = Promise.resolve();
  private totalBytes = 0;
  private nextName = 0;
  private accepting = true;

  /** @param maxBytes bound on the pool, in bytes on disk */
  constructor(
    private readonly disk: Disk,
    readonly directory: string,
    readonly maxBytes: number,
  ) {
    disk.makeDirectory(directory);
    for (const name of disk.list(directory)) {
      // Of an earlier run: the file system has written its names since.
      this.add({ path: join(directory, name), bytes: disk.sizeOf(join(directory, name)), ready: true });
      this.nextName = Math.max(this.nextName, Number(name) + 1);
    }
  }

  /**
   * Takes over a segment's file, or removes it when the pool is full.
   *
   * @param failed called when it could not be removed
   * @param wholeLog all of its log goes, and the folder with it at once
   */
  recycle(segment: Segment, failed: (error: Error) => void, wholeLog = false): void {
    const bytes = segment.fileBytes();
    const fits = this.accepting && bytes > 0 && this.totalBytes + bytes <= this.maxBytes;
    if (wholeLog && !fits) return segment.removeLogInBackground(failed);
    if (!fits || (this.leaving > 0 && !wholeLog)) return this.removeInTurn(segment, failed);
    const path = join(this.directory, `${this.nextName++}`);
    segment.moveLogFile(path);
    const file: Recycled = { path, bytes, ready: false };
    this.add(file);
    // One that cannot be synced stays unused, which costs its space until the pool is given back.
    this.disk.syncDirectory(segment.directory, (error) => {
      file.ready = error === null;
    });
  }

  /** There is a file to overwrite. */
  get hasReady(): boolean {
    return this.pool.some(({ ready }) => ready);
  }

  /** Space is short: the pool is given back, and what would come to it is removed, until there is room again. */
  setAccepting(accepting: boolean): void {
    this.accepting = accepting;
    if (accepting) return;
    for (const { path } of this.pool.splice(0)) removeIfThere(this.disk, path);
    this.totalBytes = 0;
  }

  /** A file to overwrite: of those that may be, the one given back last, whose pages are the warmest. */
  takeFile(): string | undefined {
    const at = this.pool.findLastIndex(({ ready }) => ready);
    if (at < 0) return undefined;
    const [file] = this.pool.splice(at, 1);
    this.totalBytes -= file.bytes;
    return file.path;
  }

  /** Resolves once all that is to be removed is. */
  removalsDone(): Promise<void> {
    return this.removals;
  }

  /** One after the other: of a log no segment goes before those in front of it, and a crash leaves one half removed at most. */
  private removeInTurn(segment: Segment, failed: (error: Error) => void): void {
    segment.close();
    this.leaving++;
    const removed = () =>
      new Promise<void>((resolve) => {
        segment.removeInBackground((error) => {
          this.leaving--;
          if (error !== undefined) failed(error);
          resolve();
        });
      });
    this.removals = this.removals.then(removed);
  }

  private add(file: Recycled): void {
    if (this.totalBytes + file.bytes > this.maxBytes) {
      removeIfThere(this.disk, file.path);
      return;
    }
    this.pool.push(file);
    this.totalBytes += file.bytes;
  }
}
