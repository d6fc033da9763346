import { join } from "node:path";
import type { Logger } from "../../../base/logger.ts";
import { DamageLog } from "../damage-log.ts";
import { type Disk, openOrMake, removeIfThere, writeFully } from "../disk/disk.ts";
import { setAside } from "../disk/set-aside.ts";
import { reading, UnreadableFile } from "../disk/unreadable-file.ts";
import { HEAD_BYTES, writeHead } from "../file-head.ts";
import { FileNotes } from "../file-notes.ts";
import { HEADER_BYTES, KEYS_FORMAT, type KeyedTopic, LONG_ID, notedName, readKeyFile, reportMissingKeys } from "./key-file.ts";

/**
 * The idempotency keys that producers gave their publishes. Each is kept for a window of time, in which a publish with the same
 * key counts as a repetition.
 *
 * A key is written in the tick that writes its message, before the message, with the sequence that the message will get. So no
 * message is acknowledged without its key in a file. After a crash between the two writes, the log tells that the message of a
 * key does not exist, and the key is dropped.
 *
 *     NNN.keys    head and entries, in order of arrival; removed when the window of its newest entry is over
 *     head  := magic "BQKY" | version u32 | 0 u32, three times | crc32 of the first 20 bytes u32 (file-head.ts)
 *     entry := crc32 of the rest u32 | key length u8 | layout u8 | 0 u16 | topic id f64 | sequence f64 | time ms f64 | key
 *
 * All numbers are little-endian. A deferred publish has no sequence yet: its entry has -1, and is written after the publish.
 *
 * The layout is 1. In files of version 1 it is 0, and the topic is named by a topic id u32 and the crc32 of its name u32. A file
 * of version 0 is one of version 1 without a head. The next start removes every file of an earlier run, and writes the keys that
 * still count to a new one.
 */

/** The longest key. */
export const MAX_KEY_BYTES = 255;
/** The keys of one window are in about this many files, so that files with old keys can be removed. */
const FILES_PER_WINDOW = 4;
const FIRST_BUFFER_BYTES = 4096;
const LARGEST_KEPT_BUFFER_BYTES = 1024 * 1024;
/** At most this many old keys are evicted for each new one: more than one, so that a backlog of old keys shrinks. */
const EVICTED_PER_KEY = 4;
/** At most this many old keys are evicted in one call of evictExpired(). */
const EVICTED_PER_REVIEW = 2000;
/** In the entry of a deferred publish. */
const NO_SEQUENCE = -1;

/** A topic that publishes with keys go to. */
export interface PublishTarget {
  readonly id: number;
  /** Its messages are in memory only, and so are their keys. */
  readonly ephemeral: boolean;
  /** Why the last commit of the topic's log refused its publishes. */
  readonly failure: Error | undefined;
}

/** The key of a publish that is not committed yet. */
interface PendingKey<Ack> {
  topic: PublishTarget;
  key: string;
  sequence: number;
  ack: Ack;
}

interface KeyFile {
  number: number;
  /** Time of the newest entry. */
  newestMs: number;
  /** Time of the oldest entry. */
  oldestMs: number;
  entries: number;
}

export interface KeyStoreOptions {
  /** The folder of the files; made if it does not exist. */
  directory: string;
  disk: Disk;
  logger: Logger;
  /** How long a key counts; 0: keys are ignored. */
  windowMs: number;
  /** The most keys kept at a time. Beyond it the oldest are evicted before their window is over. */
  limit: number;
  /** What earlier runs noted about the files, and where notes of this one go. */
  notes?: FileNotes;
  damage?: DamageLog;
  /** False: damaged files are left as they are, as in a check. */
  keepDamage?: boolean;
}

/** Keeps the keys of publishes. `Ack` is whatever the caller acknowledges a publish with. */
export class KeyStore<Ack> {
  private readonly directory: string;
  private readonly disk: Disk;
  private readonly logger: Logger;
  private readonly windowMs: number;
  private readonly limit: number;
  /** When each key of each topic was registered, ms, by nameFor(); oldest first. */
  private readonly known = new Map<string, number>();
  /** Keys of publishes that the next tick commits, by nameFor(). */
  private readonly pending = new Map<string, PendingKey<Ack>>();
  private readonly files: KeyFile[] = [];
  private fd = -1;
  /** Descriptors of files that a newer one has followed; they are still to be synced and closed. */
  private readonly rolledFds: number[] = [];
  private length = 0;
  private buffer = Buffer.allocUnsafe(FIRST_BUFFER_BYTES);
  private bufferedBytes = 0;
  private unsynced = false;
  private warnedOfLimit = false;
  /** Keys whose topics were not open when they were read, by nameFor(): it is not known yet whether their messages exist. */
  private readonly unchecked = new Map<string, { topic: KeyedTopic; sequence: number }>();
  /** Why the keys of an earlier run are not known: publishes with a key must be refused. */
  failure: UnreadableFile | undefined;

