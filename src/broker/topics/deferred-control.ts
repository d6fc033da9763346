import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import type { StoredMessage } from "../storage/deferred/stored-message.ts";
import { DETAIL_OPERATOR } from "../trace/record.ts";
import type { TraceName } from "../trace/trace-name.ts";
import type { ChannelPartition } from "./channel/channel-partition.ts";
import type { Checkpointer } from "./checkpointer.ts";
import { storedMessages } from "./inspect/deferred-search.ts";
import { messagesIn } from "./inspect/message-status.ts";
import type { MessageControl } from "./message-control.ts";
import { OperatorError } from "./operator-error.ts";
import type { Publishing } from "./publishing.ts";

/** How many calls may go through the deferred store at the same time: each reads all of its files. */
const MAX_CALLS = 2;
/** How many are delivered in one turn: the frame of each is read, and written. */
const AT_ONCE = 128;
/** The store is gone through again as long as something was found: entries move to finer buckets, and are loaded, meanwhile. */
const MAX_PASSES = 8;

/** What deferred control works with. */
export interface DeferredControlParts {
  readonly deferred: DeferredStore;
  readonly messageControl: MessageControl;
  readonly publishing: Publishing;
  readonly checkpointer: Checkpointer;
}

/**
 * Finishes or delivers all deferred messages of a channel for operators. Those are meant that were requeued with a delay. Deferred
 * publishes belong to the topic, and stay.
 */
export class DeferredControl {
  private calls = 0;

  constructor(private readonly parts: DeferredControlParts) {}

  /**
   * Finishes the deferred messages.
   *
   * @param by who asks for it, for a trace
   * @returns how many there were
   * @throws OperatorError; UnreadableFile if not all could be read
   */
  finishAll(part: ChannelPartition, by?: TraceName): Promise<number> {
    return this.run(async (before) => {
      const { deferred, publishing } = this.parts;
      let count = this.finishInMemory(part, by);
      count += await this.forEachStored(part, before, (messages) => {
        for (const message of messages) {
          if (!deferred.withdraw(message, false, true)) continue;
          part.deferrals.finishedInStore();
          part.inFlight.trace?.finished(by, message.sequence, 1, message.attempts, DETAIL_OPERATOR);
        }
      });
      // Otherwise a crash could bring them back.
      await publishing.untilCommitted();
      return count;
    });
  }

  private finishInMemory(part: ChannelPartition, by: TraceName | undefined): number {
    const { inFlight, deferrals } = part;
    const messages = messagesIn(part, "deferred", 0, Number.POSITIVE_INFINITY);
    for (const { sequence, attempts } of messages) {
      inFlight.withdraw(sequence);
      const stored = inFlight.remove(sequence);
      if (stored !== undefined) deferrals.finish(stored);
      inFlight.trace?.finished(by, sequence, 1, attempts, DETAIL_OPERATOR);
    }
    if (messages.length === 0) return 0;
    part.markProgress();
    if (this.parts.checkpointer.saveChannel(part) !== undefined) throw new OperatorError("NOT_SAVED");
    return messages.length;
  }

  /**
   * Has the deferred messages delivered now that are due before a time.
   *
   * @param by who asks for it, for a trace
   * @returns how many there were
   * @throws OperatorError; UnreadableFile if not all could be read; PublishError if the deferred store could not be written
   */
  deliverAll(part: ChannelPartition, dueBeforeMs: number, by?: TraceName): Promise<number> {
    return this.run(async (before) => {
      const { messageControl, publishing } = this.parts;
      let count = 0;
      for (const { sequence, attempts, deadlineMs } of messagesIn(part, "deferred", 0, Number.POSITIVE_INFINITY)) {
        if (deadlineMs > dueBeforeMs) continue;
        part.forceRequeue(sequence, 0);
        part.inFlight.trace?.requeued(by, sequence, attempts, 0, DETAIL_OPERATOR);
        count++;
      }
      count += await this.forEachStored(part, before, async (messages) => {
        const due = messages.filter(({ dueMs }) => dueMs <= dueBeforeMs);
        for (let at = 0; at < due.length; at += AT_ONCE) {
          const some = due.slice(at, at + AT_ONCE);
          await Promise.all(some.map((message) => messageControl.requeueFound(part, message, 0, by).catch(ignoreChange)));
        }
        return due.length;
      });
      await publishing.untilCommitted();
      return count;
    });
  }

  private async run(work: (before: number) => Promise<number>): Promise<number> {
    if (this.calls >= MAX_CALLS) throw new OperatorError("TOO_MANY_REQUESTS");
    this.calls++;
    try {
      return await work(this.parts.deferred.nextNumber);
    } finally {
      this.calls--;
    }
  }

  /**
   * Goes through the channel's messages in the store, with turns for others in between.
   *
   * @param before entries with this number or a higher one are not meant
   * @param act does something with some; how many of them, if not all
   * @returns with how many in all
   */
  private async forEachStored(
    part: ChannelPartition,
    before: number,
    act: (messages: StoredMessage[]) => undefined | Promise<number>,
  ): Promise<number> {
    let total = 0;
    for (let pass = 0; pass < MAX_PASSES && part.deferrals.storedCount > 0; pass++) {
      let found = 0;
      for await (const messages of storedMessages(this.parts.deferred, part)) {
        if (part.deleted) return total;
        const meant = messages.filter(({ number }) => number < before);
        found += (await act(meant)) ?? meant.length;
      }
      if (found === 0) break;
      total += found;
    }
    return total;
  }
}

/** Somebody else did something with the message meanwhile. */
function ignoreChange(error: unknown): void {
  if (!(error instanceof OperatorError) || error.code !== "MESSAGE_CHANGED") throw error;
}
