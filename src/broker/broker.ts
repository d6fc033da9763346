import { statSync } from "node:fs";
import { join } from "node:path";
import { formatAddress, listenError, parseAddress } from "../base/address.ts";
import type { Logger } from "../base/logger.ts";
import { StartError } from "../base/start-error.ts";
import { BODY_OFFSET } from "../frame/frame.ts";
import { idPrefix } from "../frame/id.ts";
import { layMessage, type Timestamp } from "../frame/layout.ts";
import { isEphemeral } from "../frame/names.ts";
import type { Channel } from "./channel.ts";
import { Clock } from "./clock.ts";
import { Connection } from "./connection.ts";
import type { EntryHeader } from "./deferred/bucket.ts";
import { DeferredStore, KIND_PUBLISH } from "./deferred/deferred-store.ts";
import type { StoredMessage } from "./deferred/stored-message.ts";
import { HeldPublish } from "./held.ts";
import { ChunkPool } from "./log/chunk.ts";
import { LogFiles } from "./log/log-files.ts";
import { Recycler } from "./log/recycler.ts";
import { TopicLog } from "./log/topic-log.ts";
import type { BrokerOptions } from "./options.ts";
import { decodeProgress, type Progress } from "./progress.ts";
import { type ChannelRow, MEMORY_TOPIC_RESERVE, Store, type TopicRow } from "./store.ts";
import { Topic } from "./topic.ts";
import { StagePool } from "./transport/outbox.ts";

/** Everything below the data path that is ours stands in this folder. */
const DATA_FOLDER = "bunsq-data";
/** Log bytes in memory, all topics together. */
const CACHE_BYTES = 16 * 1024 * 1024;
/** Segment files kept for reuse, in segments' worth of bytes. */
const RECYCLED_SEGMENTS = 4;
/** Cursors are saved this often while they move: what was finished earlier does not come again after a crash. */
const SAVE_INTERVAL_MS = 50;
/** Heartbeats and deaths are looked at this often; idle topics and memory too, now and then. */
const SURVEY_INTERVAL_MS = 250;
/** Log chunks are let go of at most this often while messages flow. */
const RELEASE_INTERVAL_MS = 5;
/** Ids of what has no row in the store, and so dies with the process. */
const FIRST_MEMORY_ID = 2 ** 31;
/** A client that does not identify itself gets a heartbeat each half of this, as in nsqd. */
const CLIENT_TIMEOUT_MS = 60_000;

/** A publish that was refused: the broker is closing, or the disk did not take it. */
export class PublishError extends Error {
  override name = "PublishError";
}

/** Connections whose answers become durable together. */
interface HoldingGroup {
  connection: Connection;
  /** The place in its order of answers. */
  upTo: number;
}

/** What recovery finds of one channel in the deferred store. */
interface StoredSequences {
  sequences: number[];
  /** Of the entries, parallel to `sequences`. */
  numbers: number[];
}

/** Hears of topics and channels that come and go, after recovery. */
export interface TopicObserver {
  topicCreated(topic: Topic): void;
  /** Its channels were reported as deleted before. */
  topicDeleted(topic: Topic): void;
  channelCreated(channel: Channel): void;
  channelDeleted(channel: Channel): void;
}

interface PublishWaiter {
  publish: HeldPublish;
  resolve: () => void;
  reject: (error: Error) => void;
}

/**
 * The broker: owns the topics, the connections, and the tick.
 *
 * Callbacks of sockets and HTTP only decode, append and mark what is dirty. Once per turn of the event loop the
 * tick writes the dirty logs, lets the answers go that waited for it, dispatches, and flushes the connections:
 * so an OK is never sent before its message is in the file, and what comes together is written together.
 */
export class Broker {
  readonly startTimeMs = Date.now();
  readonly clientTimeoutMs = CLIENT_TIMEOUT_MS;
  readonly topics = new Map<string, Topic>();
  readonly connections = new Set<Connection>();
  readonly connectionsById = new Map<number, Connection>();
  /** Called after an option was changed at run time. */
  readonly optionsChanged: (() => void)[] = [];
  observer: TopicObserver | undefined;
  /** Regions of log files that were skipped because they are damaged. */
  corruptRegions = 0;
  closing = false;

