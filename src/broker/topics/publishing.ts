import type { ScratchBuffer } from "../../base/scratch-buffer.ts";
import { NO_BYTES } from "../../frame/header.ts";
import { recordBytes, writeRecord } from "../../frame/layout.ts";
import { MessageBatch } from "../../frame/message-batch.ts";
import { isEphemeral } from "../../frame/names.ts";
import type { GroupCommit } from "../acks/group-commit.ts";
import { type Committed, DRAINING, EXITING, PendingPublish, PublishError, WAITS_FOR_SYNC } from "../acks/pending-publish.ts";
import type { Forwarder } from "../forwarding/forwarder.ts";
import type { KeyStore } from "../storage/idempotency/key-store.ts";
import type { UnsyncedKey } from "../storage/idempotency/keyed-publish.ts";
import { deferredSequence } from "../storage/idempotency/unconfirmed-keys.ts";
import type { MetadataStore } from "../storage/metadata/metadata-store.ts";
import type { Origin } from "../trace/trace-name.ts";
import type { Topic } from "./topic.ts";
import type { TopicPartition } from "./topic-partition.ts";
import type { TopicRegistry } from "./topic-registry.ts";
import type { Turn } from "./turn.ts";

/** Bytes of the number of messages that a batch begins with. */
const COUNT_BYTES = 4;
/** What a caller waits for that only wants the next commit. It is never refused. */
const ANY_COMMIT = new PendingPublish({ failure: undefined, waitsFor: 0, syncFailure: undefined }, "PUB");

/** What the repetition of a publish waits for while the publish itself waits for a sync. It is acknowledged or refused as that one is. */
class RepeatSync implements Committed {
  readonly waitsFor = WAITS_FOR_SYNC;

  constructor(private readonly first: UnsyncedKey) {}

  get failure(): Error | undefined {
    return this.first.refusal;
  }

  get syncFailure(): Error | undefined {
    return this.first.refusal;
  }
}

/** The messages of a batch that have one header for all. */
const uniform = new MessageBatch();

/** What publishing works with. */
export interface PublishingParts {
  readonly turn: Turn;
  readonly registry: TopicRegistry;
  readonly keys: KeyStore<PendingPublish>;
  readonly acks: GroupCommit;
  readonly scratch: ScratchBuffer;
  readonly metadata: Pick<MetadataStore, "noteHeaders">;
}

/**
 * Publishes messages to topics, for the commands PUB, DPUB and MPUB, for HTTP, and for HTTP's fast path.
 *
 * A caller first checks names, sizes and permissions, and answers for them in its own protocol. Then it takes three steps:
 * topicNamed(), topicAt() or refusalFor() say whether the topic accepts a publish; append(), appendBatch() or defer() register
 * its idempotency key and append it to a partition, which the topic chooses if the caller does not; and the pending publish that these
 * return says when and how to acknowledge it. For a topic that exists and a publish without a key none of this allocates.
 */
export class Publishing {
  /**
   * Why publishes are refused: the broker shuts down or is drained, or the disk is nearly full. The last does not concern #ephemeral
   * topics.
   */
  refusal: PublishError | undefined;
  /** How many messages the last append(), appendBatch() or defer() accepted; 0 if the publish repeated an earlier one. */
  appended = 0;
  /** Publishes that were refused or failed since the start. */
  errorCount = 0;
  /** Has publishes carried out that another broker leads; undefined: the broker is alone. */
  forwarder: Forwarder | undefined;
  /** The broker is drained: only consumers that have messages in flight may publish. */
  isDraining = false;
  private closed = false;
  /** The metadata store says that there are messages with headers. */
  private headersAreNoted = false;
  private diskRefusal: PublishError | undefined;

  constructor(private readonly parts: PublishingParts) {}

  /** Refuses publishes while the disk is nearly full. @param reason undefined when there is room again */
  refuseOnDisk(reason: Error | undefined): void {
    this.diskRefusal = reason && new PublishError(reason.message);
    if (!this.closed && !this.isDraining) this.refusal = this.diskRefusal;
  }

  /** Refuses publishes from here on, but for those of consumers that have messages in flight. */
  startDraining(): void {
    this.isDraining = true;
    if (!this.closed) this.refusal = new PublishError(DRAINING);
  }

  /** Refuses all publishes from here on, because the broker shuts down. */
  close(): void {
    this.closed = true;
    this.refusal = new PublishError(EXITING);
    this.parts.registry.close();
  }