  private readonly notes: FileNotes;
  private readonly damage: DamageLog;
  private readonly keepDamage: boolean;

  constructor({ directory, disk, logger, windowMs, limit, notes, damage, keepDamage = true }: KeyStoreOptions) {
    this.notes = notes ?? new FileNotes();
    this.damage = damage ?? new DamageLog(logger);
    this.keepDamage = keepDamage;
    this.directory = directory;
    this.disk = disk;
    this.logger = logger;
    this.windowMs = windowMs;
    this.limit = limit;
  }

  get enabled(): boolean {
    return this.windowMs > 0;
  }

  /** How many keys are kept. */
  get size(): number {
    return this.known.size;
  }

  /** Whether there is anything for commit() and confirm() to do. */
  get hasWork(): boolean {
    return this.pending.size > 0;
  }

  /**
   * Registers the key of a publish, unless it was registered within the last window.
   *
   * @param key in latin1, one character per byte; not empty
   * @param ack acknowledges this publish, and each repetition until it is committed
   * @param repeatAck acknowledges a repetition after that
   * @param sequence the one that the first message of the publish will get; undefined for a deferred publish
   * @returns the acknowledgement of a repetition, which must not be published; undefined for a new key
   */
  register(topic: PublishTarget, key: string, ack: Ack, repeatAck: Ack, sequence: number | undefined, nowMs: number): Ack | undefined {
    if (!this.enabled) return undefined;
    const name = nameFor(topic.id, key);
    // The repetition is acknowledged or refused together with the first publish.
    const first = this.pending.get(name);
    if (first !== undefined) return first.ack;
    const since = this.known.get(name);
    if (since !== undefined) {
      // After the clock was set back, a key must not count for longer than a window either.
      if (nowMs - since < this.windowMs && since - nowMs < this.windowMs) return repeatAck;
      this.known.delete(name);
    }
    this.known.set(name, nowMs);
    this.pending.set(name, { topic, key, sequence: sequence ?? NO_SEQUENCE, ack });
    this.evict(nowMs, EVICTED_PER_KEY);
    return undefined;
  }

  /**
   * Writes the keys of this tick. To be called after the tick has written its deferred publishes, and before it writes the logs.
   *
   * @param deferredFailure why the deferred publishes of this tick were refused
   */
  commit(nowMs: number, deferredFailure: Error | undefined): void {
    if (deferredFailure !== undefined) {
      for (const [name, { sequence }] of this.pending) if (sequence === NO_SEQUENCE) this.discard(name);
    }
    this.bufferedBytes = 0;
    for (const { topic, key, sequence } of this.pending.values()) if (!topic.ephemeral) this.append(topic, key, sequence, nowMs);
    if (this.bufferedBytes === 0) return;
    try {
      this.roll(nowMs);
      writeFully(this.disk, this.fd, this.buffer, 0, this.bufferedBytes, this.length);
      this.unsynced = true;
    } catch (error) {
      // The message matters more than its key. On a full disk it will be refused too.
      this.onWriteFailure(error as Error);
    }
  }

  /** To be called after the tick has written the logs: discards keys of refused publishes, so that these can be tried again. */
  confirm(nowMs: number): void {
    const refused = [...this.pending].filter(([, { topic, sequence }]) => sequence !== NO_SEQUENCE && topic.failure !== undefined);
    for (const [name] of refused) this.discard(name);
    if (refused.length > 0 && this.bufferedBytes > 0) this.rewrite(nowMs);
    const file = this.files[this.files.length - 1];
    if (this.bufferedBytes > 0) {
      const isFirst = this.length === HEAD_BYTES;
      file.newestMs = nowMs;
      if (file.entries === 0) file.oldestMs = nowMs;
      file.entries += this.pending.size;
      this.length += this.bufferedBytes;
      this.bufferedBytes = 0;
      if (isFirst) this.noteFile();
    }
    this.pending.clear();
    if (this.buffer.length > LARGEST_KEPT_BUFFER_BYTES) this.buffer = Buffer.allocUnsafe(FIRST_BUFFER_BYTES);
  }

  /**
   * Reads the keys of an earlier run, and writes those that still count to a new file.
   *
   * @param isThere whether a topic exists and has a message at a sequence; for -1, whether it exists. Undefined: it is not known
   *   yet, and recheck() asks again
   * @throws StartError, before anything is changed, when a newer version wrote one of the files; UnreadableFile, with nothing
   *   changed either: then a later call goes on, and `failure` is set until one succeeds; the kernel's error
   */
  recover(nowMs: number, isThere: (topic: KeyedTopic, sequence: number) => boolean | undefined): void {
    try {
      this.readAll(nowMs, isThere);
      this.failure = undefined;
    } catch (error) {
      if (error instanceof UnreadableFile && this.enabled) this.failure = error;
      throw error;
    }
  }

