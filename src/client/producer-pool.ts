import type { Clock, Timer } from "../base/clock.ts";
import { Batch, type Publication } from "./batch.ts";
import type { ConnectionSettings } from "./connection-options.ts";
import { asError, PublishError } from "./errors.ts";
import type { ProducerEvent } from "./events.ts";
import type { PartitionLeaders } from "./partition-leaders.ts";
import { type BatchSettings, ProducerBroker, type ProducerBrokerOwner } from "./producer-broker.ts";
import { Chooser, type Strategy } from "./strategy.ts";

/** How a pool works. */
export interface PoolSettings {
  readonly connection: ConnectionSettings;
  readonly batches: BatchSettings;
  readonly strategy: Strategy;
  readonly lingerMs: number;
  readonly timeoutMs: number;
  readonly failOverMs: number;
  readonly sameBrokerMs: number;
  readonly retry: "safe" | "always" | "never";
  readonly maxMessages: number;
  readonly maxBytes: number;
  /** Makes idempotency keys; undefined for none. */
  readonly newKey: () => string | undefined;
  readonly emit: (event: ProducerEvent) => void;
  /** A broker was lost. */
  readonly onLost: () => void;
  /** Where the partitions of topics are. */
  readonly leaders: PartitionLeaders;
}

const EXPIRY_MS = 1_000;
/** A broker that leaves a publish unanswered for this much longer than the publisher waits does not answer at all. */
const MAX_PATIENCE_MS = 5_000;
/** A batch that was on this many connections when they broke is what breaks them. */
const MAX_LOSSES = 10;
/** What brokers of a cluster refuse is tried again after this time, ms. */
const CLUSTER_RETRY_MS = 100;

/** The brokers of a producer, and the messages that are not acknowledged: says which broker gets which message, also when brokers go. */
export class ProducerPool implements ProducerBrokerOwner {
  readonly batches: BatchSettings;
  /** Messages that a broker has been chosen for. */
  pendingMessages = 0;
  private pendingBytes = 0;
  /** Messages that wait for a broker or for room. */
  private unplaced: Batch[] = [];
  /** Those of them for whose keys there is no broker now. They are tried again when the brokers change. */
  private blocked: Batch[] = [];
  private unplacedMessages = 0;
  private readonly clock: Clock;
  private readonly chooser: Chooser<ProducerBroker>;
  private readonly brokers = new Map<string, ProducerBroker>();
  /** Brokers that get messages without a key: those that are connected. */
  private candidates: ProducerBroker[] = [];
  /** Brokers that get messages with a key: also those that will soon be connected again. */
  private keyCandidates: ProducerBroker[] = [];
  /** The brokers that there should be; undefined until it is known. */
  private wanted: ReadonlySet<string> | undefined;
  /** Brokers whose first attempt to connect has not ended. */
  private untried = 0;
  /** Messages are placed. Before, one broker would get all that should be shared. */
  private hasBegun = false;
  private isFlushPlanned = false;
  private isPlacing = false;
  /** The brokers have changed while messages were placed. */
  private mustUnblock = false;
  private expiryTimer: Timer | undefined;
  /** Tries again what brokers of a cluster have refused. */
  private retryTimer: Timer | undefined;
  private readonly graceTimers = new Set<Timer>();
  private readonly listeners = new Set<() => void>();
  private isOver = false;

  constructor(private readonly settings: PoolSettings) {
    this.batches = settings.batches;
    this.clock = settings.connection.clock;
    this.chooser = new Chooser(settings.strategy);
  }

  get hasRoom(): boolean {
    return this.pendingMessages < this.settings.maxMessages && this.pendingBytes < this.settings.maxBytes;
  }

  /** Whether as many messages wait as may. */
  get isFull(): boolean {
    return !this.hasRoom || this.pendingMessages + this.unplacedMessages >= this.settings.maxMessages;
  }

  get count(): number {
    return this.pendingMessages + this.unplacedMessages;
  }

  get connected(): string[] {
    return [...this.brokers.values()].filter(({ isUp }) => isUp).map(({ broker }) => broker);
  }

  /** One broker is there, and those that were known first have all been tried. */
  get isReady(): boolean {
    return this.hasBegun && this.candidates.length > 0;
  }

  /** Calls back whenever something has changed for those who wait. @returns what ends it */
  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  // ---- messages

