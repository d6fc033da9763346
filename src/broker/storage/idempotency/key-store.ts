import type { Logger } from "../../../base/logger.ts";
import { DamageLog } from "../damage-log.ts";
import type { Disk } from "../disk/disk.ts";
import { isKernelError } from "../disk/unreadable-file.ts";
import { FileNotes } from "../file-notes.ts";
import { type DoubtfulKey, DoubtfulKeys, type IsThere } from "./doubtful-keys.ts";
import { KeyFiles, VOID_MS } from "./key-files.ts";
import type { PendingKey, PublishTarget, UnsyncedKey } from "./keyed-publish.ts";
import { KnownKeys, nameFor } from "./known-keys.ts";
import { dropLost, entryNumber, type KeptKey, type StoredEntries, type UnconfirmedKey, UnconfirmedKeys } from "./unconfirmed-keys.ts";
import { type SequencedKey, type UnreplicatedKey, UnreplicatedKeys } from "./unreplicated-keys.ts";

/**
 * The idempotency keys that producers gave their publishes. Each is kept for a window of time, in which a publish with the same
 * key counts as a repetition.
 *
 * A key is written in the tick that writes its message, before the message, with the sequence that the message will get. So no
 * message is acknowledged without its key in a file. After a crash between the two writes, the log tells that the message of a
 * key does not exist, and the key is dropped. key-files.ts writes the files, and key-file.ts reads them.
 */

/** The longest key. */
export const MAX_KEY_BYTES = 255;
/** At most this many old keys are evicted for each new one: more than one, so that a backlog of old keys shrinks. */
const EVICTED_PER_KEY = 4;
/** At most this many old keys are evicted in one call of evictExpired(). */
const EVICTED_PER_REVIEW = 2000;

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
  /** Whether other brokers have a topic, too, by its id. */
  isReplicated?: (topicId: number) => boolean;
}

/** Keeps the keys of publishes. `Ack` is whatever the caller acknowledges a publish with. */
export class KeyStore<Ack> {
  private readonly directory: string;
  private readonly logger: Logger;
  private readonly windowMs: number;
  private readonly limit: number;
  private readonly notes: FileNotes;
  /** When each key of each topic was registered, ms, by nameFor(); oldest first. */
  private readonly known = new KnownKeys();
  /** Keys of publishes that the next tick commits, by nameFor(). */
  private readonly pending = new Map<string, PendingKey<Ack>>();
  /** Keys of committed publishes that wait for a sync, by nameFor(). */
  private readonly unsynced = new Map<string, UnsyncedKey>();
  /** Those of them that no sync under way covers, and those that the one under way covers. */
  private uncovered: UnsyncedKey[] = [];
  private covered: UnsyncedKey[] = [];
  /** Keys whose publishes were refused by a sync, which is not written yet. */
  private voids: UnreplicatedKey[] = [];
  private readonly unreplicated = new UnreplicatedKeys();
  private readonly unconfirmed = new UnconfirmedKeys();
  /** Higher than the numbers of all entries of deferred publishes that keys of an earlier run name: no other entry may get these. */
  nextEntryNumber = 0;
  private readonly files: KeyFiles;
  private readonly isReplicated: (topicId: number) => boolean;
  private warnedOfLimit = false;
  private readonly doubts = new DoubtfulKeys();
  /** Why the keys of an earlier run are not known: publishes with a key must be refused. */
  failure: Error | undefined;

  constructor({
    directory,
    disk,
    logger,
    windowMs,
    limit,
    notes = new FileNotes(),
    damage = new DamageLog(logger),
    keepDamage = true,
    isReplicated = () => false,
  }: KeyStoreOptions) {
    this.isReplicated = isReplicated;
    this.directory = directory;
    this.logger = logger;
    this.windowMs = windowMs;
    this.limit = limit;
    this.notes = notes;
    this.files = new KeyFiles({ directory, disk, windowMs, limit, notes, damage, keepDamage });
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
    return this.pending.size > 0 || this.voids.length > 0;
  }

