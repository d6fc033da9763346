import type { ScratchBuffer } from "../../base/scratch-buffer.ts";
import { BODY_OFFSET } from "../../frame/frame.ts";
import { layMessage } from "../../frame/layout.ts";
import { isEphemeral } from "../../frame/names.ts";
import type { Answers } from "../acks/group-commit.ts";
import { HeldPublish, PublishError } from "../acks/pending-publish.ts";
import type { KeyStore } from "../storage/idempotency/key-store.ts";
import type { Topic } from "./topic.ts";
import type { TopicRegistry } from "./topic-registry.ts";
import type { Turn } from "./turn.ts";

/** The number of messages that a batch begins with takes so many bytes. */
const COUNT_BYTES = 4;
/** What waits for the tick alone: it is never refused. */
const ANY_COMMIT = new HeldPublish({ failure: undefined, fsync: false }, "PUB");

/** What publishing works with. */
export interface PublishingParts {
  readonly turn: Turn;
  readonly registry: TopicRegistry;
  readonly keys: KeyStore<HeldPublish>;
  readonly acks: Answers;
  readonly scratch: ScratchBuffer;
}

/**
 * The way of messages into topics, one for all who publish: PUB, DPUB and MPUB, HTTP, and its fast path.
 *
 * A caller judges names, sizes and permissions in the words of its protocol. Then, in this order: topicNamed(), topicAt() or
 * refusalFor() say whether the topic takes a publish; append(), appendBatch() or defer() note its key and append it; and
 * the pending publish that they return says when and how it is to be answered. None of that allocates for a known topic
 * and a publish without a key.
 */
export class Publishing {
  /** Why no publish is taken at present: the broker goes down, or the disk is nearly full, which #ephemeral topics do not need. */
  refusal: PublishError | undefined;
  /** Messages that the last append(), appendBatch() or defer() took in: 0 if its key repeated an earlier publish's. */
  appended = 0;
  private closed = false;

  constructor(private readonly parts: PublishingParts) {}

  /** Refuses publishes while the disk is nearly full. @param reason undefined: there is room again */
  refuseOnDisk(reason: Error | undefined): void {
    if (!this.closed) this.refusal = reason && new PublishError(reason.message);
  }

  /** Refuses every publish from here on: the broker goes down. */
  close(): void {
    this.closed = true;
    this.refusal = new PublishError("exiting");
    this.parts.registry.close();
  }

  // ---- may this be published?

  /** Why a publish to a topic is not taken at present. */
  refusalFor(topic: Topic): PublishError | undefined {
    if (topic.deleted) return new PublishError("exiting");
    return topic.ephemeral && !this.closed ? undefined : this.refusal;
  }

  /** The topic of a name that was checked; it is made if it does not exist. @returns why nothing can be published to it */
  topicNamed(name: string): Topic | PublishError {
    if (this.refusal !== undefined && (this.closed || !isEphemeral(name))) return this.refusal;
    try {
      return this.parts.registry.topic(name);
    } catch (error) {
      return error as PublishError;
    }
  }

  /** The topic whose checked name is in [from, to). Only a topic that does not exist yet costs a string. */
  topicAt(bytes: Buffer, from: number, to: number): Topic | PublishError {
    const known = this.parts.registry.knownTopic(bytes, from, to);
    return known === undefined ? this.topicNamed(bytes.toString("latin1", from, to)) : (this.refusalFor(known) ?? known);
  }

  // ---- publishes that a connection answers, in their order

  /**
   * Appends the message in [from, to) of `source`.
   *
   * @param key by which its producer's repetition of it is known; empty: none
   * @returns what to answer it by; `appended` says whether it was a repetition
   */
  append(topic: Topic, key: string, source: Uint8Array, from: number, to: number): HeldPublish {
    const pending = topic.pendingPub;
    const earlier = key === "" ? undefined : this.earlierPublish(topic, key, pending, topic.log.next);
    if (earlier !== undefined) return earlier;
    topic.publish(source, from, to - from, this.parts.turn.time);
    this.appended = 1;
    return pending;
  }

