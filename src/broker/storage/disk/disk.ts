import {
  chmodSync,
  close as closeLater,
  closeSync,
  fchmodSync,
  fdatasync,
  fdatasyncSync,
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
import { dirname } from "node:path";

/** Messages are for their broker only, as nsqd's are: whoever else has an account on the machine cannot read them. */
export const FILE_MODE = 0o600;
export const FOLDER_MODE = 0o700;

/** "r" opens an existing file for reading, "r+" for reading and writing. "w+" creates the file or empties an existing one. */
export type OpenFlags = "r" | "r+" | "w+";

/**
 * The few calls through which logs, deferred messages, keys and the ballast reach the disk. Each broker gets its disk as an
 * argument, so tests can use one that fails, forgets, tears and reorders writes, and several brokers with different disks can
 * run in one process. In production a call costs one property load more than node:fs.
 *
 * Every call throws the kernel's error, as node:fs does. Paths are absolute; positions and sizes are in bytes.
 */
export interface Disk {
  open(path: string, flags: OpenFlags): number;
  close(fd: number): void;
  /** @returns the number of bytes read; 0 at the end of the file */
  read(fd: number, buffer: Buffer, at: number, length: number, position: number): number;
  /** @returns the number of bytes written, which may be fewer than `length` */
  write(fd: number, buffer: Buffer, from: number, length: number, position: number): number;
  size(fd: number): number;
  truncate(fd: number, length: number): void;
  /** Makes a file's bytes and length durable, off the event loop. */
  sync(fd: number, done: (error: NodeJS.ErrnoException | null) => void): void;
  /** Makes a file's bytes and length durable before it returns, for a file that is to replace another one. */
  syncNow(fd: number): void;
  /**
   * Makes the names in a directory durable, off the event loop: a file whose name is lost is lost. A directory that does not
   * exist is no failure, because its topic was deleted in the meantime.
   */
  syncDirectory(path: string, done: (error: NodeJS.ErrnoException | null) => void): void;
  /** Makes the names in a directory durable before it returns. */
  syncDirectoryNow(path: string): void;
  rename(from: string, to: string): void;
  remove(path: string): void;
  /** Removes a file off the event loop. */
  removeLater(path: string, done: (error: NodeJS.ErrnoException | null) => void): void;
  /** Creates a directory and its missing parents. @returns whether the directory is new */
  makeDirectory(path: string): boolean;
  /** Removes an empty directory. */
  removeDirectory(path: string): void;
  list(path: string): string[];
  /** The folders in a directory. */
  listFolders(path: string): string[];
  sizeOf(path: string): number;
  exists(path: string): boolean;
  /** Bytes that can still be written to the file system of a path, and the size of that file system. */
  space(path: string): { freeBytes: number; totalBytes: number };
}

/** The machine's own file systems. */
export const systemDisk: Disk = {
  open: (path, flags) => {
    const fd = openSync(path, flags, FILE_MODE);
    if (flags === "w+") unlessUnsupported(() => fchmodSync(fd, FILE_MODE));
    return fd;
  },
  close: closeSync,
  read: readSync,
  write: writeSync,
  size: (fd) => fstatSync(fd).size,
  truncate: ftruncateSync,
  sync: fdatasync,
  syncNow: fdatasyncSync,
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
  makeDirectory: (path) => {
    const isNew = statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true;
    if (isNew) makeDirectories(path);
    return isNew;
  },
  removeDirectory: rmdirSync,
  list: (path) => readdirSync(path),
  listFolders: (path) =>
    readdirSync(path, { withFileTypes: true }).flatMap((entry) => {
      const { name } = entry;
      // An operator may have put a folder elsewhere, and a link in its place.
      const linked = entry.isSymbolicLink() && statSync(`${path}/${name}`, { throwIfNoEntry: false })?.isDirectory() === true;
      return entry.isDirectory() || linked ? [name] : [];
    }),
  sizeOf: (path) => statSync(path).size,
  exists: (path) => statSync(path, { throwIfNoEntry: false }) !== undefined,
  space: (path) => {
    const { bavail, blocks, bsize } = statfsSync(path);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  },
};

/** Creates a directory and its missing parents with FOLDER_MODE. The umask may take bits away, so the mode is set once more. */
function makeDirectories(path: string): void {
  const parent = dirname(path);
  if (parent !== path && statSync(parent, { throwIfNoEntry: false }) === undefined) makeDirectories(parent);
  mkdirSync(path, FOLDER_MODE);
  unlessUnsupported(() => chmodSync(path, FOLDER_MODE));
}

/** Sets a mode. Some file systems have no modes, or those of the mount; what holds there is the operator's choice. */
function unlessUnsupported(setMode: () => void): void {
  try {
    setMode();
  } catch {
    // The broker works all the same.
  }
}

/** Creates an empty file with FILE_MODE, for a library that would open it with another mode. An existing file is not opened at all. */
export function makeEmptyFile(path: string): void {
  try {
    const fd = openSync(path, "wx", FILE_MODE);
    unlessUnsupported(() => fchmodSync(fd, FILE_MODE));
    closeSync(fd);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/** Writes all bytes. One write may accept only a part when the disk is almost full, so this repeats it. */
export function writeFully(disk: Disk, fd: number, buffer: Buffer, from: number, length: number, position: number): void {
  for (let done = 0; done < length; ) done += disk.write(fd, buffer, from + done, length - done, position + done);
}

/** Reads all bytes. @throws also when the file ends before */
export function readFully(disk: Disk, fd: number, buffer: Buffer, at: number, length: number, position: number): void {
  for (let done = 0; done < length; ) {
    const read = disk.read(fd, buffer, at + done, length - done, position + done);
    if (read === 0) throw new Error(`file ends ${length - done} bytes early`);
    done += read;
  }
}

/**
 * Closes a file. The descriptor is free whatever the kernel answers, and a write that this reports as lost was never synced, so
 * the next sync of the file reports it too.
 */
export function closeQuietly(disk: Disk, fd: number): void {
  try {
    disk.close(fd);
  } catch {}
}

/** Opens a file for reading and writing, and creates it if it does not exist. `made` says whether it did. */
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

/** The ending of a file that is being removed. No other file has it. */
export const GONE_ENDING = ".gone";

/**
 * Removes a file off the event loop, because the kernel takes a quarter of a second for one of a gigabyte. The file is renamed
 * first, so its name is free at once. A crash may leave the file under its name with GONE_ENDING.
 */
export function removeSoon(disk: Disk, path: string, failed: (error: Error) => void): void {
  const gone = path + GONE_ENDING;
  try {
    if (!renameIfThere(disk, path, gone)) return;
  } catch {
    // A full disk may have no room for a longer name.
    return removeIfThere(disk, path);
  }
  disk.removeLater(gone, (error) => {
    if (error && !isMissing(error)) failed(error);
  });
}

/** @returns false where there is no such file: somebody has removed it */
export function renameIfThere(disk: Disk, from: string, to: string): boolean {
  try {
    disk.rename(from, to);
    return true;
  } catch (error) {
    if (!isMissing(error)) throw error;
    return false;
  }
}

/**
 * Removes a folder and the files in it. What cannot be removed stays, such as a folder inside it, which an operator must have put
 * there.
 *
 * @throws the first of the kernel's errors, when all that can be removed is gone
 */
export function removeFolder(disk: Disk, path: string): void {
  let failure: unknown;
  for (const name of disk.list(path)) {
    try {
      removeIfThere(disk, `${path}/${name}`);
    } catch (error) {
      failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
  disk.removeDirectory(path);
}

/** Whether a file system said that it cannot sync a directory. Those that cannot do not need it. */
function cannotSync(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "EINVAL" || code === "ENOTSUP" || code === "EOPNOTSUPP";
}

export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}
