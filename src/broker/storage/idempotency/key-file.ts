import { join } from "node:path";
import type { DamageLog } from "../damage-log.ts";
import { closeQuietly, type Disk, readFully } from "../disk/disk.ts";
import { reading } from "../disk/unreadable-file.ts";
import { type FileFormat, HEAD_BYTES, readVersion } from "../file-head.ts";
import { type FileNotes, mayBeCutOff } from "../file-notes.ts";

/**
 * A file of idempotency keys.
 *
 *     NNN.keys    head and entries, in order of arrival; removed when the window of its newest entry is over
 *     head  := magic "BQKY" | version u32 | 0 u32, three times | crc32 of the first 20 bytes u32 (file-head.ts)
 *     entry := crc32 of the rest u32 | key length u8 | layout u8 | confirmed u16 | topic id f64 | sequence f64 | time ms f64 | key
 *
 * All numbers are little-endian. A deferred publish has no sequence yet: its entry has -1 minus the number of its entry in the
 * deferred store, and is written after the publish. Once a sync has covered that entry, the key is written again with 1 for
 * confirmed. Earlier builds wrote -1, and no 1. An entry with the time 0 makes an earlier one of the same key void: a sync failed,
 * and the publish was refused.
 *
 * The layout is 1. In files of version 1 it is 0, and the topic is named by a topic id u32 and the crc32 of its name u32. A file
 * of version 0 is one of version 1 without a head. The next start removes every file of an earlier run, and writes the keys that
 * still count to a new one.
 */

export const KEYS_FORMAT: FileFormat = { magic: 0x594b5142, version: 2, name: "keys" };

/** Below this path of the broker's folder are the files, for notes about them. */
const NOTED_FOLDER = "keys/";

/** Bytes of an entry before its key. */
export const HEADER_BYTES = 32;
/** The layout of an entry: how it names the topic. */
const SHORT_ID = 0;
export const LONG_ID = 1;
/** In the entry of a deferred publish that a sync has covered. */
export const CONFIRMED = 1;

/** How an entry identifies a topic. Ids start again when a lost metadata store is made anew, so the name is needed too. */
export interface KeyedTopic {
  readonly id: number;
  /** crc32 of the name. In releases that wrote it, ids started again with a new metadata store. Undefined in later entries. */
  readonly nameCrc: number | undefined;
}

/** @param confirmed a sync has covered the deferred publish with the key */
export type KeyVisitor = (topic: KeyedTopic, key: string, sequence: number, timeMs: number, confirmed: boolean) => void;

/** What was found in a file of keys. */
interface FoundKeys {
  /** The offset behind the last whole entry. */
  end: number;
  headDamaged: boolean;
  /** Bytes of damaged entries that whole ones follow. */
  damagedBytes: number;
  /** What is behind the last whole entry is as long as an entry. */
  complete: boolean;
}

/** Visits the whole entries of a file. A damaged entry costs itself only. @param version of the file; 0: it has no intact head */
function readKeys(bytes: Buffer, version: number, visit: KeyVisitor): FoundKeys {
  // In version 0 an entry is at the beginning. If there is none, the head is damaged, and the entries are behind it.
  const headDamaged = version === 0 && entryEnd(bytes, 0) === undefined;
  let at = version === 0 && !headDamaged ? 0 : HEAD_BYTES;
  let damagedBytes = 0;
  while (at < bytes.length) {
    const end = entryEnd(bytes, at);
    if (end === undefined) {
      const next = nextEntry(bytes, at);
      if (next === undefined) break;
      damagedBytes += next - at;
      at = next;
      continue;
    }
    const short = bytes[at + 5] === SHORT_ID;
    const id = short ? bytes.readUInt32LE(at + 8) : bytes.readDoubleLE(at + 8);
    const topic = { id, nameCrc: short ? bytes.readUInt32LE(at + 12) : undefined };
    const key = bytes.toString("latin1", at + HEADER_BYTES, end);
    visit(topic, key, bytes.readDoubleLE(at + 16), bytes.readDoubleLE(at + 24), bytes.readUInt16LE(at + 6) === CONFIRMED);
    at = end;
  }
  const complete = at + HEADER_BYTES <= bytes.length && at + HEADER_BYTES + bytes[at + 4] <= bytes.length;
  return { end: at, headDamaged, damagedBytes, complete };
}