  private readAll(nowMs: number, isThere: (topic: KeyedTopic, sequence: number) => boolean | undefined): void {
    this.disk.makeDirectory(this.directory);
    const numbers = reading(this.directory, () => this.disk.list(this.directory))
      .map((name) => /^(\d+)\.keys$/.exec(name)?.[1])
      .filter((digits) => digits !== undefined)
      .map(Number)
      .sort((a, b) => a - b);
    const unchecked = new Map<string, { topic: KeyedTopic; sequence: number }>();
    const kept = new Map<string, { topic: KeyedTopic; key: string; sequence: number; timeMs: number }>();
    const problems = new Map<number, string>();
    for (const number of numbers) {
      const problem = readKeyFile(this.disk, this.pathOf(number), this.notes, notedName(number), (topic, key, sequence, timeMs) => {
        const fresh = nowMs - timeMs < this.windowMs && timeMs - nowMs < this.windowMs;
        const there = fresh && isThere(topic, sequence);
        if (there !== false) kept.set(nameFor(topic.id, key), { topic, key, sequence, timeMs });
        if (there === undefined) unchecked.set(nameFor(topic.id, key), { topic, sequence });
        else unchecked.delete(nameFor(topic.id, key));
      });
      if (problem !== undefined) problems.set(number, problem);
    }
    for (const [name, one] of unchecked) this.unchecked.set(name, one);
    reportMissingKeys(this.directory, this.notes, this.damage, numbers);
    const next = (numbers[numbers.length - 1] ?? 0) + 1;
    if (kept.size > 0) {
      this.open(next);
      const file = this.files[0];
      // Written to a new file without the keys whose message does not exist: a later message will get that sequence.
      for (const [name, { topic, key, sequence, timeMs }] of kept) {
        this.known.set(name, timeMs);
        this.append(topic, key, sequence, timeMs);
        if (file.entries === 0) file.oldestMs = timeMs;
        file.newestMs = Math.max(file.newestMs, timeMs);
        file.entries++;
      }
      writeFully(this.disk, this.fd, this.buffer, 0, this.bufferedBytes, this.length);
      this.length += this.bufferedBytes;
      this.bufferedBytes = 0;
      this.unsynced = true;
      this.evict(nowMs, kept.size);
    }
    for (const number of numbers) this.keepOrRemove(number, problems.get(number));
    this.noteFile();
  }

  /** Removes a file that was read, or keeps it under another name where it is damaged. */
  private keepOrRemove(number: number, problem: string | undefined): void {
    if (problem === undefined) return this.remove(number);
    const aside = this.keepDamage ? `; it is kept as ${setAside(this.disk, this.pathOf(number))}` : "";
    this.damage.report("keys", `idempotency keys: ${this.pathOf(number)} is damaged: ${problem}${aside}`);
  }

  /** Notes how long the newest file is. To be called from time to time, and when everything is written at the end. */
  noteFile(): void {
    const file = this.files[this.files.length - 1];
    if (file !== undefined && this.length > HEAD_BYTES) this.notes.note(notedName(file.number), this.length);
  }

  private remove(number: number): void {
    this.notes.forget(notedName(number));
    removeIfThere(this.disk, this.pathOf(number));
  }

  /**
   * A topic was opened that was not open at the time of recover(): forgets those of its keys whose messages do not exist.
   *
   * @returns one more than the highest sequence that such a key has: no message may get these sequences, since after a restart
   *   the key would seem to be that message's
   */
  recheck(topicId: number, isThere: (topic: KeyedTopic, sequence: number) => boolean | undefined): number {
    let next = 0;
    for (const [name, { topic, sequence }] of this.unchecked) {
      if (topic.id !== topicId) continue;
      this.unchecked.delete(name);
      if (isThere(topic, sequence) !== false) continue;
      this.known.delete(name);
      next = Math.max(next, sequence + 1);
    }
    return next;
  }

  /** Syncs what was written, off the event loop. */
  sync(done: (error: Error | undefined) => void): void {
    const rolled = this.rolledFds.splice(0);
    const fds = this.unsynced && this.fd >= 0 ? [...rolled, this.fd] : rolled;
    this.unsynced = false;
    let waiting = fds.length;
    if (waiting === 0) return done(undefined);
    let failure: Error | undefined;
    for (const fd of fds) {
      this.disk.sync(fd, (error) => {
        failure ??= error ?? undefined;
        if (rolled.includes(fd)) this.disk.close(fd);
        if (--waiting > 0) return;
        if (failure !== undefined) this.unsynced = true;
        done(failure);
      });
    }
  }

