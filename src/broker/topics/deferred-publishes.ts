import { BODY_OFFSET, ID_OFFSET } from "../../frame/frame.ts";
import { writeId } from "../../frame/id.ts";
import { type Committed, HeldPublish } from "../acks/pending-publish.ts";
import { type EntryHeader, KIND_PUBLISH } from "../storage/deferred/entry.ts";
import type { EntryOwner, StagedEntries } from "../storage/deferred/staged-entries.ts";
import type { StoredMessage } from "../storage/deferred/stored-message.ts";
import type { Topic } from "./topic.ts";
import type { TopicParts } from "./topic-parts.ts";

/** A due message whose topic cannot take it (a full disk) is tried again after this long. */
const JOIN_RETRY_MS = 1000;

/** A deferred publish that was appended to its topic's log. */
interface Joining {
  message: StoredMessage;
  sequence: number;
}

/**
 * A topic's deferred publishes: on their way into the deferred store, in it, and as they join the topic's log when they are
 * due. Each joins in two steps, so that a crash between them is told from the files: the deferred store notes the sequence
 * that a message is about to get, then the log is committed.
 */
export class DeferredPublishes implements EntryOwner, Committed {
  /** Those that have not joined the log. */
  count = 0;
  /** What a publish with a delay waits for: its commit is the deferred store's. */
  readonly pending = new HeldPublish(this, "DPUB");
  /** Appended since the last commit. */
  private joining: Joining[] = [];
  /** What the deferred store is told of a publish: one object for all. */
  private readonly entry: EntryHeader;

  constructor(
    private readonly topic: Topic,
    private readonly parts: TopicParts,
  ) {
    this.entry = { kind: KIND_PUBLISH, attempts: 0, topicId: topic.id, channelId: 0, dueMs: 0, sequence: 0 };
  }

  get failure(): Error | undefined {
    return this.parts.deferred.failure;
  }

  get fsync(): boolean {
    return this.topic.fsync;
  }

  /** Messages that the next commit has join the log. */
  get joiningCount(): number {
    return this.joining.length;
  }

  /** Stages a message that joins the log at `dueMs`. */
  stage(frame: Buffer, from: number, to: number, dueMs: number): void {
    this.entry.dueMs = dueMs;
    this.parts.deferred.writer.stage(this, this.entry, frame, from, to, this.topic.ephemeral);
    this.parts.turn.schedule();
  }

  /** The store has written a publish, or could not. */
  stored(staged: StagedEntries, at: number, error: Error | undefined): void {
    if (error !== undefined) return;
    this.count++;
    this.topic.messageCount++;
    this.topic.messageBytes += staged.frameBytes[at] - BODY_OFFSET;
    this.parts.deferred.deliverStagedWhenDue(staged, at);
    this.parts.turn.wakeAt(staged.dueMs[at]);
  }

  /** A publish has fallen due: it is appended to the log, and gets its id. */
  join(message: StoredMessage): void {
    const { deferred, freeSpace, scratch, turn } = this.parts;
    const { log, ephemeral } = this.topic;
    if (freeSpace.critical && !ephemeral) return deferred.postpone(message, turn.nowMs + JOIN_RETRY_MS);
    const { page, pageAt, frameBytes } = message;
    const frame = page?.buffer ?? scratch.reserve(frameBytes);
    if (page === undefined) deferred.readFrame(message, frame, 0);
    const from = page === undefined ? 0 : pageAt;
    const sequence = log.next;
    log.appendFrame(frame.subarray(from, from + frameBytes), (view, at) => writeId(view, at + ID_OFFSET, log.prefix, sequence));
    this.joining.push({ message, sequence });
    deferred.markJoining(message, sequence);
    this.topic.markDirty();
  }

  /** Why the log must not be committed: it could not be noted which messages join it, and after a crash they would join again. */
  get commitRefusal(): Error | undefined {
    const { statusFailure, recoveryUnwritten } = this.parts.deferred;
    return this.joining.length > 0 || recoveryUnwritten ? statusFailure : undefined;
  }

  /** The log could not be committed. */
  retryJoining(nowMs: number): void {
    for (const { message } of this.joining.splice(0)) this.parts.deferred.retryJoin(message, nowMs + JOIN_RETRY_MS);
  }

  /** The log was committed. */
  confirmJoined(): void {
    for (const { message, sequence } of this.joining.splice(0)) {
      this.count--;
      this.parts.deferred.markJoined(message);
      for (const channel of this.topic.channels.values()) channel.joined(message.number, sequence);
    }
  }
}