  // ---- does the topic accept a publish?

  /**
   * Why a publish to a topic is refused; undefined if it is not.
   *
   * @param isFinishing the publisher is a consumer that has messages in flight: what it does with them may need another message
   */
  refusalFor(topic: Topic, isFinishing = false): PublishError | undefined {
    if (this.refusal === undefined && !topic.deleted) return undefined;
    if (topic.deleted) return new PublishError(EXITING);
    return this.refusalOf(topic.ephemeral, isFinishing);
  }

  /** Why a publish to a topic that is not on this disk is refused: the broker leaves. @param isFinishing as for refusalFor() */
  leavingRefusal(isFinishing = false): PublishError | undefined {
    return this.refusalOf(true, isFinishing);
  }

  private refusalOf(ephemeral: boolean, isFinishing: boolean): PublishError | undefined {
    if (this.closed || (this.isDraining && !isFinishing)) return this.refusal;
    if (ephemeral) return undefined;
    return this.isDraining ? this.diskRefusal : this.refusal;
  }

  /** The topic of a name that was checked. It is created if it does not exist. @returns an error if it refuses publishes */
  topicNamed(name: string, isFinishing = false): Topic | PublishError {
    const refusal = this.refusal === undefined ? undefined : this.refusalOf(isEphemeral(name), isFinishing);
    if (refusal !== undefined) return refusal;
    try {
      return this.parts.registry.topic(name);
    } catch (error) {
      return error as PublishError;
    }
  }

  /** A topic that this broker has. */
  knownTopic(name: string): Topic | undefined {
    return this.parts.registry.topics.get(name);
  }

  /** The topic whose name, which was checked, is in [from, to). A string is made only for a topic that has to be created. */
  topicAt(bytes: Buffer, from: number, to: number): Topic | PublishError {
    const known = this.parts.registry.knownTopic(bytes, from, to);
    return known === undefined ? this.topicNamed(bytes.toString("latin1", from, to)) : (this.refusalFor(known) ?? known);
  }

  // ---- for connections, which acknowledge publishes in their order

  /**
   * Appends the message in [from, to) of `source`.
   *
   * @param key idempotency key; empty: none. A publish whose key was seen before is not appended again
   * @param origin who publishes, for a trace
   * @param header encoded (frame/header.ts); empty: none
   * @returns what its acknowledgement waits for; `appended` is 0 for a repetition
   */
  append(
    partition: TopicPartition,
    key: string,
    source: Uint8Array,
    from: number,
    to: number,
    origin?: Origin,
    header: Uint8Array = NO_BYTES,
  ): PendingPublish {
    const pending = partition.pendingPub;
    const refusal = partition.replicated?.[0].publishRefusal;
    if (refusal !== undefined) return this.refusedHere(refusal, pending);
    if (header.length > 0 && !this.headersAreNoted) {
      const refused = this.noteHeaders(partition, pending);
      if (refused !== undefined) return refused;
    }
    const earlier = key === "" ? undefined : this.earlierPublish(partition, key, pending, partition.log.next);
    if (earlier !== undefined) return earlier;
    if (partition.trace !== undefined) partition.trace.published(origin, partition.log.next, 1);
    if (header.length === 0) partition.publish(source, from, to - from, this.parts.turn.time);
    else partition.publishWithHeader(header, source, from, to - from, this.parts.turn.time);
    this.appended = 1;
    return pending;
  }

  /**
   * Appends `count` messages of a batch from `first` on, of which some may have headers: all of them or none. There is at least one.
   *
   * @param pending what the acknowledgement waits for: one of the partition's
   */
  appendMessages(
    partition: TopicPartition,
    key: string,
    source: Uint8Array,
    batch: MessageBatch,
    first: number,
    count: number,
    origin?: Origin,
    pending = partition.pendingMpub,
  ): PendingPublish {
    const refusal = partition.replicated?.[0].publishRefusal;
    if (refusal !== undefined) return this.refusedHere(refusal, pending);
    if (batch.hasHeaders && !this.headersAreNoted) {
      const refused = this.noteHeaders(partition, pending);
      if (refused !== undefined) return refused;
    }
    const earlier = key === "" ? undefined : this.earlierPublish(partition, key, pending, partition.log.next);
    if (earlier !== undefined) return earlier;
    if (partition.trace !== undefined) partition.trace.published(origin, partition.log.next, count);
    partition.publishMessages(batch, first, count, source, this.parts.turn.time);
    this.appended = count;
    return pending;
  }

