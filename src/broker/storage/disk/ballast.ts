import { join } from "node:path";
import { type RandomSource, systemRandom } from "../../../base/random-source.ts";
import { type Disk, removeIfThere, writeFully } from "./disk.ts";

const LARGEST_BYTES = 4 * 1024 * 1024;
/** The ballast takes at most this share of the file system, so that it does not fill a small one. */
const SHARE_OF_DISK = 1 / 32;
const PAGE_BYTES = 64 * 1024;

/** Room that is reserved for what the broker itself must write when the disk is full. */
export interface Ballast {
  /** Runs `work`. If the disk has no room for it, removes the ballast and runs `work` again. @throws what `work` threw */
  use<T>(work: () => T): T;
}

export const NO_BALLAST: Ballast = { use: (work) => work() };

/**
 * A file that only takes room. When the disk is full, whatever filled it, the broker removes this file to make room for
 * cursors, new channels and the status of deferred messages. So consumers can subscribe and drain, which frees more space.
 */
export class BallastFile implements Ballast {
  private readonly path: string;
  private present: boolean;

  constructor(
    private readonly disk: Disk,
    private readonly directory: string,
    private readonly random: RandomSource = systemRandom,
  ) {
    this.path = join(directory, "ballast");
    this.present = this.isThere();
  }

  /** One that cannot be looked at is written again. */
  private isThere(): boolean {
    try {
      return this.disk.exists(this.path);
    } catch {
      return false;
    }
  }

  get exists(): boolean {
    return this.present;
  }

  /** Writes the file if there is plenty of room. @param leaveBytes must stay free beside it */
  create(leaveBytes: number): void {
    if (this.present) return;
    const unfinished = `${this.path}.new`;
    try {
      const { freeBytes, totalBytes } = this.disk.space(this.directory);
      const bytes = Math.min(LARGEST_BYTES, Math.floor(totalBytes * SHARE_OF_DISK));
      if (freeBytes < leaveBytes + 2 * bytes) return;
      const fd = this.disk.open(unfinished, "w+");
      try {
        // Random bytes, because a file system that compresses would reserve no room for zeros.
        const page = Buffer.alloc(PAGE_BYTES);
        this.random(page);
        for (let at = 0; at < bytes; at += PAGE_BYTES) writeFully(this.disk, fd, page, 0, Math.min(PAGE_BYTES, bytes - at), at);
      } finally {
        this.disk.close(fd);
      }
      this.disk.rename(unfinished, this.path);
      this.present = true;
    } catch {
      // The caller tries again later. Without the ballast everything works as long as there is room.
      removeIfThere(this.disk, unfinished);
    }
  }

  /** Tries whether the disk takes a file, and removes it. */
  canWrite(): boolean {
    const unfinished = `${this.path}.new`;
    try {
      const fd = this.disk.open(unfinished, "w+");
      try {
        writeFully(this.disk, fd, Buffer.alloc(PAGE_BYTES), 0, PAGE_BYTES, 0);
      } finally {
        this.disk.close(fd);
      }
      this.disk.remove(unfinished);
      return true;
    } catch {
      return false;
    }
  }

  use<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!this.present || !isDiskFull(error)) throw error;
      this.present = false;
      removeIfThere(this.disk, this.path);
      return work();
    }
  }
}

/** Whether an error of the file system or of SQLite says that there is no room. */
function isDiskFull(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code ?? "";
  return code === "ENOSPC" || code === "EDQUOT" || code === "SQLITE_FULL";
}