  readonly chunks = new ChunkPool(CACHE_BYTES);
  readonly stages = new StagePool();
  readonly store: Store;
  readonly deferred: DeferredStore;
  readonly heldDeferred: HeldPublish;

  private readonly clock = new Clock();
  private readonly directory: string;
  private readonly recycler: Recycler;
  private readonly topicsById = new Map<number, Topic>();
  private readonly channelsById = new Map<number, Channel>();
  /** Entries of the deferred store that a later one of the same message takes the place of. */
  private readonly superseded = new Set<number>();
  private nextMemoryId = FIRST_MEMORY_ID;
  private nextConnectionId = 1;
  private listener: Bun.TCPSocketListener<Connection> | undefined;
  private scratchBuffer: Buffer = Buffer.allocUnsafeSlow(64 * 1024);

  private tickScheduled = false;
  private dirtyTopics: Topic[] = [];
  private dirtyChannels: Channel[] = [];
  private dirtyConnections: Connection[] = [];
  private unsavedChannels: Channel[] = [];
  private releasableTopics: Topic[] = [];
  private releasedAtMs = 0;
  /** Channels whose dispatch failed; tried again in a moment. */
  private readonly stalledChannels = new Set<Channel>();
  /** Connections with answers that no commit has covered yet. */
  private holding: Connection[] = [];
  private publishWaiters: PublishWaiter[] = [];
  /** With --durability=fsync: committed, waiting for the disk. */
  private syncing = false;
  private waitingForSync: HoldingGroup[] = [];
  private waitersForSync: PublishWaiter[] = [];

  private wakeTimer: ReturnType<typeof setTimeout> | undefined;
  private wakeAtMs = Number.POSITIVE_INFINITY;
  private nextSaveMs = 0;
  private nextSurveyMs = 0;
  private nextSyncMs = 0;
  private deferredWakeMs = 0;
  /** Why the last write of each kind failed; undefined where all is well. */
  private readonly failures: Record<"log" | "deferred" | "store" | "sync", Error | undefined> = {
    log: undefined,
    deferred: undefined,
    store: undefined,
    sync: undefined,
  };

  /**
   * Opens a data path and takes up what an earlier run left there.
   *
   * @throws StartError when the path is in use, cannot be written, or was written by a newer version
   */
  static open(options: BrokerOptions, log: Logger): Broker {
    return new Broker(options, log);
  }

  private constructor(
    readonly options: BrokerOptions,
    readonly log: Logger,
  ) {
    this.directory = join(options.dataPath === "" ? process.cwd() : options.dataPath, DATA_FOLDER);
    checkDataPath(options.dataPath === "" ? process.cwd() : options.dataPath);
    this.store = new Store(this.directory);
    try {
      this.recycler = new Recycler(join(this.directory, "recycled"), RECYCLED_SEGMENTS * options.maxBytesPerFile);
      this.deferred = new DeferredStore(join(this.directory, "deferred"), log);
      this.heldDeferred = new HeldPublish(this.deferred, "DPUB");
      this.deferred.targets = { wanted: (entry) => this.wanted(entry), due: (message) => this.due(message) };
      this.recover();
    } catch (error) {
      this.store.close();
      throw error instanceof StartError ? error : new StartError(`cannot read ${this.directory}: ${(error as Error).message}`);
    }
    this.wakeAt(Date.now() + SURVEY_INTERVAL_MS);
  }

  // ---- time

  /** Wall-clock time of this turn, ms. */
  get nowMs(): number {
    return this.clock.nowMs;
  }

  /** The same for message timestamps, ns. */
  get time(): Timestamp {
    return this.clock.time;
  }