  /** Appends the `count` messages of an MPUB body that was checked (frame/mpub.ts), all or none: [from, to) begins behind their count. */
  appendBatch(topic: Topic, key: string, source: Buffer, from: number, to: number, count: number): HeldPublish {
    const pending = topic.pendingMpub;
    const earlier = key === "" ? undefined : this.earlierPublish(topic, key, pending, topic.log.next);
    if (earlier !== undefined) return earlier;
    topic.publishMany(source, from, to, count, this.parts.turn.time);
    this.appended = count;
    return pending;
  }

  /**
   * Stages the message in [from, to), which joins its topic's log `deferMs` from now; with 0 it is appended at once. Its
   * frame is laid out now, so its timestamp is that of the publish.
   */
  defer(topic: Topic, key: string, source: Uint8Array, from: number, to: number, deferMs: number): HeldPublish {
    const { turn, scratch } = this.parts;
    const pending = deferMs > 0 ? topic.deferredPublishes.pending : topic.pendingDpub;
    const earlier = key === "" ? undefined : this.earlierPublish(topic, key, pending, deferMs > 0 ? undefined : topic.log.next);
    if (earlier !== undefined) return earlier;
    this.appended = 1;
    if (deferMs > 0) {
      const length = BODY_OFFSET + to - from;
      const frame = scratch.reserve(length);
      layMessage(frame, scratch.view, 0, source, from, to - from, topic.log.prefix, 0, turn.time);
      topic.deferredPublishes.stage(frame, 0, length, turn.nowMs + deferMs);
    } else {
      topic.publish(source, from, to - from, turn.time);
    }
    return pending;
  }

  /**
   * The publish that this one repeats, by its key; without one the key is noted, and the publish must be appended now.
   *
   * @param sequence that its first message gets; undefined for a deferred one, which has none yet
   */
  private earlierPublish(topic: Topic, key: string, pending: HeldPublish, sequence: number | undefined): HeldPublish | undefined {
    const earlier = this.parts.keys.register(topic, key, pending, topic.pendingRepeat, sequence, this.parts.turn.wallMs);
    if (earlier !== undefined) this.appended = 0;
    return earlier;
  }

  // ---- publishes that a caller waits for

  /**
   * Publishes one message for a caller that is no connection.
   *
   * @param deferMs 0: at once
   * @returns resolves once the message is as durable as its topic asks; rejects with a PublishError
   */
  publish(topic: Topic, key: string, body: Uint8Array, deferMs: number): Promise<void> {
    const refusal = this.refusalFor(topic);
    if (refusal !== undefined) return Promise.reject(refusal);
    this.parts.turn.readClock();
    return this.untilDone(
      deferMs > 0 ? this.defer(topic, key, body, 0, body.length, deferMs) : this.append(topic, key, body, 0, body.length),
    );
  }

  /** Publishes an MPUB body that was checked (frame/mpub.ts), without bytes behind it: all of its messages or none. */
  publishBatch(topic: Topic, key: string, body: Uint8Array): Promise<void> {
    const refusal = this.refusalFor(topic);
    if (refusal !== undefined) return Promise.reject(refusal);
    this.parts.turn.readClock();
    const batch = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    const count = batch.readInt32BE(0);
    if (count === 0) return Promise.resolve();
    return this.untilDone(this.appendBatch(topic, key, batch, COUNT_BYTES, batch.length, count));
  }

  /** Resolves once all that was staged and appended so far is in its files, or was refused there. */
  untilCommitted(): Promise<void> {
    return this.untilDone(ANY_COMMIT);
  }

  private untilDone(pending: HeldPublish): Promise<void> {
    this.parts.turn.schedule();
    return this.parts.acks.wait(pending);
  }
}
