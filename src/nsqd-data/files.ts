import { closeSync, fstatSync, fsyncSync, openSync, readdirSync, readSync, renameSync, unlinkSync, writeSync } from "node:fs";

/**
 * The calls that read a data path of nsqd. Tests replace them with ones that fail. Each throws the kernel's error, as
 * node:fs does: ENOENT for a missing file. Positions and sizes are in bytes.
 */
export interface SourceFiles {
  /** For reading. */
  open(path: string): number;
  close(fd: number): void;
  size(fd: number): number;
  /** @returns bytes read; 0 at the file's end */
  read(fd: number, buffer: Buffer, at: number, length: number, position: number): number;
  /** Names of the files in a folder, without folders. */
  list(folder: string): string[];
}

/** Permissions of new files, as nsqd sets them. */
export const OWN_FILE = 0o600;

/** The machine's own file systems. */
export const systemFiles: SourceFiles = {
  open: (path) => openSync(path, "r"),
  close: closeSync,
  size: (fd) => fstatSync(fd).size,
  read: readSync,
  list: (folder) =>
    readdirSync(folder, { withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => entry.name),
};

/**
 * Reads a small file as UTF-8.
 *
 * @param maxBytes the rest of a longer file is not read
 * @returns undefined if there is no such file
 * @throws the kernel's error if the file cannot be read
 */
export function readText(files: SourceFiles, path: string, maxBytes: number): string | undefined {
  let fd: number;
  try {
    fd = files.open(path);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  try {
    const bytes = Buffer.alloc(Math.min(files.size(fd), maxBytes));
    return bytes.toString("utf8", 0, readUpTo(files, fd, bytes, bytes.length, 0));
  } finally {
    files.close(fd);
  }
}

/** Reads `length` bytes, or less if the file ends before. @returns bytes read */
export function readUpTo(files: SourceFiles, fd: number, buffer: Buffer, length: number, position: number): number {
  let done = 0;
  while (done < length) {
    const read = files.read(fd, buffer, done, length - done, position + done);
    if (read === 0) break;
    done += read;
  }
  return done;
}

/** Replaces a file, or creates it, in one step: a reader sees the old or the new text, even after a power cut. */
export function writeAnew(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.tmp`;
  const fd = openSync(temporary, "w", OWN_FILE);
  try {
    try {
      writeAll(fd, Buffer.from(text), 0, Buffer.byteLength(text), 0);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    unlinkSync(temporary);
    throw error;
  }
}

/** Repeats short writes until all bytes are written. */
export function writeAll(fd: number, bytes: Uint8Array, from: number, length: number, position: number): void {
  for (let done = 0; done < length; ) done += writeSync(fd, bytes, from + done, length - done, position + done);
}

/** Syncs the names of a folder's files to the disk. Some file systems cannot, and need not. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
  } catch (error) {
    if (!["EINVAL", "ENOTSUP", "EOPNOTSUPP"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  } finally {
    closeSync(fd);
  }
}

/** Whether an error says that there is no such file. */
export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}