  /** Asks to be woken at a time: for deadlines, due messages, heartbeats. One timer serves them all. */
  wakeAt(atMs: number): void {
    if (atMs >= this.wakeAtMs || this.closing) return;
    this.wakeAtMs = atMs;
    clearTimeout(this.wakeTimer);
    this.wakeTimer = setTimeout(() => this.wake(), Math.max(1, Math.min(atMs - Date.now(), SURVEY_INTERVAL_MS)));
  }

  // ---- listening

  /** @throws StartError when the address cannot be had */
  listen(): void {
    const address = parseAddress(this.options.tcpAddress);
    const { hostname, port } = address;
    try {
      this.listener = Bun.listen<Connection>({
        hostname,
        port,
        allowHalfOpen: true,
        socket: {
          open: (socket) => this.accept(socket),
          data: (socket, data) => this.receive(socket.data, data),
          drain: (socket) => socket.data.drained(),
          end: (socket) => socket.data.inputEnded(),
          close: (socket) => this.closed(socket.data),
          error: (socket, error) => this.log.error(`client(${socket.data?.remoteAddress}) - ${error.message}`),
        },
      });
    } catch (error) {
      throw listenError("tcp-address", address, error);
    }
    this.log.info(`TCP: listening on ${formatAddress(hostname, this.listener.port)}`);
  }

  get tcpPort(): number {
    return this.listener?.port ?? 0;
  }

  /** "OK", or "NOK - " and why. */
  health(): string {
    const failure = this.failures.log ?? this.failures.deferred ?? this.failures.store ?? this.failures.sync;
    return failure === undefined ? "OK" : `NOK - ${failure.message}`;
  }

  // ---- topics

  /** An existing topic, or a new one. The caller has checked the name. @throws when it cannot be made */
  topic(name: string): Topic {
    return this.topics.get(name) ?? this.createTopic(name);
  }

  /** Removes a topic with its channels and messages, and hangs up its consumers. @returns false: no such topic */
  deleteTopic(name: string): boolean {
    const topic = this.topics.get(name);
    if (topic === undefined) return false;
    this.log.info(`TOPIC(${name}): deleting`);
    this.topics.delete(name);
    this.topicsById.delete(topic.id);
    topic.deleted = true;
    for (const channel of topic.channels.values()) {
      this.channelDeleted(channel);
      channel.delete();
    }
    topic.channels.clear();
    this.observer?.topicDeleted(topic);
    if (topic.ephemeral) this.store.freeNumber(topic.number, topic.log.next);
    else this.store.removeTopic(topic.id, topic.number, topic.log.next);
    topic.log.dispose();
    topic.log.files?.remove();
    return true;
  }

  channelCreated(channel: Channel): void {
    this.channelsById.set(channel.id, channel);
    this.observer?.channelCreated(channel);
  }

  channelDeleted(channel: Channel): void {
    this.channelsById.delete(channel.id);
    this.observer?.channelDeleted(channel);
  }

  newMemoryId(): number {
    return this.nextMemoryId++;
  }

  // ---- publishing

  /**
   * Publishes one message for a caller that is no connection.
   *
   * @param deferMs 0: at once
   * @returns resolves once the message is as durable as the options ask; rejects with a PublishError
   */
  publish(topic: Topic, body: Uint8Array, deferMs: number): Promise<void> {
    const refusal = this.publishRefusal(topic);
    if (refusal !== undefined) return Promise.reject(refusal);
    this.clock.read();
    if (deferMs > 0) {
      this.publishDeferred(topic, body, 0, body.length, deferMs);
      return this.whenCommitted(this.heldDeferred);
    }
    topic.publish(body, 0, body.length, this.clock.time);
    return this.whenCommitted(topic.heldPub);
  }