  /**
   * Registers the key of a publish, unless it was registered within the last window.
   *
   * @param key in latin1, one character per byte; not empty
   * @param ack acknowledges this publish, and each repetition until it is committed
   * @param repeatAck acknowledges a repetition after that
   * @param sequence the one that the first message of the publish will get; deferredSequence() for a deferred publish
   * @returns the acknowledgement of a repetition, which must not be published; undefined for a new key
   */
  register(topic: PublishTarget, key: string, ack: Ack, repeatAck: Ack, sequence: number, nowMs: number): Ack | undefined {
    if (!this.enabled) return undefined;
    const earlier = this.find(topic, key, repeatAck, nowMs);
    if (earlier !== undefined) return earlier;
    const name = nameFor(topic.id, key);
    this.known.add(name, nowMs);
    this.pending.set(name, { topic, key, sequence, ack });
    this.evict(nowMs, EVICTED_PER_KEY);
    return undefined;
  }

  /** What acknowledges a repetition of the publish with a key, as of register(); undefined: the key was not registered within the last window. */
  find(topic: { readonly id: number }, key: string, repeatAck: Ack, nowMs: number): Ack | undefined {
    const name = nameFor(topic.id, key);
    // The repetition is acknowledged or refused together with the first publish.
    const first = this.pending.get(name);
    if (first !== undefined) return first.ack;
    const since = this.known.timeOf(name);
    if (since === undefined) return undefined;
    // After the clock was set back, a key must not count for longer than a window either.
    if (nowMs - since < this.windowMs && since - nowMs < this.windowMs) return repeatAck;
    this.known.delete(name);
    return undefined;
  }

  /** Ids of the topics to which publishes with a key went; of some of them the window is over. Undefined: each has to be asked with find(). */
  topicsWith(key: string): readonly number[] | undefined {
    return this.known.topicsWith(key);
  }

  /** The key of a committed publish that still waits for a sync; undefined if none does. */
  awaitingSync(topic: { readonly id: number }, key: string): UnsyncedKey | undefined {
    return this.unsynced.get(nameFor(topic.id, key));
  }

  /**
   * Writes the keys of this tick. To be called after the tick has written its deferred publishes, and before it writes the logs.
   *
   * @param deferredFailure why the deferred publishes of this tick were refused
   */
  commit(nowMs: number, deferredFailure: Error | undefined): void {
    if (deferredFailure !== undefined) {
      for (const [name, { sequence }] of this.pending) if (sequence < 0) this.discard(name);
    }
    this.writeVoids(nowMs);
    this.bufferPending(nowMs);
    // Before the logs are written: keys go to replicas together with their messages.
    for (const { topic, key, sequence } of this.pending.values())
      if (sequence >= 0 && Number.isFinite(topic.releasable)) this.unreplicated.add({ topic, key, sequence }, topic.releasable ?? 0);
    if (!this.files.hasBuffered) return;
    try {
      this.files.write(nowMs);
    } catch (error) {
      // The message matters more than its key.
      this.onWriteFailure(error as Error);
    }
  }

  /** To be called after the tick has written the logs: discards keys of refused publishes, so that these can be tried again. */
  confirm(nowMs: number): void {
    const refused = [...this.pending].filter(([, { topic, sequence }]) => sequence >= 0 && topic.failure !== undefined);
    for (const [name, { topic, sequence }] of refused) {
      this.discard(name);
      this.unreplicated.takeFrom(topic.id, sequence);
    }
    if (refused.length > 0 && this.files.hasBuffered) this.rewrite(nowMs);
    if (this.files.hasBuffered) this.files.count(nowMs, nowMs, this.pending.size);
    for (const [name, { topic, key, sequence }] of this.pending) {
      if (topic.ephemeral) continue;
      if (sequence < 0) this.unconfirmed.add({ topic, key, sequence, timeMs: nowMs, refusable: topic.fsync === true });
      if (topic.fsync !== true) continue;
      const unsynced = { topic, key, sequence, refusal: undefined };
      this.unsynced.set(name, unsynced);
      this.uncovered.push(unsynced);
    }
    this.pending.clear();
  }

  /**
   * Reads the keys of an earlier run, and writes those that still count to a new file.
   *
   * @param isThere where it does not know, recheck() and doubtOf() ask again
   * @param stored called after a power cut, which may have lost a deferred publish and left its key
   * @throws StartError, before anything is changed, when a newer version wrote one of the files; UnreadableFile or the kernel's error:
   *   then a later call goes on, and `failure` is set until one succeeds
   */
  recover(nowMs: number, isThere: IsThere, stored: StoredEntries = () => new Set()): void {
    this.doubts.isThere = isThere;
    // By the time of a later call, other entries may have the numbers of lost ones: none is found then.
    const first = this.failure === undefined;
    try {
      this.readAll(nowMs, first ? stored : () => new Set());
      this.failure = undefined;
    } catch (error) {
      if (isKernelError(error) && this.enabled) this.failure = error;
      throw error;
    }
  }

