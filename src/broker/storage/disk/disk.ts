import {
  close as closeLater,
  closeSync,
  fdatasync,
  fstatSync,
  fsync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  open as openLater,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmdirSync,
  statfsSync,
  statSync,
  unlink,
  unlinkSync,
  writeSync,
} from "node:fs";

/** "r": for reading only, and must be there, as for "r+"; "w+": made, or cut to nothing. */
export type OpenFlags = "r" | "r+" | "w+";

/**
 * The few calls through which logs, deferred messages, keys and the ballast reach the disk. Each broker is given one: tests
 * put a disk in its place that fails, forgets, tears and reorders, and several brokers with different disks run in one
 * process. For a broker in use it is node:fs itself, one property load away.
 *
 * Every call throws what the kernel said, as node:fs does. Paths are absolute, positions and sizes in bytes.
 */
export interface Disk {
  open(path: string, flags: OpenFlags): number;
  close(fd: number): void;
  /** @returns bytes read; 0 at the file's end */
  read(fd: number, buffer: Buffer, at: number, length: number, position: number): number;
  /** @returns bytes taken, which may be fewer than given */
  write(fd: number, buffer: Buffer, from: number, length: number, position: number): number;
  size(fd: number): number;
  truncate(fd: number, length: number): void;
  /** Brings a file's bytes and length to the disk, off the event loop. */
  sync(fd: number, done: (error: NodeJS.ErrnoException | null) => void): void;
  /**
   * Brings to the disk which names a directory holds, off the event loop: a file whose name is lost is lost. One that is
   * gone holds none: its topic was deleted since.
   */
  syncDirectory(path: string, done: (error: NodeJS.ErrnoException | null) => void): void;
  /** The same, at once. */
  syncDirectoryNow(path: string): void;
  rename(from: string, to: string): void;
  remove(path: string): void;
  /** Off the event loop. */
  removeLater(path: string, done: (error: NodeJS.ErrnoException | null) => void): void;
  /** With those above it. @returns whether it was not there */
  makeDirectory(path: string): boolean;
  /** An empty one. */
  removeDirectory(path: string): void;
  list(path: string): string[];
  sizeOf(path: string): number;
  exists(path: string): boolean;
  /** Bytes that may still be written to the file system of a path, and its whole size. */
  space(path: string): { freeBytes: number; totalBytes: number };
}

/** The machine's own file systems. */
export const systemDisk: Disk = {
  open: openSync,
  close: closeSync,
  read: readSync,
  write: writeSync,
  size: (fd) => fstatSync(fd).size,
  truncate: ftruncateSync,
  sync: fdatasync,
  syncDirectory: (path, done) =>
    openLater(path, "r", (error, fd) => {
      if (error) return done(error.code === "ENOENT" ? null : error);
      fsync(fd, (failure) => closeLater(fd, (unclosed) => done(failure && !cannotSync(failure) ? failure : (unclosed ?? null))));
    }),
  syncDirectoryNow: (path) => {
    const fd = openSync(path, "r");
    try {
      fsyncSync(fd);
    } catch (error) {
      if (!cannotSync(error)) throw error;
    } finally {
      closeSync(fd);
    }
  },
  rename: renameSync,
  remove: unlinkSync,
  removeLater: unlink,
  makeDirectory: (path) => mkdirSync(path, { recursive: true }) !== undefined,
  removeDirectory: rmdirSync,
  list: (path) => readdirSync(path),
  sizeOf: (path) => statSync(path).size,
  exists: (path) => statSync(path, { throwIfNoEntry: false }) !== undefined,
  space: (path) => {
    const { bavail, blocks, bsize } = statfsSync(path);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  },
};

/** A write may take less than it was given (a disk about to be full); this goes on until all is taken or it throws. */
export function writeFully(disk: Disk, fd: number, buffer: Buffer, from: number, length: number, position: number): void {
  for (let done = 0; done < length; ) done += disk.write(fd, buffer, from + done, length - done, position + done);
}

export function readFully(disk: Disk, fd: number, buffer: Buffer, at: number, length: number, position: number): void {
  for (let done = 0; done < length; ) {
    const read = disk.read(fd, buffer, at + done, length - done, position + done);
    if (read === 0) throw new Error(`file ends ${length - done} bytes early`);
    done += read;
  }
}

/** Read and write, made if not there, not cut. */
export function openOrMake(disk: Disk, path: string): { fd: number; made: boolean } {
  try {
    return { fd: disk.open(path, "r+"), made: false };
  } catch (error) {
    if (!isMissing(error)) throw error;
    return { fd: disk.open(path, "w+"), made: true };
  }
}

export function removeIfThere(disk: Disk, path: string): void {
  try {
    disk.remove(path);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/** Of a file that is being removed: a name that nobody takes for the file's own. */
export const GONE_ENDING = ".gone";

/**
 * Removes a file off the event loop: for one of a gigabyte the kernel takes a quarter of a second. Its name is free at
 * once; what a crash leaves of it has GONE_ENDING behind its name.
 */
export function removeSoon(disk: Disk, path: string, failed: (error: Error) => void): void {
  const gone = path + GONE_ENDING;
  try {
    if (!renameIfThere(disk, path, gone)) return;
  } catch {
    // On a full disk there may be no room for a longer name.
    return removeIfThere(disk, path);
  }
  disk.removeLater(gone, (error) => {
    if (error && !isMissing(error)) failed(error);
  });
}

/** @returns false where there is no such file: somebody tidied up */
export function renameIfThere(disk: Disk, from: string, to: string): boolean {
  try {
    disk.rename(from, to);
    return true;
  } catch (error) {
    if (!isMissing(error)) throw error;
    return false;
  }
}

/** A folder with the files in it; what an operator put there as a folder stays, and this throws. */
export function removeFolder(disk: Disk, path: string): void {
  for (const name of disk.list(path)) removeIfThere(disk, `${path}/${name}`);
  disk.removeDirectory(path);
}

/** Some file systems have no sync of a directory, and no need of one. */
function cannotSync(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "EINVAL" || code === "ENOTSUP" || code === "EOPNOTSUPP";
}

export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}
