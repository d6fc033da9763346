import { Batch, BODY_SIZE_BYTES, type Publication, settle } from "./batch.ts";
import type { Connection } from "./connection.ts";
import type { ConnectionSettings } from "./connection-options.ts";
import { BrokerError, ClientError, PublishError } from "./errors.ts";
import type { ProducerEvent } from "./events.ts";
import { Link, type LinkOwner } from "./link.ts";
import { murmur3 } from "./murmur3.ts";
import type { Candidate } from "./strategy.ts";

/** The reason of a publish that a broker refuses because it is about to end: bunsq's when it is drained, and that of any broker that stops. */
const LEAVING = / (draining|exiting)$/;

/** Errors after which the connection goes on, and what was sent behind their publish counts. */
const NOT_FATAL = /^(E_FAILED_ON_NOT_LEADER|E_FAILED_ON_NOT_WRITABLE|E_EXT_NOT_SUPPORT|E_INVALID_JSON_HEADER|INVALID_TRACE_ID)$/;
/** What brokers of a cluster answer while the leader of a partition changes. */
const IN_FAIL_OVER = /^E_((M|D)?PUB_FAILED|FAILED_ON_NOT_LEADER|FAILED_ON_NOT_WRITABLE)$/;
/** The reason of a publish that may have been carried out. */
const UNKNOWN = / is not known$/;
/** How the names of topics end that each broker has for itself. */
const EPHEMERAL = "#ephemeral";
/** Errors that may be about one message of a batch. */
const ABOUT_ONE = /^E_(BAD_MESSAGE|EXT_NOT_SUPPORT|INVALID_JSON_HEADER)$/;

/** Bytes that wait for a slow connection; beyond them nothing more is written to it. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/**
 * Messages beyond nsqd's default limit may be refused, and nsqd may then close the connection in a way that loses its answers. So
 * such a message is sent alone: nothing else is on the connection until it has its answer.
 */
const LONE_BYTES = 1024 * 1024;

/** How batches are made. */
export interface BatchSettings {
  /** Whether messages of one turn are put together. */
  readonly isOn: boolean;
  readonly maxMessages: number;
  readonly maxBytes: number;
  /** Batches that a broker has not answered. Until it does, messages gather in larger ones. */
  readonly maxUnanswered: number;
}

/** What a producer does for its brokers. */
export interface ProducerBrokerOwner {
  readonly batches: BatchSettings;
  newKey(): string | undefined;
  emit(event: ProducerEvent): void;
  /** A callback of the program has thrown. */
  readonly onThrown: (thrown: unknown) => void;
  /** Messages are over: acknowledged, refused or given up. */
  onSettled(count: number, bytes: number): void;
  onUp(broker: ProducerBroker): void;
  /** @param wasUp its connection was lost; else it could not be reached */
  onDown(broker: ProducerBroker, wasUp: boolean): void;
  /** The first attempt to connect has ended. */
  onTried(): void;
  /** The broker is about to end its connections. What it has not accepted waits for other brokers, or for its return. */
  onLeaving(broker: ProducerBroker, refused: Batch): void;
  /** The broker refused a batch that another broker may take. @returns whether another one gets it */
  sendElsewhere(batch: Batch, notTo: ProducerBroker): boolean;
  /** A broker of a cluster refused a batch that the same or another one will soon take. @returns whether it is tried again */
  retryInCluster(batch: Batch): boolean;
  /** The broker does not have the partition of a batch. @returns whether the one that has it is looked for */
  onNotLeader(batch: Batch, broker: ProducerBroker): boolean;
}

/** One broker of a producer: gathers messages into batches, sends them, and matches the broker's answers. */
export class ProducerBroker implements LinkOwner, Candidate {
  pending = 0;
  readonly seed: number;
  readonly link: Link;
  /** When its connection was lost; undefined while it is up or was never up. */
  downSinceMs: number | undefined;
  /** It accepts no more, and ends the connection. */
  isLeaving = false;
  private hasTried = false;
  /** Batches that are still open for more messages, by topic. */
  private readonly open = new Map<string, Batch>();
  private waiting: Batch[] = [];
  private readonly unanswered: Batch[] = [];
  /** What was gathered is to be sent as soon as the broker keeps up. */
  private isDue = false;
  /** An error frame came, and no command behind its one is carried out if the broker closes the connection now. */
  private hasRefused = false;
  private isSending = false;
  /** A large message is on its way. */
  private isAlone = false;