  /**
   * Appends the `count` messages of an MPUB body that was checked (frame/mpub.ts): all of them or none.
   *
   * @param from offset of the first message's size word, behind the count
   * @param header of all of them, encoded (frame/header.ts); empty: none
   */
  appendBatch(
    partition: TopicPartition,
    key: string,
    source: Buffer,
    from: number,
    to: number,
    count: number,
    origin?: Origin,
    header: Uint8Array = NO_BYTES,
  ): PendingPublish {
    if (header.length > 0) {
      uniform.reset();
      for (let at = from; at < to; ) {
        const body = at + 4;
        at = body + source.readUInt32BE(at);
        uniform.addEncoded(header, body, at);
      }
      return this.appendMessages(partition, key, source, uniform, 0, count, origin);
    }
    const pending = partition.pendingMpub;
    const refusal = partition.replicated?.[0].publishRefusal;
    if (refusal !== undefined) return this.refusedHere(refusal, pending);
    const earlier = key === "" ? undefined : this.earlierPublish(partition, key, pending, partition.log.next);
    if (earlier !== undefined) return earlier;
    if (partition.trace !== undefined) partition.trace.published(origin, partition.log.next, count);
    partition.publishMany(source, from, to, count, this.parts.turn.time);
    this.appended = count;
    return pending;
  }

  /**
   * Stages the message in [from, to) of `source`, to join the topic's log `deferMs` from now. With 0 it is appended at once. The
   * frame is laid out now, so the message has the timestamp of its publish.
   */
  defer(
    partition: TopicPartition,
    key: string,
    source: Uint8Array,
    from: number,
    to: number,
    deferMs: number,
    origin?: Origin,
    header: Uint8Array = NO_BYTES,
  ): PendingPublish {
    const { turn, scratch } = this.parts;
    const pending = deferMs > 0 ? partition.deferredPublishes.pending : partition.pendingDpub;
    const refusal = partition.replicated?.[0].publishRefusal;
    if (refusal !== undefined) return this.refusedHere(refusal, pending);
    const refused = header.length > 0 ? this.noteHeaders(partition, pending) : undefined;
    if (refused !== undefined) return refused;
    const sequence = deferMs > 0 ? deferredSequence(partition.deferredPublishes.nextNumber) : partition.log.next;
    const earlier = key === "" ? undefined : this.earlierPublish(partition, key, pending, sequence);
    if (earlier !== undefined) return earlier;
    this.appended = 1;
    if (deferMs > 0) {
      partition.trace?.deferred(origin, partition.deferredPublishes.nextNumber, deferMs);
      const length = recordBytes(header, to - from);
      const frame = scratch.reserve(length);
      writeRecord(frame, scratch.view, 0, header, source, from, to - from, partition.log.prefix, 0, turn.time);
      partition.deferredPublishes.stage(frame, 0, length, turn.nowMs + deferMs);
    } else {
      partition.trace?.published(origin, partition.log.next, 1);
      partition.publishWithHeader(header, source, from, to - from, turn.time);
    }
    return pending;
  }

  /** Another broker leads the partition, or too few replicas are in sync. */
  private refusedHere(failure: Error, { command }: PendingPublish): PendingPublish {
    this.appended = 0;
    return new PendingPublish({ failure, waitsFor: 0, syncFailure: undefined }, command);
  }

  /**
   * Makes sure that earlier releases refuse the data path, before it gets its first message with a header.
   *
   * @returns a pending publish that is refused if that cannot be stored
   */
  private noteHeaders({ topic }: TopicPartition, { command }: PendingPublish): PendingPublish | undefined {
    if (this.headersAreNoted || topic.ephemeral) return undefined;
    try {
      this.parts.metadata.noteHeaders();
      this.headersAreNoted = true;
      return undefined;
    } catch (error) {
      this.appended = 0;
      return new PendingPublish({ failure: error as Error, waitsFor: 0, syncFailure: undefined }, command);
    }
  }

