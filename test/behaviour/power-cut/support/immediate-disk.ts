import { FaultDisk } from "./fault-disk.ts";

/** A disk in memory whose syncs end at once: when they end is up to the flaky disk in front of it. */
export class ImmediateDisk extends FaultDisk {
  override sync(fd: number, done: (error: NodeJS.ErrnoException | null) => void): void {
    super.sync(fd, done);
    this.endSync();
  }

  override syncDirectory(path: string, done: (error: NodeJS.ErrnoException | null) => void): void {
    super.syncDirectory(path, done);
    this.endSync();
  }
}
