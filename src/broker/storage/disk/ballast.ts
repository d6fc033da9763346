import { join } from "node:path";
import { type Disk, removeIfThere, writeFully } from "./disk.ts";

const LARGEST_BYTES = 4 * 1024 * 1024;
/** And no more than this share of the whole disk: a small one is not to be filled by it. */
const SHARE_OF_DISK = 1 / 32;
const PAGE_BYTES = 64 * 1024;

/** Room that is kept for what the broker itself must write when the disk is full. */
export interface Ballast {
  /** Does some writing; if the disk is full for it, the ballast is thrown overboard and it is done once more. @throws what the work threw */
  use<T>(work: () => T): T;
}

export const NO_BALLAST: Ballast = { use: (work) => work() };

/**
 * A file that does nothing but take room. When the disk is full, whoever filled it, the file is removed, and in its place
 * go cursors, new channels, the words on deferred messages: consumers can join and drain, and so make room.
 */
export class BallastFile implements Ballast {
  private readonly path: string;
  private there = false;

  constructor(
    private readonly disk: Disk,
    private readonly directory: string,
  ) {
    this.path = join(directory, "ballast");
    this.there = disk.exists(this.path);
  }

  get exists(): boolean {
    return this.there;
  }

  /** Takes the room, if there is plenty. @param leaveBytes must be free beside it */
  create(leaveBytes: number): void {
    if (this.there) return;
    const half = `${this.path}.new`;
    try {
      const { freeBytes, totalBytes } = this.disk.space(this.directory);
      const bytes = Math.min(LARGEST_BYTES, Math.floor(totalBytes * SHARE_OF_DISK));
      if (freeBytes < leaveBytes + 2 * bytes) return;
      const fd = this.disk.open(half, "w+");
      try {
        // Random, because a file system that compresses would keep no room for zeros.
        const page = crypto.getRandomValues(Buffer.alloc(PAGE_BYTES));
        for (let at = 0; at < bytes; at += PAGE_BYTES) writeFully(this.disk, fd, page, 0, Math.min(PAGE_BYTES, bytes - at), at);
      } finally {
        this.disk.close(fd);
      }
      this.disk.rename(half, this.path);
      this.there = true;
    } catch {
      // It is tried again; without it all works as long as there is room.
      removeIfThere(this.disk, half);
    }
  }

  use<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!this.there || !isDiskFull(error)) throw error;
      this.there = false;
      removeIfThere(this.disk, this.path);
      return work();
    }
  }
}

/** Whether an error of the file system's or SQLite's says that there is no room. */
export function isDiskFull(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code ?? "";
  return code === "ENOSPC" || code === "EDQUOT" || code === "SQLITE_FULL";
}