  /** Adds a message that may share a command with others of its topic. */
  add(topic: string, publication: Publication): void {
    if (this.hasBegun && this.unplaced.length === 0 && this.hasRoom) {
      const broker = this.brokerFor(topic, publication.key, undefined);
      if (broker !== undefined) {
        this.place(broker, topic, publication);
        return this.planExpiry();
      }
    }
    const batch = new Batch(topic, undefined, false, undefined);
    batch.add(publication);
    this.addBatch(batch);
  }

  /** Adds a batch, which waits for its turn. */
  addBatch(batch: Batch): void {
    this.unplaced.push(batch);
    this.unplacedMessages += batch.count;
    this.placeWaiting();
    this.planExpiry();
  }

  flush(): void {
    for (const broker of this.brokers.values()) broker.flush();
  }

  /** The broker that is to get a message. @returns undefined: there is none now, and the message waits */
  private brokerFor(topic: string, key: string | undefined, partition: number | undefined): ProducerBroker | undefined {
    const { candidates, keyCandidates, chooser } = this;
    if (key === undefined && partition === undefined) return candidates.length === 0 ? undefined : chooser.choose(candidates, undefined);
    const spread = this.settings.leaders.of(topic);
    if (spread === undefined || keyCandidates.length === 0) return undefined;
    if (spread === false) return chooser.choose(keyCandidates, key);
    const leader = partition === undefined ? spread.leaderOfKey(key ?? "") : spread.leaders[partition];
    const broker = keyCandidates.find((one) => one.broker === leader);
    // Another broker may have the partition by now.
    if (broker === undefined) this.settings.leaders.refresh(topic);
    return broker;
  }

  private place(broker: ProducerBroker, topic: string, publication: Publication): void {
    this.pendingMessages++;
    this.pendingBytes += publication.bytes;
    if (broker.add(topic, publication)) broker.send();
    else this.planFlush();
  }

  /** Gives what waits to brokers, as far as there is room. */
  private placeWaiting(): void {
    // What is placed may be sent at once, and that may make room. The loop of the first call uses it.
    if (this.isPlacing || !this.hasBegun || this.isOver) return;
    this.isPlacing = true;
    let placed = 0;
    while (placed < this.unplaced.length && this.hasRoom) {
      const batch = this.unplaced[placed++] as Batch;
      this.unplacedMessages -= batch.count;
      if (batch.isWhole || batch.attempts > 0) for (const part of this.partsOf(batch)) this.placeBatch(part);
      else for (const publication of batch.publications) if (!publication.isCancelled) this.placeSingle(batch.topic, publication);
    }
    if (placed > 0) this.unplaced.splice(0, placed);
    this.isPlacing = false;
    if (!this.mustUnblock) return;
    this.mustUnblock = false;
    this.unblock();
    this.placeWaiting();
  }

  /** What belongs to one broker each: a batch that may have been published stays whole, so that it can be recognized. */
  private partsOf(batch: Batch): Batch[] {
    return batch.sentTo === undefined && batch.hasSeveralKeys ? batch.singles(this.settings.newKey) : [batch];
  }

  private placeBatch(batch: Batch): void {
    const broker = this.brokerFor(batch.topic, batch.key, batch.partition);
    if (broker === undefined) return this.block(batch);
    this.pendingMessages += batch.count;
    this.pendingBytes += batch.bytes;
    broker.addBatch(batch);
    this.planFlush();
  }

  private placeSingle(topic: string, publication: Publication): void {
    const broker = this.brokerFor(topic, publication.key, undefined);
    if (broker !== undefined) return this.place(broker, topic, publication);
    const single = new Batch(topic, undefined, false, undefined);
    single.add(publication);
    this.block(single);
  }

  private block(batch: Batch): void {
    this.unplacedMessages += batch.count;
    this.blocked.push(batch);
  }

  /** What had no broker may have one now. */
  private unblock(): void {
    if (this.isPlacing) this.mustUnblock = true;
    if (this.isPlacing || this.blocked.length === 0) return;
    this.unplaced = [...this.blocked, ...this.unplaced];
    this.blocked = [];
  }

  /** What is known of the partitions has changed. */
  onLeaders(): void {
    this.unblock();
    this.placeWaiting();
    this.notify();
  }

  private planFlush(): void {
    if (this.isFlushPlanned) return;
    this.isFlushPlanned = true;
    const flush = () => {
      this.isFlushPlanned = false;
      this.flush();
    };
    if (this.settings.lingerMs > 0) this.clock.callAfter(this.settings.lingerMs, flush);
    else this.clock.callAfterTurn(flush);
  }

