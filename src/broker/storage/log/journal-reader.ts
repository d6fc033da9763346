import { StartError } from "../../../base/start-error.ts";
import type { Disk } from "../disk/disk.ts";
import { LazyFile } from "../disk/lazy-file.ts";
import { reading } from "../disk/unreadable-file.ts";
import {
  BLOCK_BYTES,
  CAPACITY_BYTES,
  ENTRY_HEADER_BYTES,
  ENTRY_HEADER_BYTES_1,
  GROUP_HEADER_BYTES,
  HEADER_BYTES,
  MAGIC,
  MAX_GROUP_BYTES,
  MAX_JOURNALED_BYTES,
  STATE_BYTES,
  STATE_OFFSET,
  SUMMED_FROM,
  VERSION,
} from "./journal.ts";

/** A commit in the journal. */
export interface JournalEntry {
  firstSequence: number;
  count: number;
  timeMs: number;
  records: Buffer;
}

/** What of a group says which topic an entry belongs to: the topic's id, and in version 1 its number. */
type TopicKey = number;

/** The commits of a journal, by topic. Many of them may be in the logs' own files as well. */
export class JournalContents {
  private readonly byId = new Map<TopicKey, JournalEntry[]>();
  /** Those of a journal of version 1, which knows topics by their numbers. */
  private readonly byNumber = new Map<TopicKey, JournalEntry[]>();

  /** The commits of a topic, in the order in which they were written. */
  of(topicId: number, topicNumber: number): readonly JournalEntry[] {
    return this.byId.get(topicId) ?? this.byNumber.get(topicNumber) ?? [];
  }

  /** How many commits there are. */
  get size(): number {
    return [...this.byId.values(), ...this.byNumber.values()].reduce((sum, { length }) => sum + length, 0);
  }

  /** Adds the commits of a group. */
  addGroup(group: Buffer, version: number): void {
    const topics = version === 1 ? this.byNumber : this.byId;
    const timeMs = group.readDoubleLE(24);
    for (const { topic, firstSequence, count, from, to } of entriesOf(group, version)) {
      const entries = topics.get(topic) ?? [];
      entries.push({ firstSequence, count, timeMs, records: group.subarray(from, to) });
      topics.set(topic, entries);
    }
  }
}

/** What an earlier run left in its journal. */
export interface FoundJournal {
  contents: JournalContents;
  /** What is wrong with the file, in sentences for the log; empty: nothing is. */
  problems: string[];
  /** How many messages the damaged groups had, by topic, as far as their remains say. */
  damaged: Map<TopicKey, number>;
  /** The file names topics by their numbers, not by their ids. */
  byNumber: boolean;
}

export function noJournal(): FoundJournal {
  return { contents: new JournalContents(), problems: [], damaged: new Map(), byNumber: false };
}

/** A group in the file. */
interface Group {
  bytes: Buffer;
  offset: number;
  number: number;
  /** Its place in the ring that never ends; only comparable with other heads. */
  head: number;
}

/** What block 0 says of the groups. */
interface State {
  newest: number;
  newestHead: number;
  neededHead: number;
  fileBytes: number;
}

/**
 * Reads the journal of an earlier run. A group behind the newest that the state names was never acknowledged. Any other that is
 * not intact is damaged, unless no log needed it any more.
 *
 * @param noted the run had a journal when it ended
 * @throws StartError for a journal of a newer version; the kernel's error
 */
export function readJournal(disk: Disk, path: string, noted = false, capacityBytes = CAPACITY_BYTES): FoundJournal {
  const found = noJournal();
  const bytes = readWhole(disk, path);
  if (bytes === undefined) {
    if (noted) found.problems.push("it is missing, and with it the messages that were in no other file yet");
    return found;
  }
  const { problems } = found;
  const header = readHeader(bytes, path);
  // A run that was killed while it made the file had nothing in it yet.
  if (header === undefined && !noted && isZero(bytes)) return found;
  if (header === undefined) problems.push("its header is damaged");
  const nonce = header?.nonce ?? commonNonce(bytes);
  if (nonce === undefined) {
    problems.push("nothing in it can be read");
    return found;
  }
  const state = readState(bytes);
  if (state === "damaged") problems.push("its state is damaged");
  const known = typeof state === "object" ? state : undefined;
  if (known !== undefined && bytes.length < known.fileBytes) problems.push(`it is cut to ${bytes.length} bytes; it had ${known.fileBytes}`);
  const groups = findGroups(bytes, nonce);
  const version = header?.version ?? guessVersion(groups);
  found.byNumber = version === 1;
  reportGaps(bytes, nonce, groups, known, capacityBytes, found);
  for (const group of groups.sort((a, b) => a.number - b.number)) found.contents.addGroup(group.bytes, version);
  return found;
}

