import { statSync } from "node:fs";
import { join } from "node:path";
import { type Clock, systemClock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import { Trouble } from "../base/rate-limited-log.ts";
import { ScratchBuffer } from "../base/scratch-buffer.ts";
import { StartError } from "../base/start-error.ts";
import type { Timestamp } from "../frame/layout.ts";
import { Answers, type Holder } from "./acks/group-commit.ts";
import type { HeldPublish, PublishError } from "./acks/pending-publish.ts";
import { Authority } from "./auth/authority.ts";
import { Upkeep } from "./loop/timers.ts";
import { TurnClock } from "./loop/turn-clock.ts";
import type { BrokerOptions, Durability } from "./options.ts";
import { TopicRecovery } from "./recovery/topic-recovery.ts";
import { DATA_FOLDER } from "./storage/data-path.ts";
import { DeferredStore } from "./storage/deferred/deferred-store.ts";
import { BallastFile, isDiskFull } from "./storage/disk/ballast.ts";
import { type Disk, systemDisk } from "./storage/disk/disk.ts";
import { Space } from "./storage/disk/free-space.ts";
import { PublishKeys } from "./storage/idempotency/key-store.ts";
import { ChunkPool } from "./storage/log/chunk.ts";
import { JOURNAL_FILE, Journal } from "./storage/log/journal.ts";
import { Recycler } from "./storage/log/recycler.ts";
import { rescueStore, StoreCopy } from "./storage/metadata/metadata-backup.ts";
import { Store } from "./storage/metadata/metadata-store.ts";
import type { Connection } from "./tcp/connection.ts";
import { TcpListener } from "./tcp/listener.ts";
import { StagePool } from "./tcp/transport/outbox.ts";
import { buildServerTls, type ServerTls } from "./tls-options.ts";
import type { Channel } from "./topics/channel/channel.ts";
import { Checkpointer } from "./topics/checkpointer.ts";
import { Locality } from "./topics/locality.ts";
import { Publishing } from "./topics/publishing.ts";
import type { Topic } from "./topics/topic.ts";
import type { RegistryParts } from "./topics/topic-parts.ts";
import { TopicRegistry, WITHHOLD_ADOPTED_MS } from "./topics/topic-registry.ts";
import type { Turn } from "./topics/turn.ts";

/** When so many topics have something to commit in one turn, small commits go to the journal first. */
const JOURNALED_TOPICS = 4;
/** Topics whose logs are brought up to date and synced in one turn of the event loop. */
const SYNCED_PER_TURN = 64;
/** Log bytes in memory, all topics together. */
const CACHE_BYTES = 16 * 1024 * 1024;
/** Log chunks are let go of at most this often while messages flow. */
const RELEASE_INTERVAL_MS = 5;
/** Segment files kept for reuse, in segments' worth of bytes. */
const RECYCLED_SEGMENTS = 4;
/** A client that does not identify itself gets a heartbeat each half of this, as in nsqd. */
const CLIENT_TIMEOUT_MS = 60_000;

/** What a broker stands on; tests put something else in its place. */
export interface Environment {
  disk?: Disk;
  clock?: Clock;
}

/**
 * The broker: owns the topics and the tick, and knows all others.
 *
 * Callbacks of sockets and HTTP only decode, append and mark what is dirty. Once per turn of the event loop the
 * tick writes the dirty logs, lets the answers go that waited for it, dispatches, and flushes the connections:
 * so an OK is never sent before its message is in the file, and what comes together is written together. What is to be
 * done because time has passed is upkeep.ts; who comes over TCP, tcp-listener.ts.
 */
export class Broker implements Turn {
  readonly startTimeMs = Date.now();
  readonly clientTimeoutMs = CLIENT_TIMEOUT_MS;
  /** Called after an option was changed at run time. */
  readonly optionsChanged: (() => void)[] = [];
  closing = false;
  readonly ballast: BallastFile;
  readonly space: Space;
  /** Of message latencies, largest first; none: channels do not measure. */
  readonly percentiles: readonly number[];

  /** Who knows what clients may do; undefined: all may do everything. */
  readonly authority: Authority | undefined;
  /** Where it stands among its consumers; undefined: it does not matter. */
  readonly topology: Locality | undefined;
  /** What TLS is spoken with; undefined: not at all. */
  readonly tls: ServerTls | undefined;
  /** Port of the HTTP listener; 0 without one, and for a unix socket. */
  httpPort = 0;
  /** Port of the HTTPS listener; 0 without one. */
  httpsPort = 0;

  readonly chunks = new ChunkPool(CACHE_BYTES);
  readonly stages = new StagePool();
  readonly store: Store;
  readonly storeCopy: StoreCopy;
  readonly deferred: DeferredStore;
  readonly journal: Journal;
  readonly catalogue: TopicRegistry;
  readonly keys: PublishKeys;
  readonly answers: Answers;

  readonly publishing: Publishing;
  readonly saver: Checkpointer;
  readonly listener = new TcpListener(this);
  readonly trouble: Trouble;
  readonly disk: Disk;
  /** The clock that the turn's time is read from. */
  readonly baseClock: Clock;
  private readonly clock: TurnClock;
  readonly upkeep: Upkeep;
  private readonly directory: string;
  private readonly recycler: Recycler;
  private readonly scratchBuffer = new ScratchBuffer();

  private tickScheduled = false;
  private dirtyTopics: Topic[] = [];
  private dirtyChannels: Channel[] = [];
  private dirtyConnections: Connection[] = [];
  /** Topics with commits that answers wait for until they are on the disk. */
  private unsyncedTopics = new Set<Topic>();
  private releasableTopics: Topic[] = [];
  private releasedAtMs = 0;
  /** When all logs are to be synced, though nobody waits for it; 0: there is nothing to be. */
  private nextSyncMs = 0;
  /** Why the last write of each kind failed; undefined where all is well. */
  private readonly failures: Record<"log" | "deferred" | "sync", Error | undefined> = {
    log: undefined,
    deferred: undefined,
    sync: undefined,
  };

  /**
   * Opens a data path and takes up what an earlier run left there.
   *
   * @throws StartError when the path is in use, cannot be written, or was written by a newer version
   */
  static open(options: BrokerOptions, log: Logger, environment: Environment = {}): Broker {
    return new Broker(options, log, environment);
  }

  private constructor(
    readonly options: BrokerOptions,
    readonly log: Logger,
    { disk = systemDisk, clock = systemClock }: Environment,
  ) {
    this.disk = disk;
    this.baseClock = clock;
    this.clock = new TurnClock(clock);
    this.upkeep = new Upkeep(this, this.clock);
    this.percentiles = [...options.e2eProcessingLatencyPercentiles].sort((a, b) => b - a);
    const dataPath = options.dataPath === "" ? process.cwd() : options.dataPath;
    this.tls = buildServerTls(options);
    this.authority = Authority.from(options);
    this.topology = Locality.from(options, log);
    this.directory = join(dataPath, DATA_FOLDER);
    checkDataPath(dataPath);
    this.trouble = new Trouble(log);
    const found = rescueStore(disk, this.directory, log);
    this.ballast = new BallastFile(disk, this.directory);
    this.store = new Store(this.directory, this.ballast);
    this.storeCopy = new StoreCopy({ store: this.store, directory: this.directory, disk, clock, logger: log });
    this.space = new Space(disk, this.directory, options.minFreeBytes, this.ballast, log, (low) => this.spaceChanged(low));
    try {
      this.clock.goOnFrom(this.store.clockStep());
      this.recycler = new Recycler(disk, join(this.directory, "recycled"), RECYCLED_SEGMENTS * options.maxBytesPerFile);
      const { store: metadata, ballast, space: freeSpace, trouble: rateLimitedLog } = this;
      this.saver = new Checkpointer({ metadata, ballast, freeSpace, turn: this, logger: log, rateLimitedLog }, this.directory);
      this.deferred = new DeferredStore({ directory: join(this.directory, "deferred"), disk, logger: log, ballast, clock: this.clock });
      this.answers = new Answers((done) => this.syncPublished(done), log);
      this.journal = new Journal(disk, join(this.directory, JOURNAL_FILE), (error) =>
        this.trouble.error(`JOURNAL: ${error.message}; topics write to their own files instead`),
      );
      const parts: RegistryParts = {
        options,
        turn: this,
        logger: log,
        rateLimitedLog,
        deferred: this.deferred,
        metadata,
        checkpointer: this.saver,
        freeSpace,
        scratch: this.scratchBuffer,
        disk,
        clock,
        chunks: this.chunks,
        recycler: this.recycler,
        ballast,
      };
      this.catalogue = new TopicRegistry(parts, this.directory);
      // From here on each sync of a new file covers its own folder's names; these folders' own names are covered now.
      disk.syncDirectoryNow(this.directory);
      disk.syncDirectoryNow(dataPath);
      this.deferred.targets = this.catalogue;
      new TopicRecovery({ ...parts, journal: this.journal }, this.catalogue, this.directory).run(found);
      if (this.catalogue.hasAdopted) setTimeout(() => this.catalogue.releaseAdopted(), WITHHOLD_ADOPTED_MS).unref();
      this.keys = new PublishKeys({
        directory: join(this.directory, "keys"),
        disk,
        logger: log,
        windowMs: options.idempotencyWindowMs,
        limit: options.idempotencyKeys,
      });
      this.keys.recover(this.clock.wallMs, (topic, sequence) => this.catalogue.has(topic, sequence));
      this.publishing = new Publishing({
        turn: this,
        registry: this.catalogue,
        keys: this.keys,
        acks: this.answers,
        scratch: this.scratchBuffer,
      });
      this.space.check(this.clock.steadyMs);
    } catch (error) {
      this.store.close();
      throw error instanceof StartError ? error : new StartError(`cannot read ${this.directory}: ${(error as Error).message}`);
    }
    this.upkeep.start();
  }

  // ---- its parts, by the names that the interfaces of tcp/, http/, metrics/ and discovery/ have for them

  get logger(): Logger {
    return this.log;
  }

  get turn(): this {
    return this;
  }

  get registry(): TopicRegistry {
    return this.catalogue;
  }

  get acks(): Answers {
    return this.answers;
  }

  get locality(): Locality | undefined {
    return this.topology;
  }

  get rateLimitedLog(): Trouble {
    return this.trouble;
  }

  // ---- time

  /** Time of this turn by which timeouts and delays go, ms (clock.ts). */
  get nowMs(): number {
    return this.clock.nowMs;
  }

  /** The same at this moment: where no socket brought one here, the turn's time may be old. */
  get currentMs(): number {
    return this.clock.currentMs();
  }

  /** What the wall clock says at a moment of the broker's time. */
  toWall(atMs: number): number {
    return this.clock.toWall(atMs);
  }

  get wallMs(): number {
    return this.clock.wallMs;
  }

  /** Time of this turn that nobody can set, ms since the process began. */
  get steadyMs(): number {
    return this.clock.steadyMs;
  }

  /** The same for message timestamps, ns. */
  get time(): Timestamp {
    return this.clock.time;
  }

  /** Reads the clock. To be called at the start of a callback that publishes by itself. */
  readClock(): void {
    this.clock.read();
  }

  /** Asks to be woken at a time: for deadlines, due messages, heartbeats. */
  wakeAt(atMs: number): void {
    this.upkeep.wakeAt(atMs);
  }

  // ---- listening

  /** @throws StartError when the address cannot be had */
  listen(): void {
    this.listener.listen();
  }

  get connections(): Map<number, Connection> {
    return this.listener.connections;
  }

  /** 0 for a unix socket. */
  get tcpPort(): number {
    return this.listener.port;
  }

  /** "OK", or "NOK - " and why. */
  health(): string {
    const failure = this.space.refusal ?? this.failures.log ?? this.failures.deferred ?? this.saver.failure ?? this.failures.sync;
    return failure === undefined ? "OK" : `NOK - ${failure.message}`;
  }

  // ---- topics

  /** An existing topic, or a new one. The caller has checked the name. @throws when it cannot be made */
  topic(name: string): Topic {
    return this.catalogue.topic(name);
  }

  get topics(): Map<string, Topic> {
    return this.catalogue.topics;
  }

  /** Removes a topic with its channels and messages, and hangs up its consumers. @returns false: no such topic */
  deleteTopic(name: string): boolean {
    return this.catalogue.deleteTopic(name);
  }

  setDurability(topic: Topic, level: Durability | undefined): void {
    topic.setDurability(level);
  }

  // ---- publishing, as its callers still know it; topics/publishing.ts is what they are to use

  get refusal(): PublishError | undefined {
    return this.publishing.refusal;
  }

  set refusal(refusal: PublishError | undefined) {
    this.publishing.refusal = refusal;
  }

  publish(topic: Topic, body: Uint8Array, deferMs: number, key = ""): Promise<void> {
    return this.publishing.publish(topic, key, body, deferMs);
  }

  publishBatch(topic: Topic, bytes: Uint8Array, key = ""): Promise<void> {
    return this.publishing.publishBatch(topic, key, bytes);
  }

  repeated(topic: Topic, key: string, held: HeldPublish): HeldPublish | undefined {
    const sequence = held === topic.pendingDeferred ? undefined : topic.log.next;
    return this.keys.note(topic, key, held, sequence, this.clock.wallMs);
  }

  publishRefusal(topic: Topic): PublishError | undefined {
    return this.publishing.refusalFor(topic);
  }

  written(): Promise<void> {
    return this.publishing.untilCommitted();
  }

  publishDeferred(topic: Topic, source: Uint8Array, from: number, to: number, deferMs: number): void {
    this.publishing.defer(topic, "", source, from, to, deferMs);
  }

  scratch(bytes: number): Buffer {
    return this.scratchBuffer.reserve(bytes);
  }

  // ---- what the tick has to look at

  schedule(): void {
    if (this.tickScheduled) return;
    this.tickScheduled = true;
    setImmediate(this.runTick);
  }

  queueCommit(topic: Topic): void {
    this.dirtyTopics.push(topic);
    this.schedule();
  }

  queueSync(topic: Topic): void {
    this.unsyncedTopics.add(topic);
  }

  queueDispatch(channel: Channel): void {
    this.dirtyChannels.push(channel);
    this.schedule();
  }

  addDirtyConnection(connection: Connection): void {
    this.dirtyConnections.push(connection);
    this.schedule();
  }

  addHolding(connection: Holder): void {
    this.answers.hold(connection);
    this.schedule();
  }

  queueTrim(topic: Topic): void {
    this.releasableTopics.push(topic);
    this.wakeAt(this.clock.nowMs + RELEASE_INTERVAL_MS);
  }

  connectionReady(connection: Connection): void {
    this.wakeAt(this.clock.nowMs + connection.heartbeatIntervalMs);
  }

  // ---- the end

  /** Stops listening, hangs up, saves exactly, and gives the data path free. */
  async close(): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    this.publishing.close();
    this.upkeep.stop();
    this.log.info("NSQ: closing clients and topics");
    this.listener.stop();
    // What was read is answered first: an acknowledgement that is due still goes out.
    this.tick();
    await this.answers.untilSynced();
    this.tick();
    this.listener.closeConnections();
    this.tick();
    await this.answers.untilSynced();
    if (this.deferred.strict) await new Promise<void>((resolve) => this.sync(this.topics.values(), () => resolve()));
    this.deferred.endStrictness();
    for (const channel of this.catalogue.channelsById.values()) channel.park();
    do this.commitDeferred();
    while (this.deferred.hasWork && this.deferred.failure === undefined && this.deferred.wordsFailure === undefined);
    this.saver.saveAll(this.topics.values());
    for (const topic of this.topics.values()) this.settle(topic);
    await Promise.all([...this.topics.values()].map((topic) => topic.log.files?.close()));
    this.journal.close();
    await this.deferred.close();
    this.saver.saveSynced(this.topics.values());
    this.keys.close();
    this.store.freeOrphanedNumbers();
    this.store.forgetSyncedOfGoneTopics();
    await this.storeCopy.renew(this.clock.nowMs);
    this.store.close();
    this.log.info("NSQ: bye");
  }

  // ---- the tick

  private readonly runTick = (): void => {
    if (!this.closing) this.tick();
  };

  private tick(): void {
    this.tickScheduled = false;
    this.clock.read();
    this.space.check(this.clock.steadyMs);
    // First the deferred store: it notes which messages are about to join which log, so that none joins twice.
    this.commitDeferred();
    if (this.keys.hasWork) {
      this.keys.commit(this.clock.wallMs, this.deferred.failure);
      this.commitTopics();
      this.keys.settle(this.clock.wallMs);
    } else {
      this.commitTopics();
    }
    this.answers.settle();
    // Before the consumers have theirs: while they are served, the producers make their next messages.
    this.flushDirty();
    this.dispatch();
    this.flushDirty();
    if (this.clock.nowMs - this.releasedAtMs >= RELEASE_INTERVAL_MS) this.releaseLogs();
  }

  private flushDirty(): void {
    const connections = this.dirtyConnections;
    if (connections.length === 0) return;
    this.dirtyConnections = [];
    for (const connection of connections) this.listener.flush(connection);
  }

  private commitTopics(): void {
    if (this.dirtyTopics.length === 0) return;
    const topics = this.dirtyTopics;
    this.dirtyTopics = [];
    this.failures.log = undefined;
    if (topics.length >= JOURNALED_TOPICS && this.deferred.wordsFailure === undefined) {
      for (const topic of topics) if (topic.mayJournal) topic.log.stage(this.journal);
      this.journal.write(this.clock.wallMs, this.clock.steadyMs);
    }
    for (const topic of topics) {
      if (topic.deleted) continue;
      topic.commit(this.clock.nowMs, this.clock.wallMs);
      this.failures.log ??= topic.failure;
    }
    if (this.failures.log !== undefined) this.space.failed(this.clock.steadyMs);
    if (this.nextSyncMs === 0) this.nextSyncMs = this.clock.nowMs + this.options.syncTimeoutMs;
  }

  private commitDeferred(): void {
    if (!this.deferred.hasWork) return;
    this.deferred.commit();
    this.upkeep.lookAtDeferred();
    this.failures.deferred = this.deferred.failure ?? this.deferred.wordsFailure;
    if (this.failures.deferred !== undefined) this.space.failed(this.clock.steadyMs);
    // What was written may take the place of other entries: the word that those are done with comes next.
    else if (this.deferred.hasWork) this.schedule();
    this.expectDeferredSync();
  }

  /** What the deferred store has written is synced in its turn, or soon if something waits for that. */
  expectDeferredSync(): void {
    if (this.deferred.awaitsSyncNow) this.answers.syncSoon();
    if (this.nextSyncMs === 0) this.nextSyncMs = this.clock.nowMs + this.options.syncTimeoutMs;
  }

  /** Brings to the disk what waiting answers rest on: the topics that acknowledge nothing sooner, and deferred messages. */
  private syncPublished(done: (error: Error | undefined) => void): void {
    const topics = this.unsyncedTopics;
    this.unsyncedTopics = new Set();
    this.sync(topics, done);
  }

  private sync(topics: Iterable<Topic>, done: (error: Error | undefined) => void): void {
    let waiting = 1;
    let failure: Error | undefined;
    const ended = () => {
      this.failures.sync = failure;
      this.deferred.syncEnded(failure);
      if (this.deferred.hasWork) this.schedule();
      done(failure);
    };
    const one = (error: Error | undefined) => {
      failure ??= error;
      if (--waiting > 0) return;
      if (failure !== undefined) return ended();
      // Last the words that deferred messages stand in a log now, or in another bucket: first they must.
      this.deferred.syncWords((wordsError) => {
        failure = wordsError;
        ended();
      });
    };
    this.deferred.syncBegins();
    waiting += 2;
    this.deferred.syncEntries(one);
    this.keys.sync(one);
    const rest = [...topics];
    // Some in each turn: what a thousand topics have in the journal only takes a while to write to their files.
    const syncSome = () => {
      for (const { log, deleted } of rest.splice(0, SYNCED_PER_TURN)) {
        if (deleted) continue;
        failure ??= log.settle();
        if (log.files?.hasUnsynced !== true) continue;
        waiting++;
        log.files.sync(one);
      }
      if (rest.length > 0) setImmediate(syncSome);
      else one(undefined);
    };
    syncSome();
  }

  /** Brings a log's own files up to date. What cannot be written stays in the journal, for the next start. */
  private settle(topic: Topic): void {
    const failure = topic.log.settle();
    if (failure !== undefined)
      this.trouble.error(`TOPIC(${topic.name}): cannot write to its log: ${failure.message}; the journal keeps it`);
  }

  private spaceChanged(low: boolean): void {
    if (!this.closing) this.refusal = this.space.refusal;
    this.recycler.setTaking(!low);
    if (low) this.journal.giveBack();
  }

  private dispatch(): void {
    if (this.dirtyChannels.length === 0) return;
    const channels = this.dirtyChannels;
    this.dirtyChannels = [];
    for (const channel of channels) {
      try {
        channel.dispatch(this.clock.nowMs);
      } catch (error) {
        // A segment that cannot be opened (no file descriptor left) must not take the other channels along.
        this.log.error(`CHANNEL(${channel.name}) of ${channel.topic.name}: cannot deliver: ${(error as Error).stack}`);
        this.upkeep.tryAgain(channel);
      }
    }
  }

  /** Lets go of the chunks and segments that no channel needs any more. */
  releaseLogs(): void {
    if (this.releasableTopics.length === 0) return;
    this.releasedAtMs = this.clock.nowMs;
    const topics = this.releasableTopics;
    this.releasableTopics = [];
    for (const topic of topics) topic.releaseLog();
  }

  /** Called now and then: what nobody waits for comes to the disk too. */
  syncIfDue(nowMs: number): void {
    if (this.nextSyncMs === 0 || nowMs < this.nextSyncMs) return;
    this.nextSyncMs = 0;
    this.answers.syncWith((done) => this.sync(this.topics.values(), done));
  }

  /** Called now and then. */
  reviewSpace(): void {
    this.space.check(this.clock.steadyMs);
    // Who asks /ping before publishing would else never find out that there is room again.
    if (this.space.roomy)
      for (const kind of ["log", "deferred"] as const) if (isDiskFull(this.failures[kind])) this.failures[kind] = undefined;
  }
}

/** A mistyped path must not become a new, empty queue. */
function checkDataPath(path: string): void {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw new StartError(`--data-path ${path} does not exist; make it, or name another`);
  if (!stat.isDirectory()) throw new StartError(`--data-path ${path} is not a directory; name one`);
}
