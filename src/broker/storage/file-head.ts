import { StartError } from "../../base/start-error.ts";
import { closeQuietly, type Disk, readFully } from "./disk/disk.ts";
import { reading } from "./disk/unreadable-file.ts";

/**
 * The head of files of deferred messages and keys, which says what follows it.
 *
 *     head := magic u32 | version u32 | 0 u32, three times | crc32 of the first 20 bytes u32
 *
 * All numbers are little-endian. Earlier brokers wrote these files without a head; such a file is of version 0.
 */
export const HEAD_BYTES = 24;

const CHECKSUM_OFFSET = 20;

export interface FileFormat {
  readonly magic: number;
  /** The newest version that this broker reads, and the one that it writes. */
  readonly version: number;
  /** What an error calls the files. */
  readonly name: string;
}

/** The head of a new file. */
export function encodeHead({ magic, version }: FileFormat): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32LE(magic, 0);
  head.writeUInt32LE(version, 4);
  head.writeUInt32LE(Bun.hash.crc32(head.subarray(0, CHECKSUM_OFFSET)), CHECKSUM_OFFSET);
  return head;
}

/**
 * Reads the version of a file; 0 when it has no head, or a damaged one.
 *
 * @param path for the error's text
 * @returns undefined for a file that is shorter than a head: a crash came before anything was behind it
 * @throws StartError for a newer version; the kernel's error
 */
export function readVersion(disk: Disk, fd: number, format: FileFormat, path: string): number | undefined {
  if (disk.size(fd) < HEAD_BYTES) return undefined;
  const head = Buffer.alloc(HEAD_BYTES);
  readFully(disk, fd, head, 0, HEAD_BYTES, 0);
  return parseVersion(head, format, path);
}

/** The version that the first HEAD_BYTES of a file say; see readVersion(). @throws StartError for a newer version */
export function parseVersion(head: Buffer, { magic, version, name }: FileFormat, path: string): number {
  if (head.readUInt32LE(0) !== magic) return 0;
  if (Bun.hash.crc32(head.subarray(0, CHECKSUM_OFFSET)) !== head.readUInt32LE(CHECKSUM_OFFSET)) return 0;
  const found = head.readUInt32LE(4);
  if (found > version) {
    throw new StartError(
      `${path} was written by a newer bunsq (${name} version ${found}, this one reads ${version}); start that version, or use another --data-path`,
    );
  }
  return found;
}

/** Checks the version of a file that is not open. @throws StartError for a newer version; UnreadableFile */
export function checkVersion(disk: Disk, path: string, format: FileFormat): void {
  reading(path, () => {
    const fd = disk.open(path, "r+");
    try {
      readVersion(disk, fd, format, path);
    } finally {
      closeQuietly(disk, fd);
    }
  });
}