/** A sentence about a damaged journal. @param nameOf the name of a topic by its id, or by its number in version 1 */
export function journalDamage(path: string, { problems, damaged }: FoundJournal, nameOf: (topic: TopicKey) => string | undefined): string {
  const counts = [...damaged].map(([topic, count]) => `${count} of ${nameOf(topic) ?? `topic ${topic}`}`);
  const lost = counts.length === 0 ? "" : `; the damaged groups had at least these messages: ${counts.join(", ")}`;
  return `JOURNAL: ${path} is damaged: ${problems.join("; ")}${lost}; messages that only these groups had are lost`;
}

/** An entry of a group; its records are at [from, to). */
interface Entry {
  topic: TopicKey;
  firstSequence: number;
  count: number;
  from: number;
  to: number;
}

/** The entries of a group, up to the first that does not fit into it. */
function entriesOf(group: Buffer, version: number): Entry[] {
  const headerBytes = version === 1 ? ENTRY_HEADER_BYTES_1 : ENTRY_HEADER_BYTES;
  const entries: Entry[] = [];
  for (let at = GROUP_HEADER_BYTES; at + headerBytes <= group.length; ) {
    const from = at + headerBytes;
    const to = from + group.readUInt32LE(from - 4);
    if (to > group.length) break;
    entries.push({
      topic: version === 1 ? group.readUInt32LE(at) : group.readDoubleLE(at),
      firstSequence: group.readDoubleLE(at + 8),
      count: group.readUInt32LE(version === 1 ? at + 4 : at + 16),
      from,
      to,
    });
    at = to;
  }
  return entries;
}

/** The version of a file whose header is damaged: the one in which the entries of its groups end where these do. */
function guessVersion(groups: readonly Group[]): number {
  const fits = (version: number) => groups.every(({ bytes }) => entriesOf(bytes, version).at(-1)?.to === bytes.length);
  return fits(VERSION) ? VERSION : 1;
}

/**
 * Passes the commits that a log's own files lack to `commit`, in order.
 *
 * @param next the next sequence of the log's own files
 * @param commit gets the records, the sequence of the first one, their number, and the time of the commit. The sequence may be
 *   above the next one: the log skipped sequences, or the commits before are lost
 * @returns the next sequence of the log after that
 */
export function replayJournal(
  entries: readonly JournalEntry[],
  next: number,
  commit: (records: Buffer, firstSequence: number, count: number, timeMs: number) => void,
): number {
  for (const { firstSequence, count, timeMs, records } of entries) {
    const end = firstSequence + count;
    if (end <= next) continue;
    const from = Math.max(firstSequence, next);
    let at = 0;
    for (let sequence = firstSequence; sequence < from; sequence++) at += 4 + records.readUInt32BE(at);
    commit(records.subarray(at), from, end - from, timeMs);
    next = end;
  }
  return next;
}

/** @returns undefined when the header is damaged. @throws StartError for a newer version */
function readHeader(bytes: Buffer, path: string): { nonce: Buffer; version: number } | undefined {
  if (bytes.length < HEADER_BYTES || bytes.readUInt32LE(0) !== MAGIC) return undefined;
  if (Bun.hash.crc32(bytes.subarray(0, 16)) !== bytes.readUInt32LE(16)) return undefined;
  const version = bytes.readUInt32LE(4);
  if (version > VERSION) {
    throw new StartError(
      `${path} was written by a newer bunsq (journal version ${version}, this one reads ${VERSION}); start that version, or use another --data-path`,
    );
  }
  return { nonce: bytes.subarray(8, 16), version };
}

/** @returns undefined where an earlier version has written none */
function readState(bytes: Buffer): State | "damaged" | undefined {
  const state = bytes.subarray(STATE_OFFSET, STATE_OFFSET + STATE_BYTES);
  if (isZero(state)) return undefined;
  if (state.length < STATE_BYTES || Bun.hash.crc32(state.subarray(0, 32)) !== state.readUInt32LE(32)) return "damaged";
  const [newest, newestHead, neededHead, fileBytes] = [0, 8, 16, 24].map((at) => state.readDoubleLE(at));
  return { newest, newestHead, neededHead, fileBytes };
}

/** The nonce that most of the intact groups have. */
function commonNonce(bytes: Buffer): Buffer | undefined {
  const counts = new Map<string, number>();
  for (const { bytes: group } of findGroups(bytes, undefined)) {
    const nonce = group.toString("latin1", 8, 16);
    counts.set(nonce, (counts.get(nonce) ?? 0) + 1);
  }
  const [most] = [...counts].sort((a, b) => b[1] - a[1]);
  return most === undefined ? undefined : Buffer.from(most[0], "latin1");
}