  /**
   * Publishes several messages, all or none.
   *
   * @param bytes an MPUB body whose lengths were checked (frame/mpub.ts), without bytes behind it
   */
  publishBatch(topic: Topic, bytes: Uint8Array): Promise<void> {
    const refusal = this.publishRefusal(topic);
    if (refusal !== undefined) return Promise.reject(refusal);
    this.clock.read();
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const count = buffer.readInt32BE(0);
    if (count === 0) return Promise.resolve();
    topic.publishMany(buffer, 4, buffer.length, count, this.clock.time);
    return this.whenCommitted(topic.heldMpub);
  }

  /** Stages a message that joins its topic `deferMs` from now. Its frame is laid out at once, so its timestamp is that of the publish. */
  publishDeferred(topic: Topic, source: Uint8Array, from: number, to: number, deferMs: number): void {
    const length = BODY_OFFSET + to - from;
    const frame = this.scratch(length);
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    layMessage(frame, view, 0, source, from, to - from, topic.log.prefix, 0, this.clock.time);
    topic.publishDeferred(frame, 0, length, this.clock.nowMs + deferMs);
  }

  /** A buffer of at least `bytes` that is valid until the next call. */
  scratch(bytes: number): Buffer {
    if (this.scratchBuffer.length < bytes) this.scratchBuffer = Buffer.allocUnsafeSlow(Math.max(bytes, 2 * this.scratchBuffer.length));
    return this.scratchBuffer;
  }

  // ---- what the tick has to look at

  schedule(): void {
    if (this.tickScheduled) return;
    this.tickScheduled = true;
    setImmediate(this.runTick);
  }

  addDirtyTopic(topic: Topic): void {
    this.dirtyTopics.push(topic);
    this.schedule();
  }

  addDirtyChannel(channel: Channel): void {
    channel.dirty = true;
    this.dirtyChannels.push(channel);
    this.schedule();
  }

  addDirtyConnection(connection: Connection): void {
    this.dirtyConnections.push(connection);
    this.schedule();
  }

  addHolding(connection: Connection): void {
    this.holding.push(connection);
    this.schedule();
  }

  addReleasableTopic(topic: Topic): void {
    this.releasableTopics.push(topic);
    this.wakeAt(this.clock.nowMs + RELEASE_INTERVAL_MS);
  }

  addUnsavedChannel(channel: Channel): void {
    channel.unsaved = true;
    this.unsavedChannels.push(channel);
    this.wakeAt(Math.max(this.nextSaveMs, this.clock.nowMs + SAVE_INTERVAL_MS));
  }

  connectionReady(connection: Connection): void {
    this.wakeAt(this.clock.nowMs + connection.heartbeatIntervalMs);
  }

  // ---- saving

  saveTopic(topic: Topic): void {
    if (!topic.ephemeral) this.save(() => this.store.updateTopic(topicRow(topic)));
  }

  saveChannel(channel: Channel): void {
    if (channel.persistent) this.save(() => this.store.updateChannel(channel.toRow()));
  }

  // ---- the end

