import type { Chunk } from "../../storage/log/chunk.ts";
import { ELSEWHERE } from "../locality.ts";
import type { Consumer } from "./consumer.ts";
import { ChannelDeferral } from "./deferral.ts";
import { IN_FLIGHT } from "./window.ts";

/** One consumer's run in one turn, at most: longer ones would keep the others waiting. */
const MAX_RUN_BYTES = 1024 * 1024;
/** Tried messages of an earlier run that are taken into the window in one turn. */
const TRIED_PER_TURN = 512;
/** Between floor and cursor of a topic without files. */
const MAX_MEMORY_SPAN_BYTES = 8 * 1024 * 1024;
/** Redeliveries in one turn: each may be a read of its own, and nobody should wait for thousands. */
const AGAIN_PER_TURN = 256;

/** How a channel's messages come to its consumers: who is given how many, in runs of new ones and singly those that come again. */
export abstract class ChannelDelivery extends ChannelDeferral {
  /** Which consumer is served first in the next dispatch. */
  private turn = 0;
  /** Redeliveries that this turn may still make. */
  private againLeft = 0;
  /** Whether the odd place in a run goes to a message that comes again. */
  private againTurn = false;

  /** Hands messages to the consumers that are ready for some, until the one or the other runs out. */
  dispatch(nowMs: number): void {
    this.dirty = false;
    if (this.deleted) return;
    this.boundLag();
    if (this.paused) return;
    this.againLeft = AGAIN_PER_TURN;
    for (;;) {
      this.takeUp();
      const available = this.ready.length + this.freshCount;
      if (available === 0) return;
      let takers = 0;
      let nearest = ELSEWHERE;
      for (const consumer of this.consumers) {
        if (consumer.nearness > nearest || consumer.capacity === 0) continue;
        if (consumer.nearness < nearest) takers = 0;
        nearest = consumer.nearness;
        takers++;
      }
      if (takers === 0) return;
      // A few messages are spread over all takers; a flood fills each in one run.
      const share = Math.ceil(available / takers);
      let delivered = 0;
      const count = this.consumers.length;
      const first = this.turn % count;
      this.turn = first + 1;
      for (let i = 0; i < count; i++) {
        const consumer = this.consumers[(first + i) % count];
        const want = consumer.nearness > nearest ? 0 : Math.min(consumer.capacity, share);
        if (want > 0) delivered += this.serve(consumer, want, nowMs);
      }
      this.deliveredBy[nearest] += delivered;
      if (delivered === 0) break;
      this.markUnsaved();
    }
    if (this.againLeft === 0) this.markDirty();
  }

  /** Gives a consumer up to `want` messages. @returns how many it got */
  protected serve(consumer: Consumer, want: number, nowMs: number): number {
    // Messages that keep coming back must not shut the new ones out, nor the other way round: half and half,
    // the odd one in turn.
    const again = this.freshCount > 0 ? (want + (this.againTurn ? 1 : 0)) >> 1 : want;
    if (want & 1) this.againTurn = !this.againTurn;
    let given = this.redeliver(consumer, Math.min(again, this.ready.length), nowMs);
    while (given < want && consumer.capacity > 0) {
      const fresh = this.deliverRun(consumer, want - given, nowMs);
      if (fresh === 0) break;
      given += fresh;
    }
    if (given < want && consumer.capacity > 0) given += this.redeliver(consumer, Math.min(want - given, this.ready.length), nowMs);
    return given;
  }

  /** One contiguous run of new messages to one consumer: one write, no copy. @returns how many were used up */
  protected deliverRun(consumer: Consumer, want: number, nowMs: number): number {
    const { window } = this;
    if (this.skips.length > 0 || this.tried.length > 0) this.takeUp();
    const bound = Math.min(this.skips[0]?.from ?? Number.POSITIVE_INFINITY, this.tried[0]?.from ?? Number.POSITIVE_INFINITY);
    let limit = Math.min(want, this.topic.released - window.cursor, bound - window.cursor);
    if (limit <= 0) return 0;
    if (window.room < limit || window.room < window.capacity / 8) this.makeRoom();
    else if (this.spansTooMuchMemory()) this.moveStragglers();
    limit = Math.min(limit, window.room);
    if (limit <= 0) return 0;
    const chunk = this.freshChunk();
    if (chunk === undefined) return 0;
    if (consumer.sampleRate > 0) return this.deliverSampled(consumer, chunk, nowMs);
    const from = chunk.offsetOf(this.cursorPosition);
    const deadlineMs = nowMs + consumer.msgTimeoutMs;
    const count = window.takeRun(
      chunk.view,
      chunk.start,
      from,
      chunk.end - chunk.start,
      limit,
      MAX_RUN_BYTES,
      consumer.id,
      nowMs,
      deadlineMs,
    );
    this.cursorPosition = chunk.start + window.runEnd;
    this.inFlightCount += count;
    this.expectDeadline(deadlineMs);
    consumer.sendRun(chunk, from, window.runEnd, count);
    return count;
  }

