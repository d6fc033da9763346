import { empty, Refusal } from "../../http/server/reply.ts";
import { PublishError } from "../acks/pending-publish.ts";
import { KIND_REQUEUE } from "../storage/deferred/entry.ts";
import type { EntryOwner, StagedEntries } from "../storage/deferred/staged-entries.ts";
import type { StoredMessage } from "../storage/deferred/stored-message.ts";
import { visitRecords } from "../storage/log/records.ts";
import type { Channel } from "../topics/channel/channel.ts";
import { findDeferred } from "../topics/inspect/deferred-search.ts";
import { messageStatus } from "../topics/inspect/message-status.ts";
import { existingChannel } from "./arguments.ts";
import type { HttpCall } from "./call.ts";
import { idArgument } from "./messages.ts";
import { deferral } from "./pub.ts";

// An operator's word on one message, whoever has it.

/** What is looked for in the deferred store at the same time: each look reads files. */
const MAX_SEARCHES = 4;
let searches = 0;
/** Places in a channel's backlog that are left out one by one: each is a part of what is saved of the channel. */
const MAX_LEFT_OUT = 10_000;

/** POST /message/finish?topic=&channel=&id=: the channel is done with the message, be it in flight, waiting or deferred. */
export async function finishMessage(call: HttpCall): Promise<Response> {
  const { channel, sequence } = target(call);
  checkRoom(channel, sequence);
  if (channel.forceFinish(sequence) === "finished") {
    const found = await search(call, channel, sequence);
    if (channel.deleted || !call.broker.deferred.withdraw(found)) throw changed();
    channel.deferrals.finishedInStore();
    // So that it is not there again after a crash.
    await call.broker.publishing.untilCommitted();
  }
  log(call, channel, "finished");
  return empty();
}

/**
 * POST /message/requeue?topic=&channel=&id=[&defer=ms]: the message comes again, at once or after a delay, be it in flight,
 * waiting or deferred.
 */
export async function requeueMessage(call: HttpCall): Promise<Response> {
  const { broker } = call;
  const { channel, sequence } = target(call);
  const delayMs = deferral(call.query, broker.options.maxReqTimeoutMs);
  if (delayMs > 0) checkRoom(channel, sequence);
  const state = channel.forceRequeue(sequence, delayMs);
  if (state === "finished") {
    const found = await search(call, channel, sequence);
    const frame = channel.deferrals.frameOf(found);
    await stage(call, channel, { sequence, attempts: found.attempts, delayMs }, frame, 0, frame.length, (message) => {
      if (!broker.deferred.withdraw(found)) return false;
      channel.deferAgain(message);
      return true;
    });
  } else if (state === "waiting") {
    if (delayMs > 0) await stageFresh(call, channel, sequence, delayMs);
  } else {
    // So that its due time is known after a crash.
    await broker.publishing.untilCommitted();
  }
  log(call, channel, `requeued for ${delayMs} ms`);
  return empty();
}

/** @throws Refusal 400, 404, 409 */
function target(call: HttpCall): { channel: Channel; sequence: number } {
  const channel = existingChannel(call);
  const { topic } = channel;
  const sequence = idArgument(call, topic);
  if (sequence >= topic.log.committedNext) throw new Refusal(404, "MESSAGE_NOT_FOUND");
  // Of a paused topic: the channel has not got it yet.
  if (sequence >= topic.released) throw new Refusal(409, "MESSAGE_NOT_IN_CHANNEL");
  return { channel, sequence };
}

/** @throws Refusal 503 for one of the backlog, when too many are left out of it already */
function checkRoom(channel: Channel, sequence: number): void {
  if (channel.backlog.skips.length < MAX_LEFT_OUT || messageStatus(channel, sequence).state !== "waiting") return;
  throw new Refusal(503, "TOO_MANY_LEFT_OUT");
}

/** @throws Refusal 409 MESSAGE_FINISHED when the deferred store does not have it either */
async function search(call: HttpCall, channel: Channel, sequence: number): Promise<StoredMessage> {
  if (channel.deferrals.storedCount === 0) throw new Refusal(409, "MESSAGE_FINISHED");
  if (searches >= MAX_SEARCHES) throw new Refusal(503, "TOO_MANY_REQUESTS");
  searches++;
  try {
    const found = await findDeferred(call.broker.deferred, channel, sequence);
    if (found === undefined) throw new Refusal(409, "MESSAGE_FINISHED");
    return found;
  } finally {
    searches--;
  }
}

/** Takes a message that was never delivered out of its turn, into the deferred store. */
async function stageFresh(call: HttpCall, channel: Channel, sequence: number, delayMs: number): Promise<void> {
  const { log } = channel.topic;
  let staged: Promise<void> | undefined;
  visitRecords(log, sequence, sequence + 1, ({ buffer, from, to }) => {
    staged = stage(call, channel, { sequence, attempts: 0, delayMs }, buffer, from, to, (message) => {
      if (messageStatus(channel, sequence).state !== "waiting") return false;
      channel.deferFresh(message);
      return true;
    });
    return true;
  });
  if (staged === undefined) throw new Refusal(404, "MESSAGE_NOT_FOUND");
  await staged;
}

/**
 * Writes a message to the deferred store.
 *
 * @param settle told once it is there, and takes the message out of where it was; false when it is there no more
 * @throws Refusal 409 then; PublishError when it could not be written
 */
function stage(
  { broker }: HttpCall,
  channel: Channel,
  { sequence, attempts, delayMs }: { sequence: number; attempts: number; delayMs: number },
  frame: Buffer,
  from: number,
  to: number,
  settle: (message: StoredMessage) => boolean,
): Promise<void> {
  const dueMs = broker.turn.currentMs + delayMs;
  const header = { kind: KIND_REQUEUE, attempts, topicId: channel.topic.id, channelId: channel.id, dueMs, sequence };
  return new Promise((resolve, reject) => {
    const owner: EntryOwner = {
      stored(staged: StagedEntries, at: number, error: Error | undefined): void {
        if (error !== undefined) return reject(new PublishError(error.message));
        const message = staged.message(at);
        // A seek or an emptying in between made all entries of the channel void, this one too.
        if (!channel.deleted && broker.registry.wanted(message) && settle(message)) return resolve();
        broker.deferred.finish(message);
        reject(changed());
      },
    };
    broker.deferred.writer.stage(owner, header, frame, from, to, !channel.persistent);
    broker.turn.schedule();
  });
}

/** It was delivered, finished or moved while the store was being read or written. */
function changed(): Refusal {
  return new Refusal(409, "MESSAGE_CHANGED");
}

function log({ broker, query }: HttpCall, channel: Channel, what: string): void {
  broker.logger.info(`CHANNEL(${channel.name}) of ${channel.topic.name}: message ${query.get("id")} ${what} over HTTP`);
}
