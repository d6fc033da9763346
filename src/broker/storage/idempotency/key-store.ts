import { join } from "node:path";
import type { Logger } from "../../../base/logger.ts";
import { type Disk, openOrMake, readFully, removeIfThere, writeFully } from "../disk/disk.ts";
import { type FileFormat, HEAD_BYTES, readVersion, writeHead } from "../file-head.ts";

/**
 * The keys that producers gave their publishes, for as long as a repetition is to be told from a new message.
 *
 * A key is written in the tick that writes its message, before it, with the sequence that the message gets: so no message
 * is acknowledged whose key is not in a file, and after a crash between the two the log tells that the key came to nothing.
 *
 *     NNN.keys    head and entries, in the order they came; a file is gone when all in it are too old
 *     head  := magic "BQKY" | version u32 | 0 u32, three times | crc32 of the first 20 bytes u32 (file-head.ts)
 *     entry := crc32 of the rest u32 | key length u8 | 0 u8 | 0 u16 | topic id u32 | crc32 of its name u32 | sequence f64 | time ms f64 | key
 *
 * All numbers little-endian. The sequence of a deferred publish is not known yet: it is -1, and its key is written behind it.
 *
 * A file of version 0 has no head; its entries are the same. It is gone after the next start, which writes the keys that
 * still count to a file of its own.
 */

const FORMAT: FileFormat = { magic: 0x594b5142, version: 1, name: "keys" };

const HEADER_BYTES = 32;
/** Of a key, in bytes. */
export const MAX_KEY_BYTES = 255;
/** A window is spread over about so many files, so that the oldest keys can be let go of. */
const FILES_PER_WINDOW = 4;
const FIRST_BUFFER_BYTES = 4096;
const LARGEST_KEPT_BUFFER_BYTES = 1024 * 1024;
/** For each key that comes, so many that are too old may go: so they become fewer. */
const EVICTED_PER_KEY = 4;
const EVICTED_PER_REVIEW = 2000;
/** Of a deferred publish. */
const NO_SEQUENCE = -1;

/** A topic as an entry names it: ids begin anew when a damaged store was made again, and then the name tells. */
export interface KeyedTopic {
  readonly id: number;
  readonly nameCrc: number;
}

/** A topic that publishes with keys go to. */
export interface PublishTarget extends KeyedTopic {
  /** Its messages are in memory only, and so are their keys. */
  readonly ephemeral: boolean;
  /** Why the last commit of its log refused what was published. */
  readonly failure: Error | undefined;
}

/** A publish with a key whose commit is not over. */
interface PendingKey<Ack> {
  topic: PublishTarget;
  key: string;
  sequence: number;
  ack: Ack;
}

interface KeyFile {
  number: number;
  /** Of its newest entry. */
  newestMs: number;
  oldestMs: number;
  entries: number;
}

export interface KeyStoreOptions {
  /** Its folder. */
  directory: string;
  disk: Disk;
  logger: Logger;
  windowMs: number;
  /** Keys remembered at the same time; beyond it the oldest are forgotten early. */
  limit: number;
}

export class KeyStore<Ack> {
  private readonly directory: string;
  private readonly disk: Disk;
  private readonly logger: Logger;
  private readonly windowMs: number;
  private readonly limit: number;
  /** When each key came, ms; oldest first. Keys are told apart by topic: see nameFor(). */
  private readonly known = new Map<string, number>();
  /** The last publish of each of these keys is in the tick that is to come. */
  private readonly pending = new Map<string, PendingKey<Ack>>();
  private readonly files: KeyFile[] = [];
  private fd = -1;
  /** Of files that are followed by another, to be synced and closed. */
  private readonly rolledFds: number[] = [];
  private length = 0;
  private buffer = Buffer.allocUnsafe(FIRST_BUFFER_BYTES);
  private bufferedBytes = 0;
  private unsynced = false;
  private warnedOfLimit = false;

  constructor({ directory, disk, logger, windowMs, limit }: KeyStoreOptions) {
    this.directory = directory;
    this.disk = disk;
    this.logger = logger;
    this.windowMs = windowMs;
    this.limit = limit;
  }

  get enabled(): boolean {
    return this.windowMs > 0;
  }

  /** Keys that are remembered. */
  get size(): number {
    return this.known.size;
  }

  /** There is something for commit() and confirm() to do. */
  get hasWork(): boolean {
    return this.pending.size > 0;
  }