  private planExpiry(): void {
    if (this.expiryTimer !== undefined || this.isOver) return;
    this.expiryTimer = this.clock.callAfter(Math.min(EXPIRY_MS, this.settings.timeoutMs / 4), () => {
      this.expiryTimer = undefined;
      this.expire(this.clock.steadyMs());
      if (this.count > 0) this.planExpiry();
    });
  }

  private expire(nowMs: number): void {
    for (const broker of this.brokers.values()) broker.expire(nowMs, Math.min(this.settings.timeoutMs, MAX_PATIENCE_MS));
    const isLate = (batch: Batch) => batch.deadlineMs <= nowMs || batch.isUnwanted;
    const late = [...this.blocked, ...this.unplaced].filter(isLate);
    if (late.length === 0) return;
    this.blocked = this.blocked.filter((batch) => !isLate(batch));
    this.unplaced = this.unplaced.filter((batch) => !isLate(batch));
    for (const batch of late) {
      this.unplacedMessages -= batch.count;
      const text = this.isReady ? "no broker acknowledged the message in time" : "no broker was reached in time";
      batch.settle(
        new PublishError(this.isReady ? "TIMEOUT" : "NO_BROKER", text, batch.topic, batch.sentTo !== undefined),
        undefined,
        this.onThrown,
      );
    }
    this.notify();
  }

  // ---- brokers

  /** @param wanted all brokers that are known now */
  setBrokers(wanted: ReadonlySet<string>): void {
    this.wanted = wanted;
    for (const address of wanted) {
      if (this.brokers.has(address)) continue;
      const broker = new ProducerBroker(address, this.settings.connection, this);
      this.brokers.set(address, broker);
      this.untried++;
      this.emit({ type: "broker-found", broker: address });
      broker.link.start();
    }
    for (const broker of this.brokers.values()) this.forgetGone(broker);
    this.changed();
  }

  /** Forgets a broker that is neither wanted nor connected. */
  private forgetGone(broker: ProducerBroker): void {
    if (this.wanted?.has(broker.broker) !== false || broker.isUp || !this.brokers.delete(broker.broker)) return;
    broker.link.stop();
    broker.endFirstAttempt();
    this.emit({ type: "broker-forgotten", broker: broker.broker });
    this.findCandidates();
    this.moveOn(broker, true);
  }

  /** Ends all connections. What is not acknowledged is rejected. */
  end(makeError: (batch: Batch) => Error): void {
    this.isOver = true;
    for (const timer of this.graceTimers) this.clock.cancel(timer);
    for (const timer of [this.expiryTimer, this.retryTimer]) if (timer !== undefined) this.clock.cancel(timer);
    for (const broker of this.brokers.values()) {
      broker.link.stop();
      broker.rejectAll(makeError);
      broker.link.connection?.end();
    }
    this.unblock();
    for (const batch of this.unplaced.splice(0)) batch.settle(makeError(batch), undefined, this.onThrown);
    this.unplacedMessages = 0;
    this.notify();
  }

  private findCandidates(): void {
    const nowMs = this.clock.steadyMs();
    const { sameBrokerMs } = this.settings;
    const isBriefly = ({ downSinceMs }: ProducerBroker) => downSinceMs !== undefined && nowMs - downSinceMs < sameBrokerMs;
    this.keyCandidates = [...this.brokers.values()].filter((broker) => !broker.isLeaving && (broker.isUp || isBriefly(broker)));
    this.candidates = this.keyCandidates.filter(({ isUp }) => isUp);
    this.unblock();
  }

  private changed(): void {
    this.findCandidates();
    if (this.untried === 0 && this.candidates.length > 0) this.hasBegun = true;
    this.placeWaiting();
    this.notify();
  }

  private notify(): void {
    for (const listener of this.listeners) listener();
  }