  /** Stops listening, hangs up, saves exactly, and gives the data path free. */
  async close(): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    clearTimeout(this.wakeTimer);
    this.log.info("NSQ: closing clients and topics");
    this.listener?.stop();
    // What was read is answered first: an acknowledgement that is due still goes out.
    this.tick();
    await this.untilSynced();
    for (const connection of [...this.connections]) {
      connection.flush();
      connection.leave();
      this.closed(connection);
    }
    this.tick();
    for (const channel of this.channelsById.values()) channel.park();
    do this.commitDeferred();
    while (this.deferred.hasWork && this.deferred.failure === undefined);
    this.saveAll();
    await Promise.all([...this.topics.values()].map((topic) => topic.log.files?.close()));
    await this.deferred.close();
    this.store.freeOrphanedNumbers();
    this.store.close();
    this.log.info("NSQ: bye");
  }

  // ---- connections

  private accept(socket: Bun.Socket<Connection>): void {
    const connection = new Connection(this, this.nextConnectionId++, socket, formatAddress(socket.remoteAddress, socket.remotePort));
    socket.data = connection;
    this.connections.add(connection);
    this.connectionsById.set(connection.id, connection);
    this.log.info(`TCP: new client(${connection.remoteAddress})`);
  }

  private receive(connection: Connection, data: Buffer): void {
    this.clock.read();
    try {
      connection.receive(data);
    } catch (error) {
      // A defect of ours must not become everybody's: this client goes, with the stack in the log.
      this.log.error(`client(${connection.remoteAddress}) - ${(error as Error).stack}`);
      connection.terminate();
    }
  }

  private closed(connection: Connection): void {
    if (connection.closed) return;
    this.log.info(`PROTOCOL(V2): [${connection.remoteAddress}] exiting ioloop`);
    connection.socketClosed();
    this.connections.delete(connection);
    this.connectionsById.delete(connection.id);
  }

  // ---- the tick

  private readonly runTick = (): void => {
    if (!this.closing) this.tick();
  };

  private tick(): void {
    this.tickScheduled = false;
    this.clock.read();
    // First the deferred store: it notes which messages are about to join which log, so that none joins twice.
    this.commitDeferred();
    this.commitTopics();
    this.settleHolding();
    this.dispatch();
    const connections = this.dirtyConnections;
    this.dirtyConnections = [];
    for (const connection of connections) connection.flush();
    if (this.releasableTopics.length > 0 && this.clock.nowMs - this.releasedAtMs >= RELEASE_INTERVAL_MS) this.releaseLogs();
  }

  private commitTopics(): void {
    if (this.dirtyTopics.length === 0) return;
    const topics = this.dirtyTopics;
    this.dirtyTopics = [];
    this.failures.log = undefined;
    for (const topic of topics) {
      if (topic.deleted) continue;
      topic.commit(this.clock.nowMs);
      this.failures.log ??= topic.failure;
    }
    if (this.nextSyncMs === 0) this.nextSyncMs = this.clock.nowMs + this.options.syncTimeoutMs;
  }

  private commitDeferred(): void {
    if (!this.deferred.hasWork) return;
    this.deferred.commit();
    this.failures.deferred = this.deferred.failure;
    // What was written may take the place of other entries: the word that those are done with comes next.
    if (this.deferred.failure === undefined && this.deferred.hasWork) this.schedule();
    if (this.nextSyncMs === 0) this.nextSyncMs = this.clock.nowMs + this.options.syncTimeoutMs;
  }

  private settleHolding(): void {
    if (this.holding.length === 0 && this.publishWaiters.length === 0) return;
    const { holding, publishWaiters } = this;
    this.holding = [];
    this.publishWaiters = [];
    for (const connection of holding) connection.settleHeld();
    const committed: PublishWaiter[] = [];
    for (const waiter of publishWaiters) {
      const { failure } = waiter.publish.target;
      if (failure === undefined) committed.push(waiter);
      else waiter.reject(new PublishError(failure.message));
    }
    if (this.options.durability === "fsync") {
      for (const connection of holding) this.waitingForSync.push({ connection, upTo: connection.committedUpTo });
      this.waitersForSync.push(...committed);
      this.syncGroup();
      return;
    }
    for (const connection of holding) if (!connection.closed) connection.releaseHeld(connection.committedUpTo);
    for (const waiter of committed) waiter.resolve();
  }

  /** Group commit: what was committed while the disk was busy with one sync is covered by the next. */
  private syncGroup(evenIfNobodyWaits = false): void {
    if (this.syncing || (!evenIfNobodyWaits && this.waitingForSync.length === 0 && this.waitersForSync.length === 0)) return;
    this.syncing = true;
    const groups = this.waitingForSync;
    const waiters = this.waitersForSync;
    this.waitingForSync = [];
    this.waitersForSync = [];
    this.syncAll((error) => {
      this.syncing = false;
      this.failures.sync = error;
      if (error !== undefined) {
        this.log.error(`cannot sync to the disk: ${error.message}; the publishes that waited for it are refused`);
      }
      for (const { connection, upTo } of groups) {
        if (connection.closed) continue;
        if (error !== undefined) connection.failHeld(error);
        else connection.releaseHeld(upTo);
      }
      for (const waiter of waiters) {
        if (error === undefined) waiter.resolve();
        else waiter.reject(new PublishError(error.message));
      }
      this.schedule();
      this.syncGroup();
    });
  }

  private syncAll(done: (error: Error | undefined) => void): void {
    let waiting = 1;
    let failure: Error | undefined;
    const one = (error: Error | undefined) => {
      failure ??= error;
      if (--waiting === 0) done(failure);
    };
    for (const topic of this.topics.values()) {
      if (topic.log.files?.hasUnsynced !== true) continue;
      waiting++;
      topic.log.files.sync(one);
    }
    waiting++;
    this.deferred.sync(one);
    one(undefined);
  }

  private async untilSynced(): Promise<void> {
    while (this.syncing) await new Promise((resolve) => setTimeout(resolve, 1));
    this.tick();
  }

  private dispatch(): void {
    if (this.dirtyChannels.length === 0) return;
    const channels = this.dirtyChannels;
    this.dirtyChannels = [];
    for (const channel of channels) {
      channel.dirty = false;
      try {
        channel.dispatch(this.clock.nowMs);
      } catch (error) {
        // A segment that cannot be opened (no file descriptor left) must not take the other channels along.
        this.log.error(`CHANNEL(${channel.name}) of ${channel.topic.name}: cannot deliver: ${(error as Error).stack}`);
        this.stalledChannels.add(channel);
      }
    }
  }

  private releaseLogs(): void {
    this.releasedAtMs = this.clock.nowMs;
    const topics = this.releasableTopics;
    this.releasableTopics = [];
    for (const topic of topics) topic.releaseLog();
  }

  // ---- the clock's work

  private wake(): void {
    this.wakeTimer = undefined;
    this.wakeAtMs = Number.POSITIVE_INFINITY;
    if (this.closing) return;
    this.clock.read();
    const now = this.clock.nowMs;
    let next = now + SURVEY_INTERVAL_MS;
    for (const channel of this.channelsById.values()) {
      if (channel.nextDeadline <= now) channel.expire(now);
      if (channel.nextDeadline < next) next = channel.nextDeadline;
    }
    if (now >= this.deferredWakeMs || this.deferred.nextDueMs <= now) this.deferredWakeMs = this.deferred.process(now);
    next = Math.min(next, this.deferredWakeMs, this.deferred.nextDueMs);
    if (this.deferred.hasWork) this.schedule();
    if (this.releasableTopics.length > 0) this.releaseLogs();
    if (this.unsavedChannels.length > 0) {
      if (now >= this.nextSaveMs) this.saveUnsaved(now);
      if (this.unsavedChannels.length > 0) next = Math.min(next, this.nextSaveMs);
    }
    if (now >= this.nextSurveyMs) this.survey(now);
    if (this.nextSyncMs !== 0 && now >= this.nextSyncMs) {
      this.nextSyncMs = 0;
      if (this.options.durability === "fsync") {
        this.syncGroup(true);
      } else {
        this.syncAll((error) => {
          this.failures.sync = error;
        });
      }
    }
    this.wakeAt(Math.max(next, now + 1));
  }

  private survey(nowMs: number): void {
    this.nextSurveyMs = nowMs + SURVEY_INTERVAL_MS;
    for (const connection of this.connections) connection.checkTime(nowMs);
    for (const topic of this.topics.values()) topic.shrinkIfIdle(nowMs);
    for (const channel of this.stalledChannels) channel.markDirty();
    this.stalledChannels.clear();
  }

  private saveUnsaved(nowMs: number): void {
    const channels = this.unsavedChannels;
    this.unsavedChannels = [];
    const began = performance.now();
    this.save(() =>
      this.store.saveAll(() => {
        for (const channel of channels) {
          channel.unsaved = false;
          if (!channel.deleted) this.store.updateChannel(channel.toRow());
        }
      }),
    );
    // With thousands of moving cursors saving must not take more than a fifth of the time.
    this.nextSaveMs = nowMs + Math.max(SAVE_INTERVAL_MS, 5 * (performance.now() - began));
  }

  private saveAll(): void {
    this.save(() =>
      this.store.saveAll(() => {
        for (const topic of this.topics.values()) if (!topic.ephemeral) this.store.updateTopic(topicRow(topic));
        for (const channel of this.channelsById.values()) if (channel.persistent) this.store.updateChannel(channel.toRow());
      }),
    );
  }

  /** A store that cannot be written (a full disk) makes the broker unhealthy; the cursors stay in memory and are saved later. */
  private save(work: () => void): void {
    try {
      work();
      this.failures.store = undefined;
    } catch (error) {
      this.failures.store = error as Error;
      this.log.error(`cannot save to ${this.directory}: ${(error as Error).message}`);
    }
  }

  // ---- publishing, inside

  private publishRefusal(topic: Topic): PublishError | undefined {
    return this.closing || topic.deleted ? new PublishError("exiting") : undefined;
  }

  private whenCommitted(publish: HeldPublish): Promise<void> {
    this.schedule();
    return new Promise((resolve, reject) => this.publishWaiters.push({ publish, resolve, reject }));
  }

  // ---- deferred messages

  private wanted(entry: EntryHeader): boolean {
    if (entry.kind === KIND_PUBLISH) return this.topicsById.has(entry.topicId);
    const channel = this.channelsById.get(entry.channelId);
    return channel !== undefined && entry.number >= channel.voidBefore && !this.superseded.has(entry.number);
  }

  private due(message: StoredMessage): void {
    if (!this.wanted(message)) this.deferred.finish(message);
    else if (message.kind === KIND_PUBLISH) this.topicsById.get(message.topicId)?.join(message);
    else this.channelsById.get(message.channelId)?.due(message);
    this.schedule();
  }

  // ---- making and restoring topics

  private createTopic(name: string): Topic {
    if (this.closing) throw new PublishError("exiting");
    const ephemeral = isEphemeral(name);
    const taken = this.store.takeNumber(ephemeral ? MEMORY_TOPIC_RESERVE : 0);
    if (taken === undefined) throw new PublishError("too many topics");
    const { number, nextSequence } = taken;
    const id = ephemeral ? this.newMemoryId() : this.store.addTopic(number, name, nextSequence);
    try {
      const topic = this.addTopic(id, number, name, nextSequence);
      this.log.info(`TOPIC(${name}): created`);
      this.observer?.topicCreated(topic);
      return topic;
    } catch (error) {
      if (ephemeral) this.store.freeNumber(number, nextSequence);
      else this.store.removeTopic(id, number, nextSequence);
      throw error;
    }
  }

  private addTopic(id: number, number: number, name: string, firstSequence: number): Topic {
    const files = isEphemeral(name) ? undefined : this.openFiles(number, name, firstSequence);
    const log = new TopicLog(this.chunks, idPrefix(this.options.nodeId, number), files, firstSequence);
    const topic = new Topic(this, id, number, name, log);
    this.topics.set(name, topic);
    this.topicsById.set(id, topic);
    return topic;
  }

  private openFiles(number: number, name: string, firstSequence: number): LogFiles {
    const { maxBytesPerFile, syncEvery } = this.options;
    return new LogFiles(
      {
        // The number in front keeps names such as "." and ".." harmless.
        directory: join(this.directory, "topics", `${number.toString().padStart(5, "0")}-${name}`),
        topicNumber: number,
        topicName: name,
        maxBytesPerFile,
        // With --durability=fsync the groups are synced anyway.
        syncEvery: this.options.durability === "fsync" ? Number.POSITIVE_INFINITY : syncEvery,
        recycler: this.recycler,
        log: this.log,
        onCorrupt: () => this.corruptRegions++,
      },
      firstSequence,
    );
  }

  private recover(): void {
    this.store.freeOrphanedNumbers();
    for (const row of this.store.topics()) this.restoreTopic(row);
    const stored = new Map<Channel, StoredSequences>();
    this.deferred.recover(
      (entry, sequence) => sequence < (this.topicsById.get(entry.topicId)?.log.next ?? 0),
      (entry) => this.countStored(entry, stored),
    );
    for (const [channel, { sequences, numbers }] of stored) {
      const order = [...sequences.keys()].sort((a, b) => sequences[a] - sequences[b] || numbers[a] - numbers[b]);
      for (let i = 0; i < order.length; i++) {
        const sequence = sequences[order[i]];
        // A requeue that was written, but not yet the word that it takes the place of the entry before: the last counts.
        if (i + 1 < order.length && sequences[order[i + 1]] === sequence) this.superseded.add(numbers[order[i]]);
        else channel.restoreStored();
        // A message that stands in the deferred store must not come from the log as well: what the cursor's last save
        // before a crash did not know, the entries tell.
        if (sequence >= channel.floor) channel.skip(sequence, sequence + 1);
      }
    }
    if (this.topics.size > 0)
      this.log.info(`NSQ: ${this.topics.size} topics and ${this.channelsById.size} channels restored from ${this.directory}`);
  }

  private countStored(entry: EntryHeader, stored: Map<Channel, StoredSequences>): void {
    if (!this.wanted(entry)) return;
    if (entry.kind === KIND_PUBLISH) {
      const topic = this.topicsById.get(entry.topicId) as Topic;
      topic.restoreDeferred();
      for (const channel of topic.channels.values()) if (entry.number < channel.voidBefore) channel.restoreVoided();
      return;
    }
    const channel = this.channelsById.get(entry.channelId) as Channel;
    const found = stored.get(channel) ?? { sequences: [], numbers: [] };
    found.sequences.push(entry.sequence);
    found.numbers.push(entry.number);
    stored.set(channel, found);
  }

  private restoreTopic(row: TopicRow): void {
    const topic = this.addTopic(row.id, row.number, row.name, row.released);
    topic.paused = row.paused;
    const channels = this.store.channels(row.id);
    topic.restoreReleased(row.released, channels.length > 0);
    for (const channel of channels) this.restoreChannel(topic, channel);
  }

  private restoreChannel(topic: Topic, row: ChannelRow): void {
    const { log } = topic;
    let floor = row.floor;
    let progress: Progress = { finished: [], tried: [] };
    try {
      progress = decodeProgress(row.progress, row.floor);
    } catch (error) {
      this.log.error(
        `CHANNEL(${row.name}) of ${topic.name}: its progress is damaged (${(error as Error).message}); finished messages may come again`,
      );
    }
    if (floor < log.startSequence) floor = log.startSequence;
    if (floor > log.next) {
      this.log.error(`CHANNEL(${row.name}) of ${topic.name}: its cursor ${floor} is beyond the log's end ${log.next}; it starts there`);
      floor = log.next;
    }
    this.deferred.numberFrom(row.voidBefore);
    const channel = topic.restoreChannel(row.id, row.name, floor);
    const finished = progress.finished.map(({ from, to }) => ({ from: Math.max(from, floor), to: Math.min(to, log.next) }));
    const tried = progress.tried.map(({ from, to, attempts }) => ({ from: Math.max(from, floor), to: Math.min(to, log.next), attempts }));
    channel.restore(
      { finished: finished.filter(({ from, to }) => from < to), tried: tried.filter(({ from, to }) => from < to) },
      row.paused,
      row.voidBefore,
    );
  }
}

function topicRow(topic: Topic): TopicRow {
  return { id: topic.id, number: topic.number, name: topic.name, paused: topic.paused, released: topic.released };
}

/** A mistyped path must not become a new, empty queue. */
function checkDataPath(path: string): void {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw new StartError(`--data-path ${path} does not exist; make it, or name another`);
  if (!stat.isDirectory()) throw new StartError(`--data-path ${path} is not a directory; name one`);
}