  /** One new message to a consumer that asked for a sample; one that the dice leave out is finished, as in nsqd. */
  protected deliverSampled(consumer: Consumer, chunk: Chunk, nowMs: number): number {
    const { window } = this;
    const from = chunk.offsetOf(this.cursorPosition);
    const sequence = window.cursor;
    const deadlineMs = nowMs + consumer.msgTimeoutMs;
    window.takeRun(chunk.view, chunk.start, from, chunk.end - chunk.start, 1, MAX_RUN_BYTES, consumer.id, nowMs, deadlineMs);
    this.cursorPosition = chunk.start + window.runEnd;
    if (Math.floor(Math.random() * 100) > consumer.sampleRate) {
      window.finish(sequence);
      this.topic.markReleasable();
    } else {
      this.inFlightCount++;
      this.expectDeadline(deadlineMs);
      consumer.sendRun(chunk, from, window.runEnd, 1);
    }
    return 1;
  }

  protected redeliver(consumer: Consumer, count: number, nowMs: number): number {
    const { window } = this;
    const deadlineMs = nowMs + consumer.msgTimeoutMs;
    let given = 0;
    for (; given < count && consumer.capacity > 0 && this.againLeft > 0; given++) {
      this.againLeft--;
      const sequence = this.ready.shift();
      const message = this.detachedAt(sequence);
      if (message === undefined) {
        const i = sequence & window.mask;
        const chunk = this.topic.log.chunkAt(window.position[i], false);
        if (chunk.isGap) {
          window.finish(sequence);
          this.settled();
          continue;
        }
        const at = chunk.offsetOf(window.position[i]);
        window.state[i] = IN_FLIGHT;
        window.owner[i] = consumer.id;
        window.deadlineMs[i] = deadlineMs;
        window.deliveredAtMs[i] = nowMs;
        if (window.attempts[i] < 0xffff) window.attempts[i]++;
        consumer.sendAgain(chunk.buffer, at, at + 4 + chunk.view.getUint32(at), window.attempts[i]);
      } else {
        const frame = this.parts.scratch.reserve(message.frameBytes);
        this.parts.deferred.readFrame(message, frame, 0);
        message.state = IN_FLIGHT;
        message.owner = consumer.id;
        message.deadlineMs = deadlineMs;
        message.deliveredAtMs = nowMs;
        if (message.attempts < 0xffff) message.attempts++;
        consumer.sendAgain(frame, 0, message.frameBytes, message.attempts);
      }
      this.inFlightCount++;
      this.expectDeadline(deadlineMs);
    }
    return given;
  }

  /** An ephemeral topic or channel keeps the newest messages, up to --mem-queue-size; a slow reader loses the oldest. */
  protected boundLag(): void {
    if (this.persistent) return;
    const excess = this.depth - this.parts.options.memQueueSize;
    if (excess <= 0) return;
    const to = Math.min(this.topic.released, this.window.cursor + excess);
    if (to <= this.window.cursor) return;
    this.skip(this.window.cursor, to);
    this.takeUp();
    this.topic.markReleasable();
  }

  /** Moves the cursor over what is finished already, and takes what an earlier run tried into the window as ready. */
  protected takeUp(): void {
    const { window } = this;
    for (;;) {
      const skip = this.skips[0];
      const tries = this.tried[0];
      if (skip !== undefined && window.cursor >= skip.from) {
        const to = window.unfinished === 0 ? skip.to : Math.min(skip.to, window.cursor + window.room);
        this.skippedCount -= Math.max(0, to - Math.max(window.cursor, skip.from));
        if (to > window.cursor) {
          window.skipTo(to);
          this.cursorPosition = this.topic.log.locate(window.cursor);
        }
        if (to < skip.to) {
          skip.from = to;
          if (!this.makeRoom()) return;
          continue;
        }
        this.skips.shift();
      } else if (tries !== undefined && window.cursor >= tries.from) {
        if (window.cursor >= tries.to) {
          this.tried.shift();
          continue;
        }
        if (this.ready.length >= TRIED_PER_TURN) return;
        const end = Math.min(tries.to, this.topic.released, skip?.from ?? Number.POSITIVE_INFINITY);
        if (window.cursor >= end || !this.takeTried(end, tries.attempts)) return;
        tries.from = window.cursor;
      } else {
        return;
      }
    }
  }

  protected takeTried(end: number, attempts: number): boolean {
    const { window } = this;
    const chunk = this.freshChunk();
    if (chunk === undefined) return true;
    const limit = Math.min(end - window.cursor, window.room, TRIED_PER_TURN);
    if (limit <= 0) return this.makeRoom();
    const from = window.cursor;
    const taken = window.takeRun(
      chunk.view,
      chunk.start,
      chunk.offsetOf(this.cursorPosition),
      chunk.end - chunk.start,
      limit,
      MAX_RUN_BYTES,
      0,
      0,
      0,
    );
    this.cursorPosition = chunk.start + window.runEnd;
    for (let sequence = from; sequence < from + taken; sequence++) {
      window.attempts[sequence & window.mask] = attempts;
      this.makeReady(sequence);
    }
    return true;
  }

  /** The chunk at the cursor; records that are damaged are skipped, loudly (the log said so). */
  protected freshChunk(): Chunk | undefined {
    const chunk = this.topic.log.chunkAt(this.cursorPosition, true);
    if (!chunk.isGap) return chunk;
    this.skip(this.window.cursor, chunk.nextSequence);
    this.markDirty();
    return undefined;
  }

  /** In a topic that has no files, what lies between floor and cursor is in memory: one held message must not keep much of it there. */
  protected spansTooMuchMemory(): boolean {
    const { window } = this;
    if (this.topic.log.files !== undefined || window.floor === window.cursor) return false;
    return this.cursorPosition - window.position[window.floor & window.mask] > MAX_MEMORY_SPAN_BYTES;
  }
}