  /**
   * Takes note of a publish's key, unless the key came within the window before.
   *
   * @param key in latin1, one character a byte; not empty
   * @param ack what the publish is answered by
   * @param repeatAck what a repetition is answered by whose first publish was committed before
   * @param sequence that its (first) message is about to get; undefined for a deferred one
   * @returns what to answer a repetition by, which must not be published; undefined for a new key
   */
  register(topic: PublishTarget, key: string, ack: Ack, repeatAck: Ack, sequence: number | undefined, nowMs: number): Ack | undefined {
    if (!this.enabled) return undefined;
    const name = nameFor(topic.id, key);
    // As the first one fares, so does its repetition.
    const first = this.pending.get(name);
    if (first !== undefined) return first.ack;
    const since = this.known.get(name);
    if (since !== undefined) {
      // A clock that was set back must not make a key last for ever.
      if (nowMs - since < this.windowMs && since - nowMs < this.windowMs) return repeatAck;
      this.known.delete(name);
    }
    this.known.set(name, nowMs);
    this.pending.set(name, { topic, key, sequence: sequence ?? NO_SEQUENCE, ack });
    this.evict(nowMs, EVICTED_PER_KEY);
    return undefined;
  }

  /**
   * Writes the keys of this tick: behind its deferred publishes, before its logs.
   *
   * @param deferredFailure why the tick's deferred publishes were refused
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
      // The message counts more than its key; on a full disk it will be refused as well.
      this.logger.error(`cannot write the keys of publishes to ${this.directory}: ${(error as Error).message}; a restart forgets them`);
      this.bufferedBytes = 0;
    }
  }

  /** Behind the logs' commits: the keys of what was refused there are forgotten, so that it can be tried again. */
  confirm(nowMs: number): void {
    const refused = [...this.pending].filter(([, { topic, sequence }]) => sequence !== NO_SEQUENCE && topic.failure !== undefined);
    for (const [name] of refused) this.discard(name);
    if (refused.length > 0 && this.bufferedBytes > 0) this.rewrite(nowMs);
    const file = this.files[this.files.length - 1];
    if (this.bufferedBytes > 0) {
      file.newestMs = nowMs;
      if (file.entries === 0) file.oldestMs = nowMs;
      file.entries += this.pending.size;
      this.length += this.bufferedBytes;
      this.bufferedBytes = 0;
    }
    this.pending.clear();
    if (this.buffer.length > LARGEST_KEPT_BUFFER_BYTES) this.buffer = Buffer.allocUnsafe(FIRST_BUFFER_BYTES);
  }

