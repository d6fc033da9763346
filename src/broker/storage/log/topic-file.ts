import { join } from "node:path";
import type { Logger } from "../../../base/logger.ts";
import { StartError } from "../../../base/start-error.ts";
import type { Ballast } from "../disk/ballast.ts";
import { type Disk, isMissing } from "../disk/disk.ts";
import type { FolderNames } from "../disk/folder-names.ts";
import { LazyFile } from "../disk/lazy-file.ts";
import { reading } from "../disk/unreadable-file.ts";
import { type LastRun, mayBeCutOff } from "../file-notes.ts";

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
  /** Part of the folder's name, and the last 14 bits of the prefix, unless other brokers had the topic before. */
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

/**
 * Whether the topic file of a folder is damaged, and the end of the last run does not explain it.
 *
 * @returns its path; undefined if it is whole, missing, or torn by a crash
 * @throws UnreadableFile
 */
export function damagedTopicFile(disk: Disk, folder: string, lastRun: LastRun): string | undefined {
  const path = join(folder, TOPIC_FILE);
  if (!reading(path, () => disk.exists(path))) return undefined;
  const size = reading(path, () => disk.sizeOf(path));
  if (mayBeCutOff(lastRun, size) && (size < FILE_BYTES || lastRun !== "killed")) return undefined;
  const bytes = readOrUndefined(disk, path);
  const isWhole =
    bytes?.readUInt32LE(0) === MAGIC && Bun.hash.crc32(bytes.subarray(0, CHECKSUM_OFFSET)) === bytes.readUInt32LE(CHECKSUM_OFFSET);
  return isWhole ? undefined : path;
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

/** A file that is not synced yet, and the names in its folder. */
interface UnsyncedFile {
  readonly file: LazyFile;
  readonly names: FolderNames;
}

export interface TopicFilesOptions {
  disk: Disk;
  ballast: Ballast;
  logger: Logger;
  /** The names of the topics' folders. */
  folders: FolderNames;
}

/** Writes the files, and syncs them one after the other, off the event loop. */
export class TopicFiles {
  /** The first one is being synced. */
  private readonly unsynced: UnsyncedFile[] = [];
  /** Their syncs failed. Each file that is written takes one of them along. */
  private readonly failed: UnsyncedFile[] = [];

  constructor(private readonly options: TopicFilesOptions) {}

  /**
   * Writes into a topic's folder which topic it belongs to, unless it says so.
   *
   * @param names the names in the folder
   * @param inFolder what the file says, if the caller has read it
   * @throws UnreadableFile
   */
  write(names: FolderNames, topic: TopicIdentity, inFolder?: TopicIdentity): void {
    const { disk, ballast, logger } = this.options;
    const found = inFolder ?? readTopicFile(disk, names.directory, topic.number, topic.name);
    if (found?.id === topic.id && found.prefix === topic.prefix) return;
    try {
      ballast.use(() => this.writeFile(names, encode(topic)));
    } catch (error) {
      // The row says the same. It takes the loss of both to give the topic another id.
      logger.warn(`TOPIC(${topic.name}): cannot write ${names.directory}/${TOPIC_FILE}: ${(error as Error).message}`, {
        topic: topic.name,
      });
    }
  }

  /** Syncs no more files. */
  close(): void {
    this.unsynced.length = 0;
    this.failed.length = 0;
  }

  private writeFile(names: FolderNames, bytes: Buffer): void {
    const file = new LazyFile(this.options.disk, join(names.directory, TOPIC_FILE), "fail", names);
    file.check = () => checkFile(file, bytes);
    try {
      file.create();
      file.write(bytes, 0, FILE_BYTES, 0);
    } finally {
      file.close();
    }
    this.unsynced.push({ file, names });
    if (this.unsynced.length === 1) this.syncFirst();
    const again = this.failed.shift();
    if (again !== undefined) this.unsynced.push(again);
  }

  private syncFirst(): void {
    const [first] = this.unsynced;
    if (first === undefined) return;
    const { file, names } = first;
    const ended = (failure?: Error) => {
      if (this.unsynced[0] === first) {
        this.unsynced.shift();
        // Without the file, the topic was deleted in the meantime.
        if (failure !== undefined && !isMissing(failure)) this.failed.push(first);
      }
      this.syncFirst();
    };
    file.sync((failure) => {
      file.close();
      if (failure !== undefined) return ended(failure);
      // The last of a burst of topics syncs the names of all their folders.
      names.sync((error) => (error !== undefined || this.unsynced.length > 1 ? ended(error) : this.options.folders.sync(ended)));
    });
  }
}

function encode({ id, number, name, prefix }: TopicIdentity): Buffer {
  const bytes = Buffer.alloc(FILE_BYTES);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(VERSION, 4);
  bytes.writeDoubleLE(id, 8);
  bytes.writeUInt32LE(number, 16);
  bytes.writeUInt32LE(prefix, 20);
  bytes.writeUInt32LE(Bun.hash.crc32(name), 24);
  bytes.writeUInt32LE(Bun.hash.crc32(bytes.subarray(0, CHECKSUM_OFFSET)), CHECKSUM_OFFSET);
  return bytes;
}

function checkFile(file: LazyFile, bytes: Buffer): Error | undefined {
  const found = Buffer.alloc(FILE_BYTES);
  file.readUpTo(found, 0, FILE_BYTES, 0);
  return found.equals(bytes) ? undefined : new Error(`a sync of ${file.path} failed, and what was written to it is lost`);
}
