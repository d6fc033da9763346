import { dirname, join } from "node:path";
import { StartError } from "../../../base/start-error.ts";
import { type Disk, isMissing, writeFully } from "../disk/disk.ts";
import { LazyFile } from "../disk/lazy-file.ts";

/**
 * A file in each topic's folder that says which topic the folder belongs to. Where the metadata store lost the topic's row, and
 * another topic has the same name or number, this file tells them apart.
 *
 *     topic := magic "BQTI" | version u32 | id f64 | number u32 | prefix u32 | crc32 of the name u32 | crc32 of the first 28 bytes u32
 *
 * All numbers are little-endian. A file that does not fit the folder's own number and name was copied there, and does not count.
 */

export const TOPIC_FILE = "topic";

const MAGIC = 0x49545142;
const VERSION = 1;
const FILE_BYTES = 32;
const CHECKSUM_OFFSET = 28;

/** What does not change about a topic as long as it exists. */
export interface TopicIdentity {
  /** Row of the metadata store; never given twice. */
  readonly id: number;
  /** Part of the folder's name, and the last 14 bits of the prefix. */
  readonly number: number;
  readonly name: string;
  /** The beginning of all ids that the topic gives (frame/id.ts). */
  readonly prefix: number;
}

/**
 * Reads the file of the folder of the topic with this number and name.
 *
 * @returns undefined when there is none that counts: an earlier release made the folder, or a crash tore the file
 * @throws StartError for a file of a newer version; UnreadableFile
 */
export function readTopicFile(disk: Disk, folder: string, number: number, name: string): TopicIdentity | undefined {
  const path = join(folder, TOPIC_FILE);
  const bytes = readOrUndefined(disk, path);
  if (bytes?.readUInt32LE(0) !== MAGIC) return undefined;
  if (Bun.hash.crc32(bytes.subarray(0, CHECKSUM_OFFSET)) !== bytes.readUInt32LE(CHECKSUM_OFFSET)) return undefined;
  const version = bytes.readUInt32LE(4);
  if (version > VERSION) {
    throw new StartError(
      `${path} was written by a newer bunsq (topic file version ${version}, this one reads ${VERSION}); start that version, or use another --data-path`,
    );
  }
  if (bytes.readUInt32LE(16) !== number || bytes.readUInt32LE(24) !== Bun.hash.crc32(name)) return undefined;
  return { id: bytes.readDoubleLE(8), number, name, prefix: bytes.readUInt32LE(20) };
}

function readOrUndefined(disk: Disk, path: string): Buffer | undefined {
  const file = new LazyFile(disk, path);
  try {
    const bytes = Buffer.alloc(FILE_BYTES);
    return file.readUpTo(bytes, 0, FILE_BYTES, 0) === FILE_BYTES ? bytes : undefined;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  } finally {
    file.close();
  }
}

/** Writes the files, and syncs them one after the other, off the event loop. */
export class TopicFiles {
  /** Folders whose file is not synced yet. The first one is being synced. */
  private readonly unsynced: string[] = [];

  constructor(private readonly disk: Disk) {}

  /** Writes the file of a folder. @throws the kernel's error */
  write(folder: string, { id, number, name, prefix }: TopicIdentity): void {
    const bytes = Buffer.alloc(FILE_BYTES);
    bytes.writeUInt32LE(MAGIC, 0);
    bytes.writeUInt32LE(VERSION, 4);
    bytes.writeDoubleLE(id, 8);
    bytes.writeUInt32LE(number, 16);
    bytes.writeUInt32LE(prefix, 20);
    bytes.writeUInt32LE(Bun.hash.crc32(name), 24);
    bytes.writeUInt32LE(Bun.hash.crc32(bytes.subarray(0, CHECKSUM_OFFSET)), CHECKSUM_OFFSET);
    const fd = this.disk.open(join(folder, TOPIC_FILE), "w+");
    try {
      writeFully(this.disk, fd, bytes, 0, FILE_BYTES, 0);
    } finally {
      this.disk.close(fd);
    }
    if (this.unsynced.push(folder) === 1) this.syncFirst();
  }

  /** Syncs no more files. */
  close(): void {
    this.unsynced.length = 0;
  }

  private syncFirst(): void {
    const [folder] = this.unsynced;
    if (folder === undefined) return;
    // A failure is no loss: the row says the same, and a sync of the log covers the names of folder and file too.
    const next = () => {
      if (this.unsynced[0] === folder) this.unsynced.shift();
      this.syncFirst();
    };
    let fd: number;
    try {
      fd = this.disk.open(join(folder, TOPIC_FILE), "r+");
    } catch {
      // The topic was deleted in the meantime.
      return next();
    }
    this.disk.sync(fd, () => {
      this.disk.close(fd);
      // The last of a burst of topics syncs the names of all their folders.
      const named = this.unsynced.length > 1 ? next : () => this.disk.syncDirectory(dirname(folder), next);
      this.disk.syncDirectory(folder, named);
    });
  }
}