  /** Finds another way for the messages of a broker whose connection is lost. @param isFinal it does not come back. @param first a batch that is before them */
  private moveOn(broker: ProducerBroker, isFinal: boolean, first?: Batch): void {
    if (this.isOver || (broker.isUp && !broker.isLeaving)) return;
    const { sameBrokerMs, retry } = this.settings;
    const isLongGone = isFinal || broker.isLeaving || this.clock.steadyMs() - (broker.downSinceMs ?? 0) >= sameBrokerMs;
    const hasOther = this.candidates.some((other) => other !== broker);
    const moved: Batch[] = first === undefined ? [] : [first];
    for (const batch of broker.takeUnsent()) {
      const wasSent = batch.sentTo !== undefined;
      if (wasSent && (batch.losses >= MAX_LOSSES || retry === "never" || (retry === "safe" && !batch.wasKeyed))) {
        broker.refuse(batch, lostError(batch, broker.broker));
      } else if (
        wasSent && batch.wasKeyed
          ? this.candidates.some((one) => one !== broker && one.knows(batch)) || (isLongGone && hasOther) || isFinal
          : !batch.isKeyed || isLongGone
      ) {
        this.pendingMessages -= batch.count;
        this.pendingBytes -= batch.bytes;
        this.unplacedMessages += batch.count;
        moved.push(batch);
      } else {
        broker.addBatch(batch);
      }
    }
    // They were first in their order.
    this.unplaced = [...moved, ...this.unplaced];
    this.placeWaiting();
  }

  // ---- ProducerBrokerOwner

  readonly onThrown = (thrown: unknown): void => this.emit({ type: "callback-failed", error: asError(thrown) });

  newKey(): string | undefined {
    return this.settings.newKey();
  }

  emit(event: ProducerEvent): void {
    this.settings.emit(event);
  }

  onSettled(count: number, bytes: number): void {
    this.pendingMessages -= count;
    this.pendingBytes -= bytes;
    if (this.unplaced.length > 0) this.placeWaiting();
    if (this.listeners.size > 0) this.notify();
  }

  onTried(): void {
    this.untried--;
  }

  onUp(up: ProducerBroker): void {
    this.changed();
    up.flush();
    for (const broker of this.brokers.values()) if (!broker.isUp) this.moveOn(broker, false);
  }

  onDown(broker: ProducerBroker, wasUp: boolean): void {
    if (this.isOver) return;
    this.findCandidates();
    if (broker.downSinceMs !== undefined && !broker.link.isStopped) {
      this.moveOn(broker, false);
      this.planMove(broker);
    }
    this.forgetGone(broker);
    if (wasUp) this.settings.onLost();
    this.changed();
  }

  /** Once a broker is gone for too long, others get its messages. */
  private planMove(broker: ProducerBroker): void {
    const timer = this.clock.callAfter(this.settings.sameBrokerMs, () => {
      this.graceTimers.delete(timer);
      this.findCandidates();
      this.moveOn(broker, false);
    });
    this.graceTimers.add(timer);
  }

  onLeaving(broker: ProducerBroker, refused: Batch): void {
    this.pendingMessages -= refused.count;
    this.pendingBytes -= refused.bytes;
    this.unplacedMessages += refused.count;
    this.findCandidates();
    this.moveOn(broker, false, refused);
  }

  sendElsewhere(batch: Batch, notTo: ProducerBroker): boolean {
    // The partitions of a topic that is spread are at no other broker.
    if (batch.isKeyed && this.settings.leaders.of(batch.topic) !== false) return false;
    const others = this.candidates.filter((broker) => broker !== notTo);
    if (others.length === 0 || batch.attempts > others.length) return false;
    for (const part of this.partsOf(batch)) {
      const other = this.chooser.choose(others, part.key);
      other.addBatch(part);
      other.flush();
    }
    return true;
  }

  retryInCluster(batch: Batch): boolean {
    const nowMs = this.clock.steadyMs();
    batch.refusedSinceMs ??= nowMs;
    if (nowMs - batch.refusedSinceMs >= this.settings.failOverMs || this.isOver) return false;
    this.settings.leaders.refresh(batch.topic);
    this.settings.onLost();
    this.pendingMessages -= batch.count;
    this.pendingBytes -= batch.bytes;
    this.block(batch);
    this.retryTimer ??= this.clock.callAfter(CLUSTER_RETRY_MS, () => {
      this.retryTimer = undefined;
      this.onLeaders();
    });
    return true;
  }

  onNotLeader(batch: Batch, broker: ProducerBroker): boolean {
    if (!this.settings.leaders.refresh(batch.topic)) return this.sendElsewhere(batch, broker);
    this.pendingMessages -= batch.count;
    this.pendingBytes -= batch.bytes;
    this.block(batch);
    return true;
  }
}

function lostError({ topic, command }: Batch, broker: string): PublishError {
  return new PublishError("CONNECTION_LOST", "the connection was lost before the broker answered", topic, true, { broker, command });
}
