import { closeQuietly, type Disk, isMissing, readFully, writeFully } from "../broker/storage/disk/disk.ts";

const MAX_BYTES = 1_000;

/** The first bytes of a file, as latin1; undefined: there is no such file. @throws the kernel's error */
export function readSmallFile(disk: Disk, path: string): string | undefined {
  let fd: number;
  try {
    fd = disk.open(path, "r");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  try {
    const content = Buffer.alloc(Math.min(disk.size(fd), MAX_BYTES));
    readFully(disk, fd, content, 0, content.length, 0);
    return content.toString("latin1");
  } finally {
    closeQuietly(disk, fd);
  }
}

/** Puts another file in the place of one. Its name is durable when its folder is synced. @throws the kernel's error */
export function replaceSmallFile(disk: Disk, path: string, text: string): void {
  const content = Buffer.from(text);
  const fd = disk.open(`${path}.new`, "w+");
  try {
    writeFully(disk, fd, content, 0, content.length, 0);
    disk.syncNow(fd);
  } finally {
    closeQuietly(disk, fd);
  }
  disk.rename(`${path}.new`, path);
}
