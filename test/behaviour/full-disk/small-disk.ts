import { closeSync, mkdtempSync, openSync, rmdirSync, statfsSync, unlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missing } from "../../support/needs.ts";

/** A disk of its own that is soon full: a tmpfs, where this process may mount one. */
export class SmallDisk implements Disposable {
  private constructor(readonly path: string) {}

  /** @returns the disk, or why there is none */
  static mount(bytes: number): SmallDisk | string {
    if (process.platform !== "linux") return "a tmpfs can be mounted on Linux only";
    const noProgram = missing("mount", "umount");
    if (noProgram !== undefined) return noProgram;
    const path = mkdtempSync(join(tmpdir(), "bunsq-disk-"));
    const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", path]);
    if (mounted.success) return new SmallDisk(path);
    rmdirSync(path);
    return `no tmpfs can be mounted: ${mounted.stderr.toString().trim()}`;
  }

  get freeBytes(): number {
    const disk = statfsSync(this.path);
    return disk.bavail * disk.bsize;
  }

  /** Somebody else fills the disk, up to `leaveBytes`. */
  fill(leaveBytes: number): void {
    const fd = openSync(join(this.path, "filler"), "a");
    const dots = Buffer.alloc(1_048_576, 0x2e);
    try {
      for (let left = this.freeBytes - leaveBytes; left > 0; ) left -= writeSync(fd, dots, 0, Math.min(left, dots.length));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    } finally {
      closeSync(fd);
    }
  }

  /** Removes the file that filled the disk. */
  free(): void {
    unlinkSync(join(this.path, "filler"));
  }

  [Symbol.dispose](): void {
    Bun.spawnSync(["umount", "-l", this.path]);
    rmdirSync(this.path);
  }
}

/** Why tests of full disks cannot run here; undefined: they can. */
export function whyNoSmallDisk(): string | undefined {
  const disk = SmallDisk.mount(1_048_576);
  if (typeof disk === "string") return disk;
  disk[Symbol.dispose]();
  return undefined;
}
