import type { Chunk } from "../../storage/log/chunk.ts";
import type { TopicLog } from "../../storage/log/topic-log.ts";
import { ELSEWHERE } from "../locality.ts";
import type { TopicParts } from "../topic-parts.ts";
import type { Backlog } from "./backlog.ts";
import type { Consumer } from "./consumer.ts";
import type { InFlight } from "./in-flight.ts";
import type { ChannelSignals } from "./signals.ts";

/** Redeliveries in one turn: each may be a read of its own, and nobody should wait for thousands. */
const REDELIVERIES_PER_TURN = 256;

/** Hands a channel's messages to its consumers: who gets how many, in runs of new ones and singly those that come again. */
export class Dispatcher {
  /** Messages that went to consumers in the broker's zone, in its region, and elsewhere (locality.ts). */
  readonly deliveredBy: [zone: number, region: number, elsewhere: number] = [0, 0, 0];
  /** Which consumer is served first in the next dispatch. */
  private turn = 0;
  /** Redeliveries that this turn may still make. */
  private redeliveriesLeft = 0;
  /** Whether the odd message of a consumer's share is the next time one that comes again. */
  private oddIsRedelivery = false;

  /** @param consumers the channel adds and removes them */
  constructor(
    private readonly consumers: readonly Consumer[],
    private readonly log: TopicLog,
    private readonly backlog: Backlog,
    private readonly inFlight: InFlight,
    private readonly parts: Pick<TopicParts, "deferred" | "scratch">,
    private readonly signals: ChannelSignals,
  ) {}

  /** Hands messages to the consumers that are ready for some, until either run out. */
  dispatch(nowMs: number): void {
    const { backlog, consumers } = this;
    const { ready } = this.inFlight;
    this.redeliveriesLeft = REDELIVERIES_PER_TURN;
    for (;;) {
      backlog.advance();
      const available = ready.length + backlog.freshCount;
      if (available === 0) return;
      let takers = 0;
      let nearest = ELSEWHERE;
      for (const consumer of consumers) {
        if (consumer.nearness > nearest || consumer.capacity === 0) continue;
        if (consumer.nearness < nearest) takers = 0;
        nearest = consumer.nearness;
        takers++;
      }
      if (takers === 0) return;
      // A few messages are spread over all takers; a flood fills each in one run.
      const share = Math.ceil(available / takers);
      let delivered = 0;
      const count = consumers.length;
      const first = this.turn % count;
      this.turn = first + 1;
      for (let i = 0; i < count; i++) {
        const consumer = consumers[(first + i) % count];
        const want = consumer.nearness > nearest ? 0 : Math.min(consumer.capacity, share);
        if (want > 0) delivered += this.serve(consumer, want, nowMs);
      }
      this.deliveredBy[nearest] += delivered;
      if (delivered === 0) break;
      this.signals.markUnsaved();
    }
    if (this.redeliveriesLeft === 0) this.signals.markDirty();
  }

  /** Gives a consumer up to `want` messages. @returns how many it got */
  private serve(consumer: Consumer, want: number, nowMs: number): number {
    const { ready } = this.inFlight;
    // Messages that keep coming back must not shut the new ones out, nor the other way round: half and half,
    // the odd one in turn.
    const again = this.backlog.freshCount > 0 ? (want + (this.oddIsRedelivery ? 1 : 0)) >> 1 : want;
    if (want & 1) this.oddIsRedelivery = !this.oddIsRedelivery;
    let given = this.redeliver(consumer, Math.min(again, ready.length), nowMs);
    while (given < want && consumer.capacity > 0) {
      const fresh = this.deliverRun(consumer, want - given, nowMs);
      if (fresh === 0) break;
      given += fresh;
    }
    if (given < want && consumer.capacity > 0) given += this.redeliver(consumer, Math.min(want - given, ready.length), nowMs);
    return given;
  }

  /** One contiguous run of new messages to one consumer: one write, no copy. @returns how many were used up */
  private deliverRun(consumer: Consumer, want: number, nowMs: number): number {
    const { backlog, inFlight } = this;
    const limit = backlog.runLimit(want);
    if (limit <= 0) return 0;
    const chunk = backlog.chunk();
    if (chunk === undefined) return 0;
    if (consumer.sampleRate > 0) return this.deliverSampled(consumer, chunk, nowMs);
    const from = chunk.offsetOf(backlog.position);
    const deadlineMs = nowMs + consumer.msgTimeoutMs;
    const count = backlog.take(chunk, limit, consumer.id, nowMs, deadlineMs);
    inFlight.addRun(count, deadlineMs);
    consumer.sendRun(chunk, from, inFlight.window.runEnd, count);
    return count;
  }

  /** One new message to a consumer that asked for a sample; one that the dice leave out is finished, as in nsqd. */
  private deliverSampled(consumer: Consumer, chunk: Chunk, nowMs: number): number {
    const { backlog, inFlight } = this;
    const { window } = inFlight;
    const from = chunk.offsetOf(backlog.position);
    const sequence = window.cursor;
    const deadlineMs = nowMs + consumer.msgTimeoutMs;
    backlog.take(chunk, 1, consumer.id, nowMs, deadlineMs);
    if (Math.floor(Math.random() * 100) > consumer.sampleRate) {
      window.finish(sequence);
      this.signals.markTrimmable();
    } else {
      inFlight.addRun(1, deadlineMs);
      consumer.sendRun(chunk, from, window.runEnd, 1);
    }
    return 1;
  }

  /** Up to `count` messages that are ready again. @returns how many were used up */
  private redeliver(consumer: Consumer, count: number, nowMs: number): number {
    const { inFlight } = this;
    const deadlineMs = nowMs + consumer.msgTimeoutMs;
    let given = 0;
    for (; given < count && consumer.capacity > 0 && this.redeliveriesLeft > 0; given++) {
      this.redeliveriesLeft--;
      this.redeliverOne(consumer, inFlight.ready.shift(), nowMs, deadlineMs);
    }
    return given;
  }

  private redeliverOne(consumer: Consumer, sequence: number, nowMs: number, deadlineMs: number): void {
    const { inFlight, log } = this;
    const { deferred, scratch } = this.parts;
    const stored = inFlight.detachedAt(sequence);
    if (stored !== undefined) {
      const frame = scratch.reserve(stored.frameBytes);
      deferred.readFrame(stored, frame, 0);
      consumer.sendAgain(frame, 0, stored.frameBytes, inFlight.redeliver(sequence, consumer.id, nowMs, deadlineMs));
      return;
    }
    const position = inFlight.window.position[sequence & inFlight.window.mask];
    const chunk = log.chunkAt(position, false);
    if (!chunk.isGap) {
      const at = chunk.offsetOf(position);
      const to = at + 4 + chunk.view.getUint32(at);
      consumer.sendAgain(chunk.buffer, at, to, inFlight.redeliver(sequence, consumer.id, nowMs, deadlineMs));
    } else {
      // Damaged on the disk: it cannot be delivered, and is finished.
      inFlight.remove(sequence);
      this.signals.markProgress();
    }
  }
}