/** @param nonce undefined: groups with any nonce */
function findGroups(bytes: Buffer, nonce: Buffer | undefined): Group[] {
  const found: Group[] = [];
  for (let at = BLOCK_BYTES; at + GROUP_HEADER_BYTES <= bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    const group = bytes.subarray(at, at + length);
    const intact =
      length >= GROUP_HEADER_BYTES &&
      length <= MAX_GROUP_BYTES &&
      group.length === length &&
      (nonce === undefined || nonce.equals(group.subarray(8, 16))) &&
      Bun.hash.crc32(group.subarray(SUMMED_FROM)) === group.readUInt32LE(4);
    if (intact) found.push({ bytes: group, offset: at, number: group.readDoubleLE(16), head: 0 });
    at += intact ? blocksOf(length) : BLOCK_BYTES;
  }
  return found;
}

/** Finds the groups that must be there and are not. */
function reportGaps(
  bytes: Buffer,
  nonce: Buffer,
  groups: Group[],
  state: State | undefined,
  capacityBytes: number,
  found: FoundJournal,
): void {
  const last = groups.reduce<Group | undefined>(
    (newest, group) => (newest === undefined || group.number > newest.number ? group : newest),
    undefined,
  );
  const newest = state?.newest ?? last?.number ?? -1;
  const newestHead = state?.newestHead ?? last?.offset ?? 0;
  if (newest < 0) return;
  const newestOffset = newestHead % capacityBytes;
  for (const group of groups) group.head = newestHead - ((newestOffset - group.offset + capacityBytes) % capacityBytes);
  const ring = groups.filter(({ number }) => number <= newest).sort((a, b) => a.head - b.head);
  let missing = 0;
  /** The number and the end of the group before. Where the first group that is needed is missing, its number is not known. */
  let number: number | undefined;
  let end = state?.neededHead ?? ring[0]?.head ?? 0;
  const close = (next: number, nextHead: number) => {
    const gap = number === undefined ? (state !== undefined && nextHead > end ? 1 : 0) : next - number - 1;
    if (gap <= 0) return;
    missing += gap;
    const isMissing = (of: number) => of > (number ?? -1) && of < next;
    for (let head = end; head < nextHead; head += BLOCK_BYTES)
      readRemains(bytes, nonce, head % capacityBytes, isMissing, found.byNumber ? 1 : VERSION, found.damaged);
  };
  for (const group of ring) {
    // An older one that is left at the end of the file, where the groups behind it did not fit.
    if (number !== undefined && group.number < number) continue;
    if (state !== undefined && group.head < state.neededHead) continue;
    close(group.number, group.head);
    number = group.number;
    end = group.head + blocksOf(group.bytes.length);
  }
  if (number === undefined) missing += 1;
  close(newest + 1, newestHead + BLOCK_BYTES);
  if (missing > 0) found.problems.push(`at least ${missing} of its groups ${missing === 1 ? "is" : "are"} damaged or missing`);
}

/** Counts the messages of a damaged group by what is left of it, if it begins at `offset`. */
function readRemains(
  bytes: Buffer,
  nonce: Buffer,
  offset: number,
  isMissing: (number: number) => boolean,
  version: number,
  counts: Map<TopicKey, number>,
): void {
  if (offset < BLOCK_BYTES || offset + GROUP_HEADER_BYTES > bytes.length || !nonce.equals(bytes.subarray(offset + 8, offset + 16))) return;
  if (!isMissing(bytes.readDoubleLE(offset + 16))) return;
  const end = Math.min(offset + bytes.readUInt32LE(offset), offset + MAX_GROUP_BYTES, bytes.length);
  for (const { topic, count, from, to } of entriesOf(bytes.subarray(offset, end), version)) {
    if (to - from > MAX_JOURNALED_BYTES || count === 0 || count > to - from) return;
    counts.set(topic, (counts.get(topic) ?? 0) + count);
  }
}

function blocksOf(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
}

function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}

/** @returns undefined when there is no such file */
function readWhole(disk: Disk, path: string): Buffer | undefined {
  if (!reading(path, () => disk.exists(path))) return undefined;
  const file = new LazyFile(disk, path);
  try {
    const bytes = Buffer.allocUnsafeSlow(file.size);
    file.read(bytes, 0, bytes.length, 0);
    return bytes;
  } finally {
    file.close();
  }
}