/** @returns the offset behind the entry at `at`; undefined when there is no whole entry */
export function entryEnd(bytes: Buffer, at: number): number | undefined {
  if (at + HEADER_BYTES > bytes.length) return undefined;
  const end = at + HEADER_BYTES + bytes[at + 4];
  return end <= bytes.length && Bun.hash.crc32(bytes.subarray(at + 4, end)) === bytes.readUInt32LE(at) ? end : undefined;
}

/** @returns the offset of the first whole entry behind a damaged one at `at`; undefined when there is none */
function nextEntry(bytes: Buffer, at: number): number | undefined {
  for (let next = at + 1; next + HEADER_BYTES <= bytes.length; next++) {
    const mayBeHeader = bytes[next + 4] > 0 && bytes[next + 5] <= LONG_ID && bytes.readUInt16LE(next + 6) <= CONFIRMED;
    if (mayBeHeader && entryEnd(bytes, next) !== undefined) return next;
  }
  return undefined;
}

/** The name of a file in notes. */
export function notedName(number: number): string {
  return `${NOTED_FOLDER}${number}.keys`;
}

/** Reports the files that notes speak of and that are gone, and forgets all notes. @param numbers of the files that are there */
export function reportMissingKeys(directory: string, notes: FileNotes, damage: DamageLog, numbers: readonly number[]): void {
  const names = numbers.map(notedName);
  for (const noted of notes.names(NOTED_FOLDER)) {
    if (!names.includes(noted)) {
      const path = join(directory, noted.slice(NOTED_FOLDER.length));
      const line = `idempotency keys: ${path} is missing; publishes with its keys may be repeated`;
      // A power cut may bring back the note about a file that was removed.
      if (notes.lastRun === "power cut") damage.warn(line);
      else damage.report("keys", line);
    }
    notes.forget(noted);
  }
}

/**
 * Visits the whole entries of a file.
 *
 * @returns what is wrong with it; undefined when it is as the end of the last run explains
 * @throws UnreadableFile; what was visited does not count then
 */
export function readKeyFile(disk: Disk, path: string, notes: FileNotes, name: string, visit: KeyVisitor): string | undefined {
  const { lastRun } = notes;
  const noted = lastRun === "power cut" ? 0 : (notes.bytesOf(name) ?? 0);
  return reading(path, () => {
    const fd = disk.open(path, "r+");
    try {
      const version = readVersion(disk, fd, KEYS_FORMAT, path);
      const bytes = Buffer.allocUnsafe(disk.size(fd));
      if (version === undefined) return noted > 0 ? `it is cut to ${bytes.length} bytes; it had ${noted}` : undefined;
      readFully(disk, fd, bytes, 0, bytes.length, 0);
      const { end, headDamaged, damagedBytes: skippedBytes, complete } = readKeys(bytes, version, visit);
      const tail = bytes.length - end;
      const explained = !notes.lastRunWroteAll || (!complete && end >= noted && mayBeCutOff(lastRun, bytes.length));
      const damagedBytes = skippedBytes + (explained ? 0 : tail);
      const problems = [
        ...(headDamaged ? ["its head is damaged"] : []),
        ...(damagedBytes > 0 ? [`the keys in ${damagedBytes} bytes are lost`] : []),
        ...(bytes.length < noted ? [`it is cut to ${bytes.length} bytes; it had ${noted}`] : []),
      ];
      return problems.length === 0 ? undefined : `${problems.join("; ")}; publishes with these keys may be repeated`;
    } finally {
      closeQuietly(disk, fd);
    }
  });
}