  private readAll(nowMs: number, stored: StoredEntries): void {
    const unchecked = new Map<string, DoubtfulKey>();
    const kept = new Map<string, KeptKey>();
    this.files.recover(
      (topic, key, sequence, timeMs, confirmed) => {
        const name = nameFor(topic.id, key);
        if (sequence < 0) this.nextEntryNumber = Math.max(this.nextEntryNumber, entryNumber(sequence) + 1);
        if (timeMs === VOID_MS) {
          kept.delete(name);
          unchecked.delete(name);
          return;
        }
        const fresh = nowMs - timeMs < this.windowMs && timeMs - nowMs < this.windowMs;
        const there = fresh && this.doubts.ask(topic, sequence);
        if (there !== false) kept.set(name, { topic, key, sequence, timeMs, confirmed });
        if (there === undefined) unchecked.set(name, { topic, sequence });
        else unchecked.delete(name);
      },
      () => {
        dropLost(kept, this.notes, stored);
        for (const [name, one] of unchecked) if (kept.has(name)) this.doubts.add(name, one);
        if (kept.size === 0) return;
        // Written to a new file without the keys whose message does not exist: a later message will get that sequence.
        let [oldestMs, newestMs] = [Number.POSITIVE_INFINITY, 0];
        for (const [name, { topic, key, sequence, timeMs, confirmed }] of kept) {
          this.known.add(name, timeMs);
          this.files.append(topic, key, sequence, timeMs, confirmed);
          if (sequence >= 0 && this.isReplicated(topic.id)) this.unreplicated.add({ topic, key, sequence }, 0);
          oldestMs = Math.min(oldestMs, timeMs);
          newestMs = Math.max(newestMs, timeMs);
        }
        try {
          this.files.write(nowMs);
        } catch (error) {
          this.files.clearBuffer();
          throw error;
        }
        this.files.count(oldestMs, newestMs, kept.size);
        for (const { sequence, confirmed, ...one } of kept.values())
          if (sequence < 0 && !confirmed) this.unconfirmed.add({ ...one, sequence, refusable: false });
        this.evict(nowMs, kept.size);
      },
    );
  }

  /** Notes how long the newest file is. To be called from time to time, and when everything is written at the end. */
  noteFile(): void {
    this.files.noteNewest();
  }

  /**
   * A topic was opened that was not open at the time of recover(): forgets those of its keys whose messages do not exist.
   *
   * @returns one more than the highest sequence that such a key has: no message may get these sequences, since after a restart
   *   the key would seem to be that message's
   */
  recheck(topicId: number): number {
    return this.doubts.recheck(topicId, (name) => this.known.delete(name));
  }

  /** Why it cannot be told whether a key was registered: the log of its message cannot be read now. Undefined: it can be told. */
  doubtOf(topic: { readonly id: number }, key: string): Error | undefined {
    return this.doubts.size === 0 ? undefined : this.doubts.reason(nameFor(topic.id, key), (name) => this.known.delete(name));
  }

  // ---- syncs, which the broker runs

  /** A sync of everything begins: the keys that wait for one so far are covered by it. */
  syncBegins(): void {
    this.covered = this.uncovered;
    this.uncovered = [];
    this.unconfirmed.syncBegins();
  }

  /**
   * The sync has ended. Forgets keys of publishes that it refused: when one is repeated, it is a new publish.
   *
   * @param deferredRefusal why deferred publishes were refused; those of a log were by the topic's `syncFailure`
   */
  syncEnded(nowMs: number, deferredRefusal: Error | undefined): void {
    for (const unsynced of this.covered) {
      const name = nameFor(unsynced.topic.id, unsynced.key);
      unsynced.refusal = unsynced.sequence < 0 ? deferredRefusal : unsynced.topic.syncFailure;
      if (this.unsynced.get(name) !== unsynced) continue;
      this.unsynced.delete(name);
      if (unsynced.refusal === undefined) continue;
      this.known.delete(name);
      this.voids.push(unsynced);
    }
    this.covered = [];
    // Before anybody is told: should the process end now, the next start must not know the keys.
    this.writeVoids(nowMs);
    // A key that is forgotten by now, because it is too old or its publish was refused, is not written again.
    const covered = this.unconfirmed.takeCovered().filter(({ topic, key }) => this.known.timeOf(nameFor(topic.id, key)) !== undefined);
    if (deferredRefusal === undefined) this.writeConfirmed(covered, nowMs);
    else this.unconfirmed.putBack(covered.filter(({ refusable }) => !refusable));
  }

