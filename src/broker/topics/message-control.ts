import { ID_OFFSET, MESSAGE_ID_BYTES } from "../../frame/frame.ts";
import { bodyAt, encodedHeader, HeaderReader } from "../../frame/header.ts";
import { PublishError } from "../acks/pending-publish.ts";
import { publishAnywhere } from "../forwarding/publish-anywhere.ts";
import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import { KIND_REQUEUE } from "../storage/deferred/entry.ts";
import type { EntryOwner, StagedEntries } from "../storage/deferred/staged-entries.ts";
import type { StoredMessage } from "../storage/deferred/stored-message.ts";
import { recordAt, visitRecords } from "../storage/log/records.ts";
import { DETAIL_OPERATOR } from "../trace/record.ts";
import type { TraceName } from "../trace/trace-name.ts";
import type { ChannelPartition } from "./channel/channel-partition.ts";
import { findDeferred } from "./inspect/deferred-search.ts";
import { messageStatus } from "./inspect/message-status.ts";
import { OperatorError } from "./operator-error.ts";
import type { Publishing } from "./publishing.ts";
import type { Turn } from "./turn.ts";

/** How many calls may search the deferred store at the same time: each reads files. */
const MAX_SEARCHES = 4;
/** How many ranges of finished messages a channel's backlog may have: each is a part of the channel's row. */
const MAX_HOLES = 10_000;

/** What message control works with. */
export interface MessageControlParts {
  readonly deferred: DeferredStore;
  readonly publishing: Publishing;
  readonly turn: Turn;
}

/** What a new entry of the deferred store says about its message. */
interface EntryOf {
  sequence: number;
  attempts: number;
  delayMs: number;
}

/** Finishes and requeues single messages for operators, whether a consumer, nobody or the deferred store has them. */
export class MessageControl {
  private searches = 0;

  constructor(private readonly parts: MessageControlParts) {}

  /**
   * Finishes a message, whether it is in flight, waiting or deferred.
   *
   * @param sequence of a message that was released to the channel
   * @param by who asks for it, for a trace
   * @throws OperatorError
   */
  async finish(channel: ChannelPartition, sequence: number, by?: TraceName): Promise<void> {
    checkHoles(channel, sequence);
    const { attempts } = messageStatus(channel, sequence);
    if (channel.forceFinish(sequence) !== "finished") return channel.inFlight.trace?.finished(by, sequence, 1, attempts, DETAIL_OPERATOR);
    const found = await this.search(channel, sequence);
    if (channel.deleted || !this.parts.deferred.withdraw(found)) throw new OperatorError("MESSAGE_CHANGED");
    channel.deferrals.finishedInStore();
    channel.inFlight.trace?.finished(by, sequence, 1, found.attempts, DETAIL_OPERATOR);
    // Otherwise a crash could bring it back.
    await this.parts.publishing.untilCommitted();
  }

  /**
   * Has a message delivered again, at once or after a delay, whether it is in flight, waiting or deferred.
   *
   * @param sequence of a message that was released to the channel
   * @param by who asks for it, for a trace
   * @throws OperatorError; PublishError if the deferred store could not be written
   */
  async requeue(channel: ChannelPartition, sequence: number, delayMs: number, by?: TraceName): Promise<void> {
    if (delayMs > 0) checkHoles(channel, sequence);
    const { attempts } = messageStatus(channel, sequence);
    const state = channel.forceRequeue(sequence, delayMs);
    const moved = (deliveries: number) => channel.inFlight.trace?.requeued(by, sequence, deliveries, delayMs, DETAIL_OPERATOR);
    if (state === "finished") await this.requeueStored(channel, sequence, delayMs, moved);
    else if (state !== "waiting") {
      moved(attempts);
      // Otherwise a crash could lose its due time.
      await this.parts.publishing.untilCommitted();
    } else if (delayMs > 0) await this.deferFresh(channel, sequence, delayMs, moved);
  }

  /**
   * Publishes a message's body to another topic, and then finishes the message. A crash in between may leave both, and loses
   * neither. A repeated call within the idempotency window publishes nothing again.
   *
   * @param sequence of a message that was released to the channel
   * @param by who asks for it, for a trace
   * @throws OperatorError; PublishError if it was not published
   */
  async move(channel: ChannelPartition, sequence: number, to: string, by?: TraceName): Promise<void> {
    checkHoles(channel, sequence);
    // Without this, a message that was moved earlier than the window would be published once more.
    if (messageStatus(channel, sequence).state === "finished") await this.search(channel, sequence);
    const { partition } = channel;
    const record = recordAt(partition.log, sequence);
    if (record === undefined) throw new OperatorError("MESSAGE_NOT_FOUND");
    const { buffer, from, to: end } = record;
    const id = buffer.toString("latin1", from + ID_OFFSET, from + ID_OFFSET + MESSAGE_ID_BYTES);
    const body = buffer.subarray(bodyAt(buffer, from), end);
    const header = new HeaderReader();
    header.read(buffer, from);
    const key = buffer.subarray(header.keyFrom, header.keyTo);
    const idempotencyKey = `move ${partition.topic.name} ${channel.name} ${id}`;
    await publishAnywhere(this.parts.publishing, to, { body, key, header: encodedHeader(buffer, from), idempotencyKey, deferMs: 0 });
    await this.finish(channel, sequence, by);
  }