  /**
   * Takes up the keys of an earlier run, in a file of their own.
   *
   * @param isThere whether a topic of an id and a name exists and has a message at a sequence (or any, for -1)
   * @throws StartError, before anything is changed, when a newer version wrote one of the files; what the kernel said
   */
  recover(nowMs: number, isThere: (topic: KeyedTopic, sequence: number) => boolean): void {
    this.disk.makeDirectory(this.directory);
    const numbers = this.disk
      .list(this.directory)
      .map((name) => /^(\d+)\.keys$/.exec(name)?.[1])
      .filter((digits) => digits !== undefined)
      .map(Number)
      .sort((a, b) => a - b);
    const kept = new Map<string, { topic: KeyedTopic; key: string; sequence: number; timeMs: number }>();
    for (const number of numbers) {
      this.readFile(number, (topic, key, sequence, timeMs) => {
        const fresh = nowMs - timeMs < this.windowMs && timeMs - nowMs < this.windowMs;
        if (fresh && isThere(topic, sequence)) kept.set(nameFor(topic.id, key), { topic, key, sequence, timeMs });
      });
    }
    const next = (numbers[numbers.length - 1] ?? 0) + 1;
    if (kept.size > 0) {
      this.open(next);
      const file = this.files[0];
      // Anew, since a key that came to nothing must not be taken for that of a later message.
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
    for (const number of numbers) removeIfThere(this.disk, this.pathOf(number));
  }

  /** Brings what was written to the disk, off the event loop. */
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

  private discard(name: string): void {
    this.pending.delete(name);
    this.known.delete(name);
  }

  /** Called now and then: lets go of keys that are too old, also when no more come. */
  evictExpired(nowMs: number): void {
    if (this.known.size > 0) this.evict(nowMs, EVICTED_PER_REVIEW);
  }

  /** Lets go of keys that are too old or too many, of `most` at a time: who is late in this must not keep others waiting. */
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
          `more than --idempotency-keys=${this.limit} keys within --idempotency-window: the oldest are forgotten before their time`,
        );
      }
      this.known.delete(name);
    }
  }

  private append({ id, nameCrc }: KeyedTopic, key: string, sequence: number, timeMs: number): void {
    const at = this.bufferedBytes;
    const end = at + HEADER_BYTES + key.length;
    if (end > this.buffer.length) {
      const larger = Buffer.allocUnsafe(2 * end);
      this.buffer.copy(larger, 0, 0, at);
      this.buffer = larger;
    }
    const { buffer } = this;
    buffer[at + 4] = key.length;
    buffer.fill(0, at + 5, at + 8);
    buffer.writeUInt32LE(id, at + 8);
    buffer.writeUInt32LE(nameCrc, at + 12);
    buffer.writeDoubleLE(sequence, at + 16);
    buffer.writeDoubleLE(timeMs, at + 24);
    buffer.write(key, at + HEADER_BYTES, "latin1");
    buffer.writeUInt32LE(Bun.hash.crc32(buffer.subarray(at + 4, end)), at);
    this.bufferedBytes = end;
  }

  /** What of this tick's keys came to nothing is cut off again. */
  private rewrite(nowMs: number): void {
    this.bufferedBytes = 0;
    for (const { topic, key, sequence } of this.pending.values()) if (!topic.ephemeral) this.append(topic, key, sequence, nowMs);
    try {
      this.disk.truncate(this.fd, this.length);
      if (this.bufferedBytes > 0) writeFully(this.disk, this.fd, this.buffer, 0, this.bufferedBytes, this.length);
    } catch (error) {
      this.logger.error(`cannot write the keys of publishes to ${this.directory}: ${(error as Error).message}; a restart forgets them`);
      this.bufferedBytes = 0;
    }
  }

  /** Begins a new file when the last one spans its share of the window, and lets go of those that nobody needs. */
  private roll(nowMs: number): void {
    const last = this.files[this.files.length - 1];
    const { windowMs, limit } = this;
    const full = last !== undefined && (nowMs - last.oldestMs >= windowMs / FILES_PER_WINDOW || last.entries >= limit);
    if (last === undefined || (full && last.entries > 0)) this.open((last?.number ?? 0) + 1);
    while (this.files.length > 1) {
      const behind = this.files.slice(1).reduce((sum, { entries }) => sum + entries, 0);
      if (nowMs - this.files[0].newestMs < windowMs && behind < limit) return;
      removeIfThere(this.disk, this.pathOf(this.files[0].number));
      this.files.shift();
    }
  }

  private open(number: number): void {
    const { fd } = openOrMake(this.disk, this.pathOf(number));
    try {
      this.disk.truncate(fd, 0);
      writeHead(this.disk, fd, FORMAT);
    } catch (error) {
      this.disk.close(fd);
      throw error;
    }
    if (this.fd >= 0) this.rolledFds.push(this.fd);
    this.fd = fd;
    this.length = HEAD_BYTES;
    this.files.push({ number, oldestMs: Number.POSITIVE_INFINITY, newestMs: 0, entries: 0 });
  }

  /** Visits the whole entries of a file, as far as they are: what a crash has torn is at its end. */
  private readFile(number: number, visit: (topic: KeyedTopic, key: string, sequence: number, timeMs: number) => void): void {
    const { fd } = openOrMake(this.disk, this.pathOf(number));
    try {
      const version = readVersion(this.disk, fd, FORMAT, this.pathOf(number));
      if (version === undefined) return;
      const bytes = Buffer.allocUnsafe(this.disk.size(fd));
      readFully(this.disk, fd, bytes, 0, bytes.length, 0);
      // A head that is damaged counts as none: the entries are behind it all the same.
      let at = version === 0 && entryEnd(bytes, 0) !== undefined ? 0 : HEAD_BYTES;
      for (let end = entryEnd(bytes, at); end !== undefined; end = entryEnd(bytes, at)) {
        const key = bytes.toString("latin1", at + HEADER_BYTES, end);
        const topic = { id: bytes.readUInt32LE(at + 8), nameCrc: bytes.readUInt32LE(at + 12) };
        visit(topic, key, bytes.readDoubleLE(at + 16), bytes.readDoubleLE(at + 24));
        at = end;
      }
    } finally {
      this.disk.close(fd);
    }
  }

  private pathOf(number: number): string {
    return join(this.directory, `${number}.keys`);
  }
}

/** @returns the offset behind the entry at `at`; undefined: no whole one stands there */
function entryEnd(bytes: Buffer, at: number): number | undefined {
  if (at + HEADER_BYTES > bytes.length) return undefined;
  const end = at + HEADER_BYTES + bytes[at + 4];
  return end <= bytes.length && Bun.hash.crc32(bytes.subarray(at + 4, end)) === bytes.readUInt32LE(at) ? end : undefined;
}

/** Topic ids are never used twice, so a key does not outlive its topic. */
function nameFor(topicId: number, key: string): string {
  return `${topicId} ${key}`;
}