  /**
   * Finds the earlier publish with the same key. If there is none, the key is registered, and the caller must append the publish
   * now. While the keys of an earlier run cannot be read, it returns a pending publish that is refused.
   *
   * @param sequence of the first message once it is appended; deferredSequence() for a deferred publish, which has none yet
   */
  private earlierPublish(partition: TopicPartition, key: string, pending: PendingPublish, sequence: number): PendingPublish | undefined {
    const failure = this.parts.keys.failure ?? this.doubtOf(partition, key);
    if (failure !== undefined) {
      // Whether it repeats an earlier publish cannot be told.
      this.appended = 0;
      return new PendingPublish({ failure, waitsFor: 0, syncFailure: undefined }, pending.command);
    }
    const { keys, turn } = this.parts;
    const other = partition.topic.partitions.length === 1 ? undefined : this.partitionWith(partition, key);
    if (other !== undefined) return this.repeated(other, key, pending.command, keys.find(other, key, other.pendingRepeat, turn.agingMs));
    return this.repeated(
      partition,
      key,
      pending.command,
      keys.register(partition, key, pending, partition.pendingRepeat, sequence, turn.agingMs),
    );
  }

  /** Why it cannot be told whether a key is that of an earlier publish to the topic. */
  private doubtOf({ topic }: TopicPartition, key: string): Error | undefined {
    const { keys } = this.parts;
    for (const partition of topic.partitions) {
      const doubt = keys.doubtOf(partition, key);
      if (doubt !== undefined) return doubt;
    }
    return undefined;
  }

  /** Another partition of the topic that a publish with the same key went to. A repetition may come to any of them. */
  private partitionWith(partition: TopicPartition, key: string): TopicPartition | undefined {
    const { keys, turn } = this.parts;
    const ids = keys.topicsWith(key);
    // Most keys are new.
    if (ids?.length === 0) return undefined;
    return partition.topic.partitions.find((other) => {
      if (other === partition || ids?.includes(other.id) === false) return false;
      return keys.find(other, key, other.pendingRepeat, turn.agingMs) !== undefined;
    });
  }

  /** @param earlier what acknowledges the repetition; undefined: it is none */
  private repeated(
    partition: TopicPartition,
    key: string,
    command: PendingPublish["command"],
    earlier: PendingPublish | undefined,
  ): PendingPublish | undefined {
    if (earlier === undefined) return undefined;
    this.appended = 0;
    if (partition.waitsFor !== WAITS_FOR_SYNC || earlier !== partition.pendingRepeat) return earlier;
    // What it repeats may not be on the disk yet, after a restart too.
    this.parts.turn.queueSync(partition);
    const first = this.parts.keys.awaitingSync(partition, key);
    return first === undefined ? earlier : new PendingPublish(new RepeatSync(first), command);
  }

  // ---- for callers that wait for a promise

  /**
   * Publishes one message.
   *
   * @param key idempotency key; empty: none
   * @param deferMs delay of its delivery
   * @param origin who publishes, for a trace
   * @param header encoded (frame/header.ts); empty: none
   * @returns resolves once the message is as durable as its topic's durability asks; rejects with a PublishError
   */
  publish(
    partition: TopicPartition,
    key: string,
    body: Uint8Array,
    deferMs: number,
    origin?: Origin,
    header: Uint8Array = NO_BYTES,
  ): Promise<void> {
    const refusal = this.refusalFor(partition.topic);
    if (refusal !== undefined) return Promise.reject(refusal);
    this.parts.turn.readClock();
    return this.untilDone(
      deferMs > 0
        ? this.defer(partition, key, body, 0, body.length, deferMs, origin, header)
        : this.append(partition, key, body, 0, body.length, origin, header),
    );
  }

  /**
   * Publishes the messages of an MPUB body that was checked (frame/mpub.ts), all of them or none. Nothing may follow the last one.
   *
   * @param header of all of them, encoded (frame/header.ts); empty: none
   */
  publishBatch(partition: TopicPartition, key: string, body: Uint8Array, origin?: Origin, header: Uint8Array = NO_BYTES): Promise<void> {
    const refusal = this.refusalFor(partition.topic);
    if (refusal !== undefined) return Promise.reject(refusal);
    this.parts.turn.readClock();
    const batch = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    const count = batch.readInt32BE(0);
    if (count === 0) return Promise.resolve();
    return this.untilDone(this.appendBatch(partition, key, batch, COUNT_BYTES, batch.length, count, origin, header));
  }

  /** Resolves once everything that was staged and appended so far was written to its files, or could not be. */
  untilCommitted(): Promise<void> {
    return this.untilDone(ANY_COMMIT, Number.NaN);
  }

  /** @returns resolves once a publish is as durable as it has to be; rejects with a PublishError */
  untilDone(pending: PendingPublish, sinceMs = this.parts.turn.steadyMs): Promise<void> {
    this.parts.turn.schedule();
    return this.parts.acks.wait(pending, sinceMs);
  }
}