  constructor(
    readonly broker: string,
    private readonly settings: ConnectionSettings,
    private readonly owner: ProducerBrokerOwner,
  ) {
    this.seed = murmur3(broker);
    this.link = new Link(broker, settings, this);
  }

  get isUp(): boolean {
    return this.link.connection !== undefined;
  }

  get isIdle(): boolean {
    return this.pending === 0;
  }

  /** Recognizes a batch that was sent to another broker of its cluster, by its key. */
  knows({ cluster }: Batch): boolean {
    return cluster !== undefined && this.link.connection?.features.cluster === cluster;
  }

  /** Adds a message to the topic's open batch. @returns whether the batch is full, so that it should be sent now */
  add(topic: string, publication: Publication): boolean {
    const { batches } = this.owner;
    let batch = this.open.get(topic);
    if (batch !== undefined && batch.bytes + publication.bytes > batches.maxBytes) {
      this.seal(topic, batch);
      batch = undefined;
    }
    if (batch === undefined) {
      batch = new Batch(topic, undefined, false, this.owner.newKey());
      this.open.set(topic, batch);
    }
    batch.add(publication);
    this.pending++;
    if (batches.isOn && batch.count < batches.maxMessages && batch.bytes < batches.maxBytes) return false;
    this.seal(topic, batch);
    return true;
  }

  /** Queues a batch as it is. @param isFirst it was sent before, and keeps its place */
  addBatch(batch: Batch, isFirst = false): void {
    this.pending += batch.count;
    if (isFirst) this.waiting.unshift(batch);
    else this.waiting.push(batch);
  }

  /** Sends what was gathered, now or as soon as the broker keeps up. */
  flush(): void {
    this.isDue = true;
    this.send();
  }

  /** Sends what waits, as far as the broker keeps up. */
  send(): void {
    const { connection } = this.link;
    // A listener or a callback may publish in the middle of this. The loop below sends that, too.
    if (connection === undefined || this.isSending) return;
    this.isSending = true;
    try {
      this.sendTo(connection);
    } finally {
      this.isSending = false;
    }
    connection.flush();
  }

  private sendTo(connection: Connection): void {
    const { maxUnanswered } = this.owner.batches;
    let sent = 0;
    while (!this.isAlone && this.unanswered.length < maxUnanswered && connection.waitingBytes < MAX_WAITING_BYTES) {
      if (sent === this.waiting.length) {
        if (!this.isDue || this.open.size === 0) break;
        this.isDue = false;
        for (const [topic, batch] of this.open) this.seal(topic, batch);
        continue;
      }
      const batch = this.waiting[sent] as Batch;
      this.dropCancelled(batch);
      const isLone = batch.bytes - BODY_SIZE_BYTES > LONE_BYTES;
      if (isLone && this.unanswered.length > 0) break;
      sent++;
      if (batch.count === 0 || (batch.needsHeaders && !connection.features.messageHeaders && this.refuseHeaders(batch))) continue;
      this.isAlone = isLone;
      this.write(connection, batch);
    }
    if (sent > 0) this.waiting.splice(0, sent);
  }

  /** Takes out everything that has not been sent. */
  takeUnsent(): Batch[] {
    for (const [topic, batch] of this.open) this.seal(topic, batch);
    const taken = this.waiting;
    this.waiting = [];
    for (const batch of taken) this.pending -= batch.count;
    return taken;
  }