  /** Gives a message in the deferred store another due time. */
  private async requeueStored(
    channel: ChannelPartition,
    sequence: number,
    delayMs: number,
    moved: (attempts: number) => void,
  ): Promise<void> {
    await this.requeueStoredOne(channel, await this.search(channel, sequence), delayMs, moved, false);
  }

  /**
   * Gives a message another due time that a scan of the deferred store has just found there.
   *
   * @param by who asks for it, for a trace
   * @throws OperatorError; PublishError if the deferred store could not be written; UnreadableFile
   */
  async requeueFound(channel: ChannelPartition, found: StoredMessage, delayMs: number, by?: TraceName): Promise<void> {
    const moved = (attempts: number) => channel.inFlight.trace?.requeued(by, found.sequence, attempts, delayMs, DETAIL_OPERATOR);
    await this.requeueStoredOne(channel, found, delayMs, moved, true);
  }

  /** @param isFresh a scan has just found it */
  private async requeueStoredOne(
    channel: ChannelPartition,
    found: StoredMessage,
    delayMs: number,
    moved: (attempts: number) => void,
    isFresh: boolean,
  ): Promise<void> {
    const { sequence, bucket, offset } = found;
    if (bucket !== undefined && !this.parts.deferred.hasEntryAt(bucket, offset)) throw new OperatorError("MESSAGE_CHANGED");
    const frame = channel.deferrals.frameOf(found);
    await this.store(channel, { sequence, attempts: found.attempts, delayMs }, frame, 0, frame.length, (message) => {
      if (!this.parts.deferred.withdraw(found, true, isFresh)) return false;
      channel.deferAgain(message);
      moved(found.attempts);
      return true;
    });
  }

  /** Moves a message that was never delivered out of the backlog into the deferred store. */
  private async deferFresh(channel: ChannelPartition, sequence: number, delayMs: number, moved: (attempts: number) => void): Promise<void> {
    const { log } = channel.partition;
    let stored: Promise<void> | undefined;
    visitRecords(log, sequence, sequence + 1, ({ buffer, from, to }) => {
      stored = this.store(channel, { sequence, attempts: 0, delayMs }, buffer, from, to, (message) => {
        if (messageStatus(channel, sequence).state !== "waiting") return false;
        channel.deferFresh(message);
        moved(0);
        return true;
      });
      return true;
    });
    if (stored === undefined) throw new OperatorError("MESSAGE_NOT_FOUND");
    await stored;
  }

  /** Finds a message in the deferred store. @throws OperatorError MESSAGE_FINISHED if it is not there */
  private async search(channel: ChannelPartition, sequence: number): Promise<StoredMessage> {
    const found = await this.findStored(channel, sequence);
    if (found === undefined) throw new OperatorError("MESSAGE_FINISHED");
    return found;
  }

  /** Finds a message in the deferred store. @returns undefined if it is not there @throws OperatorError; UnreadableFile */
  async findStored(channel: ChannelPartition, sequence: number): Promise<StoredMessage | undefined> {
    if (channel.deferrals.storedCount === 0) return undefined;
    if (this.searches >= MAX_SEARCHES) throw new OperatorError("TOO_MANY_REQUESTS");
    this.searches++;
    try {
      return await findDeferred(this.parts.deferred, channel, sequence);
    } finally {
      this.searches--;
    }
  }

  /**
   * Writes a message to the deferred store.
   *
   * @param move called once the message is written: removes it from where it was, and returns false if it is not there any more
   */
  private store(
    channel: ChannelPartition,
    { sequence, attempts, delayMs }: EntryOf,
    frame: Buffer,
    from: number,
    to: number,
    move: (message: StoredMessage) => boolean,
  ): Promise<void> {
    const { deferred, turn } = this.parts;
    const dueMs = turn.currentMs + delayMs;
    const header = { kind: KIND_REQUEUE, attempts, topicId: 0, channelId: channel.id, dueMs, sequence };
    return new Promise((resolve, reject) => {
      const owner: EntryOwner = {
        stored(staged: StagedEntries, at: number, error: Error | undefined): void {
          if (error !== undefined) return reject(new PublishError(error.message));
          const message = staged.message(at);
          // A seek or an emptying in between makes all entries of the channel void, this one included.
          if (!channel.deleted && channel.deferrals.wantsRequeue(message.number) && move(message)) return resolve();
          deferred.finish(message);
          reject(new OperatorError("MESSAGE_CHANGED"));
        },
      };
      deferred.writer.stage(owner, header, frame, from, to, !channel.persistent);
      turn.schedule();
    });
  }
}

/** @throws OperatorError if the message is in the backlog and too many were taken out of the backlog already */
function checkHoles(channel: ChannelPartition, sequence: number): void {
  if (channel.backlog.skips.length < MAX_HOLES || messageStatus(channel, sequence).state !== "waiting") return;
  throw new OperatorError("TOO_MANY_HOLES");
}
