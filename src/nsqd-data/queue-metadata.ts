import { readText, type SourceFiles, systemFiles } from "./files.ts";
import { metadataName } from "./queue-files.ts";

/** A position in the files of a queue. */
export interface QueuePosition {
  /** Number of the file. */
  file: number;
  /** Offset in the file, in bytes. */
  offset: number;
}

/** The content of a queue's metadata file (go-diskqueue: persistMetaData). */
export interface QueueMetadata {
  /** Number of messages between `read` and `write`. After damage it may be any number, even negative. */
  depth: number;
  /** The first message that was not taken from the queue. */
  read: QueuePosition;
  /** Where the next message is written. */
  write: QueuePosition;
}

/**
 * Three lines of text. nsqd replaces the file when a message file is full or read, every --sync-every messages, after
 * --sync-timeout, and when it stops. If nsqd is killed, later messages are after `write`, and some messages after `read`
 * were taken already.
 */
const LINES = /^\s*([+-]?\d+)\n\s*([+-]?\d+),\s*([+-]?\d+)\n\s*([+-]?\d+),\s*([+-]?\d+)(?!\d)/;

/** Enough for five 64-bit numbers. */
const MAX_TEXT_BYTES = 128;

/** @returns undefined if a number is missing or not exact in a double, a position is negative, or `read` is after `write` */
function parseQueueMetadata(text: string): QueueMetadata | undefined {
  const numbers = LINES.exec(text)?.slice(1).map(Number);
  if (numbers === undefined || !numbers.every(Number.isSafeInteger)) return undefined;
  const [depth = 0, readFile = 0, readOffset = 0, writeFile = 0, writeOffset = 0] = numbers;
  if (Math.min(readFile, readOffset, writeFile, writeOffset) < 0) return undefined;
  if (readFile > writeFile || (readFile === writeFile && readOffset > writeOffset)) return undefined;
  return { depth, read: { file: readFile, offset: readOffset }, write: { file: writeFile, offset: writeOffset } };
}

/** The text of a metadata file. */
export function formatQueueMetadata({ depth, read, write }: QueueMetadata): string {
  return `${depth}\n${read.file},${read.offset}\n${write.file},${write.offset}\n`;
}

/**
 * Reads a queue's metadata. Its depth is what nsqd shows in /stats after the start.
 *
 * @returns undefined if there is no file; an Error if the file is not usable
 * @throws the kernel's error if the file cannot be read
 */
export function readQueueMetadata(folder: string, prefix: string, files: SourceFiles = systemFiles): QueueMetadata | Error | undefined {
  const name = metadataName(prefix);
  const text = readText(files, `${folder}/${name}`, MAX_TEXT_BYTES);
  if (text === undefined) return undefined;
  return parseQueueMetadata(text) ?? new Error(`${name} is not valid: ${JSON.stringify(text)}`);
}