  /** Closes the files. No sync may be under way. */
  close(): void {
    for (const fd of this.rolledFds.splice(0)) this.disk.close(fd);
    if (this.fd >= 0) this.disk.close(this.fd);
    this.fd = -1;
  }

  /** Forgets a key whose publish was refused. */
  private discard(name: string): void {
    this.pending.delete(name);
    this.known.delete(name);
  }

  /** Evicts keys whose window is over. To be called from time to time, since there may be no new keys. */
  evictExpired(nowMs: number): void {
    if (this.known.size > 0) this.evict(nowMs, EVICTED_PER_REVIEW);
  }

  /** Evicts keys that are too old or too many, at most `most` of them, so that the event loop is not blocked by a backlog. */
  private evict(nowMs: number, most: number): void {
    let left = most;
    for (const [name, timeMs] of this.known) {
      if (left-- === 0) return;
      const tooMany = this.known.size > this.limit;
      if (!tooMany && nowMs - timeMs < this.windowMs) return;
      if (this.pending.has(name)) return;
      if (tooMany && nowMs - timeMs < this.windowMs && !this.warnedOfLimit) {
        this.warnedOfLimit = true;
        this.logger.warn(
          `more than --idempotency-keys=${this.limit} keys within --idempotency-window: the oldest are evicted before their window is over`,
        );
      }
      this.known.delete(name);
    }
  }

  /** Appends an entry to the buffer. */
  private append({ id }: Pick<KeyedTopic, "id">, key: string, sequence: number, timeMs: number): void {
    const at = this.bufferedBytes;
    const end = at + HEADER_BYTES + key.length;
    if (end > this.buffer.length) {
      const larger = Buffer.allocUnsafe(2 * end);
      this.buffer.copy(larger, 0, 0, at);
      this.buffer = larger;
    }
    const { buffer } = this;
    buffer[at + 4] = key.length;
    buffer[at + 5] = LONG_ID;
    buffer.fill(0, at + 6, at + 8);
    buffer.writeDoubleLE(id, at + 8);
    buffer.writeDoubleLE(sequence, at + 16);
    buffer.writeDoubleLE(timeMs, at + 24);
    buffer.write(key, at + HEADER_BYTES, "latin1");
    buffer.writeUInt32LE(Bun.hash.crc32(buffer.subarray(at + 4, end)), at);
    this.bufferedBytes = end;
  }

  /** Replaces the entries of this tick in the file by those of the keys that are left. */
  private rewrite(nowMs: number): void {
    this.bufferedBytes = 0;
    for (const { topic, key, sequence } of this.pending.values()) if (!topic.ephemeral) this.append(topic, key, sequence, nowMs);
    try {
      this.disk.truncate(this.fd, this.length);
      if (this.bufferedBytes > 0) writeFully(this.disk, this.fd, this.buffer, 0, this.bufferedBytes, this.length);
    } catch (error) {
      this.onWriteFailure(error as Error);
    }
  }

  private onWriteFailure(error: Error): void {
    this.logger.error(`cannot write idempotency keys to ${this.directory}: ${error.message}; they do not count after a restart`);
    this.bufferedBytes = 0;
  }

  /** Begins a new file when the last one spans its share of the window, and removes files without keys that count. */
  private roll(nowMs: number): void {
    const last = this.files[this.files.length - 1];
    const { windowMs, limit } = this;
    const full = last !== undefined && (nowMs - last.oldestMs >= windowMs / FILES_PER_WINDOW || last.entries >= limit);
    if (last === undefined || (full && last.entries > 0)) this.open((last?.number ?? 0) + 1);
    while (this.files.length > 1) {
      const behind = this.files.slice(1).reduce((sum, { entries }) => sum + entries, 0);
      if (nowMs - this.files[0].newestMs < windowMs && behind < limit) return;
      this.remove(this.files[0].number);
      this.files.shift();
    }
  }

  private open(number: number): void {
    const { fd } = openOrMake(this.disk, this.pathOf(number));
    try {
      this.disk.truncate(fd, 0);
      writeHead(this.disk, fd, KEYS_FORMAT);
    } catch (error) {
      this.disk.close(fd);
      throw error;
    }
    this.noteFile();
    if (this.fd >= 0) this.rolledFds.push(this.fd);
    this.fd = fd;
    this.length = HEAD_BYTES;
    this.files.push({ number, oldestMs: Number.POSITIVE_INFINITY, newestMs: 0, entries: 0 });
  }

  private pathOf(number: number): string {
    return join(this.directory, `${number}.keys`);
  }
}

/** Names a key of a topic. Ids of topics are never used twice, so a new topic of the same name does not find the keys of the old one. */
function nameFor(topicId: number, key: string): string {
  return `${topicId} ${key}`;
}