  /** The messages of a replicated topic from a sequence on are about to be removed from its log: their keys count no more. */
  voidFrom(topicId: number, sequence: number, nowMs: number): void {
    for (const unreplicated of this.unreplicated.takeFrom(topicId, sequence)) {
      for (const keys of [this.known, this.unsynced]) keys.delete(nameFor(topicId, unreplicated.key));
      this.voids.push(unreplicated);
    }
    this.writeVoids(nowMs);
  }

  /** The keys of publishes to a replicated topic with sequences in [from, to), which its replicas get with their messages. */
  keysBetween(topicId: number, from: number, to: number): readonly SequencedKey[] {
    return this.unreplicated.between(topicId, from, to);
  }

  /** Takes keys that another broker sent, which leads a topic. To be called before their messages are written, as for keys of this broker. */
  take(topic: PublishTarget, keys: readonly SequencedKey[], nowMs: number): void {
    for (const { key, sequence } of keys) {
      const name = nameFor(topic.id, key);
      this.known.delete(name);
      this.known.add(name, nowMs);
      this.files.append(topic, key, sequence, nowMs);
      this.unreplicated.add({ topic, key, sequence }, topic.releasable ?? 0);
    }
    try {
      this.files.write(nowMs);
      this.files.count(nowMs, nowMs, keys.length);
    } catch (error) {
      this.onWriteFailure(error as Error);
    }
    this.evict(nowMs, EVICTED_PER_KEY * keys.length);
  }

  /** Syncs what was written, off the event loop. */
  sync(done: (error: Error | undefined) => void): void {
    this.files.sync(done);
  }

  /** Closes the files. No sync may be under way. */
  close(): void {
    this.files.close();
  }

  /** Writes that keys of refused publishes are void. If that fails, the next commit() tries again. */
  private writeVoids(nowMs: number): void {
    this.files.clearBuffer();
    if (this.voids.length === 0) return;
    try {
      for (const { topic, key, sequence } of this.voids) this.files.append(topic, key, sequence, VOID_MS);
      this.files.write(nowMs);
      this.files.count(nowMs, nowMs, this.voids.length);
      this.voids = [];
    } catch (error) {
      this.files.clearBuffer();
      this.logger.error(`cannot write idempotency keys to ${this.directory}: ${(error as Error).message}; trying again`);
    }
  }

  /** Writes again the keys of deferred publishes that a sync has covered. If that fails, it is done after the next sync. */
  private writeConfirmed(keys: readonly UnconfirmedKey[], nowMs: number): void {
    if (keys.length === 0) return;
    try {
      for (const { topic, key, sequence, timeMs } of keys) this.files.append(topic, key, sequence, timeMs, true);
      this.files.write(nowMs);
      // They are entries of keys that are counted already.
      this.files.count(nowMs, nowMs, 0);
    } catch (error) {
      this.files.clearBuffer();
      this.unconfirmed.putBack(keys);
      this.logger.error(`cannot write idempotency keys to ${this.directory}: ${(error as Error).message}; trying again`);
    }
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
    for (let left = most; left > 0; left--) {
      const oldest = this.known.oldest();
      if (oldest === undefined) return;
      const [name, timeMs] = oldest;
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

  /** Replaces the entries of this tick in the file by those of the keys that are left. */
  private rewrite(nowMs: number): void {
    this.files.clearBuffer();
    this.bufferPending(nowMs);
    try {
      this.files.rewrite();
    } catch (error) {
      this.onWriteFailure(error as Error);
    }
  }

  private bufferPending(nowMs: number): void {
    for (const { topic, key, sequence } of this.pending.values()) if (!topic.ephemeral) this.files.append(topic, key, sequence, nowMs);
  }

  private onWriteFailure(error: Error): void {
    this.logger.error(`cannot write idempotency keys to ${this.directory}: ${error.message}; they do not count after a restart`);
    this.files.clearBuffer();
  }
}