  /** Gives up messages whose time is over. @param patienceMs how much longer their answers may take before the connection is ended */
  expire(nowMs: number, patienceMs: number): void {
    for (const batch of this.takeUnsent()) {
      if (batch.deadlineMs > nowMs) this.addBatch(batch);
      else this.refuse(batch, this.timeout(batch));
    }
    // The answer may still come, and is then matched with the batch, so the batch keeps its place.
    for (const batch of this.unanswered) {
      if (batch.deadlineMs > nowMs || batch.isAbandoned) continue;
      batch.isAbandoned = true;
      batch.settle(this.timeout(batch), undefined, this.owner.onThrown);
    }
    const [oldest] = this.unanswered;
    if (oldest !== undefined && oldest.deadlineMs + patienceMs <= nowMs) {
      this.link.connection?.fail(
        new ClientError("TIMEOUT", "the broker does not answer", { broker: this.broker, command: oldest.command }),
      );
    }
  }

  /** Refuses everything that has no answer. */
  rejectAll(makeError: (batch: Batch) => Error): void {
    for (const batch of [...this.unanswered.splice(0), ...this.takeUnsentOnly()]) this.finish(batch, makeError(batch));
  }

  private takeUnsentOnly(): Batch[] {
    const taken = this.takeUnsent();
    for (const batch of taken) this.pending += batch.count;
    return taken;
  }

  private timeout(batch: Batch): PublishError {
    const { broker } = this;
    return new PublishError("TIMEOUT", "no broker acknowledged the message in time", batch.topic, batch.attempts > 0, {
      broker,
      command: batch.command,
    });
  }

  private seal(topic: string, batch: Batch): void {
    this.open.delete(topic);
    this.waiting.push(batch);
  }

  /** Leaves out messages that nobody wants any more. A batch that was sent before has to stay as it is. */
  private dropCancelled(batch: Batch): void {
    if (batch.sentTo !== undefined) return;
    const { count, bytes } = batch;
    batch.dropCancelled();
    if (batch.count === count) return;
    this.pending -= count - batch.count;
    this.owner.onSettled(count - batch.count, bytes - batch.bytes);
  }

  /** Refuses what the broker would publish without its headers, or in any partition. @returns whether that is all of the batch */
  private refuseHeaders(batch: Batch): boolean {
    const context = { broker: this.broker, command: "IDENTIFY" };
    const text = "the broker takes neither headers, tags, trace ids nor partitions: it is not bunsq, or an earlier release";
    const error = new PublishError("HEADERS_UNSUPPORTED", text, batch.topic, batch.sentTo !== undefined, context);
    if (batch.isWhole || batch.sentTo !== undefined) {
      this.finish(batch, error);
      return true;
    }
    for (const publication of batch.publications) {
      if (!publication.needsHeader) continue;
      settle(publication, error, undefined, this.owner.onThrown);
      publication.isCancelled = true;
    }
    this.dropCancelled(batch);
    return batch.count === 0;
  }

  private write(connection: Connection, batch: Batch): void {
    const { idempotency, cluster, clusterKeys } = connection.features;
    const isKnownHere = batch.wasKeyed && (batch.sentTo === this.broker || this.knows(batch));
    if (batch.sentTo !== undefined && !isKnownHere) {
      batch.mayBeDuplicate = true;
      const { topic, count, sentTo: from, idempotencyKey: key } = batch;
      this.owner.emit({ type: "maybe-duplicated", topic, count, from, to: this.broker, key });
    }
    batch.attempts++;
    batch.doubtedAt = batch.sentTo;
    batch.sentTo = this.broker;
    // The key of a deferred message stays with the broker that leads, and another one may lead next.
    const isDeferred = cluster !== undefined && (batch.deferMs ?? 0) > 0;
    batch.wasKeyed = idempotency && batch.idempotencyKey !== undefined && !isDeferred;
    batch.cluster = batch.wasKeyed && clusterKeys && !batch.topic.endsWith(EPHEMERAL) ? cluster : undefined;
    batch.writeTo(connection.outbox, connection.features);
    this.unanswered.push(batch);
  }

  // ---- LinkOwner

  prepare(): void {
    this.hasRefused = false;
    this.isLeaving = false;
    this.downSinceMs = undefined;
    this.endFirstAttempt();
    // The connection hands over what comes only after this call.
    queueMicrotask(() => {
      if (this.isUp) this.owner.onUp(this);
    });
  }

  onConnectFailed(): void {
    this.endFirstAttempt();
    this.owner.onDown(this, false);
  }

  emit(event: ProducerEvent): void {
    this.owner.emit(event);
  }

  onMessage(): void {
    // A connection that has not subscribed gets none.
  }

  onResponse(): void {
    this.hasRefused = false;
    this.isAlone = false;
    const batch = this.unanswered.shift();
    if (batch === undefined) return;
    const { broker } = this;
    batch.sentTo = undefined;
    const receipt = { broker, attempts: batch.attempts, mayBeDuplicate: batch.mayBeDuplicate };
    batch.settle(undefined, receipt, this.owner.onThrown);
    this.settled(batch);
  }

  onErrorFrame({ features }: Connection, error: BrokerError): void {
    this.hasRefused = !NOT_FATAL.test(error.code);
    this.isAlone = false;
    const batch = this.unanswered.shift();
    if (batch === undefined) {
      return this.owner.emit({ type: "broker-error", broker: this.broker, error });
    }
    batch.wasRefused();
    // Messages of several calls share the batch, and only some of them may be bad.
    if (ABOUT_ONE.test(error.code) && !batch.isWhole && batch.count > 1) return this.split(batch);
    if (error.code.endsWith("PUB_FAILED") && UNKNOWN.test(error.text)) {
      const context = { broker: this.broker, command: batch.command };
      if (!batch.wasKeyed) return this.finish(batch, new PublishError("OUTCOME_UNKNOWN", error.text, batch.topic, true, context));
      // The broker that has it now knows the key.
      batch.sentTo = this.broker;
    }
    if (features.cluster !== undefined && IN_FAIL_OVER.test(error.code) && !batch.isAbandoned && !LEAVING.test(error.text)) {
      this.pending -= batch.count;
      if (this.owner.retryInCluster(batch)) return;
      this.pending += batch.count;
    }
    if (error.code.endsWith("PUB_FAILED") && !batch.isAbandoned) {
      this.pending -= batch.count;
      if (LEAVING.test(error.text)) {
        this.isLeaving = true;
        return this.owner.onLeaving(this, batch);
      }
      if (this.owner.sendElsewhere(batch, this)) return;
      this.pending += batch.count;
    }
    if (error.code === "E_FAILED_ON_NOT_LEADER" && !batch.isAbandoned) {
      this.pending -= batch.count;
      if (this.owner.onNotLeader(batch, this)) return;
      this.pending += batch.count;
    }
    const context = { broker: this.broker, command: batch.command };
    if (batch.sentTo === undefined) this.finish(batch, new BrokerError(error.code, error.text, context));
    else this.finish(batch, new PublishError("OUTCOME_UNKNOWN", error.text, batch.topic, true, context));
  }

  onChunkEnd(): void {
    this.send();
  }

  onClosed(_connection: Connection, error: ClientError | undefined): void {
    const lost = this.unanswered.splice(0);
    this.isAlone = false;
    this.downSinceMs = this.settings.clock.steadyMs();
    for (let i = lost.length - 1; i >= 0; i--) {
      const batch = lost[i] as Batch;
      // Commands behind one that ended the connection are not carried out.
      if (this.hasRefused) batch.wasRefused();
      else batch.losses++;
      if (batch.isAbandoned) {
        this.settled(batch);
        continue;
      }
      this.pending -= batch.count;
      this.addBatch(batch, true);
    }
    this.link.onLost(error);
    this.owner.onDown(this, true);
  }

  /** Sends each message of a refused batch in a command of its own. */
  private split(batch: Batch): void {
    this.waiting.unshift(...batch.singles(() => this.owner.newKey()));
  }

  /** Refuses a batch that is not counted as pending any more. */
  refuse(batch: Batch, error: Error): void {
    this.pending += batch.count;
    this.finish(batch, error);
  }

  private finish(batch: Batch, error: Error): void {
    batch.settle(error, undefined, this.owner.onThrown);
    this.settled(batch);
  }

  private settled(batch: Batch): void {
    this.pending -= batch.count;
    this.owner.onSettled(batch.count, batch.bytes);
  }

  /** Its first attempt to connect has ended, or is not waited for any more. */
  endFirstAttempt(): void {
    if (this.hasTried) return;
    this.hasTried = true;
    this.owner.onTried();
  }
}
