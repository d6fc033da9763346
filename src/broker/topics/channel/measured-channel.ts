import { TIMESTAMP_OFFSET } from "../../../frame/frame.ts";
import { type LatencySketch, LatencyWindow } from "../../latency/latency-window.ts";
import type { StoredMessage } from "../../storage/deferred/stored-message.ts";
import type { Topic } from "../topic.ts";
import type { TopicParts } from "../topic-parts.ts";
import { Channel } from "./channel.ts";
import type { Consumer } from "./consumer.ts";
import { sinceStartNs, TimedWindow, timeSinceStartNs } from "./timed-window.ts";
import { IN_FLIGHT } from "./window.ts";

/**
 * A channel that measures how long its messages took from publish to FIN. A broker has either these or plain ones, by
 * its flags: so a broker that measures nothing has not one instruction more for it, and calls stay monomorphic.
 */
export class MeasuredChannel extends Channel {
  private readonly timed: TimedWindow;
  private readonly latencies: LatencyWindow;

  constructor(parts: TopicParts, topic: Topic, id: number, name: string, floor: number, position: number) {
    const timed = new TimedWindow(floor);
    super(parts, topic, id, name, floor, position, timed);
    this.timed = timed;
    this.latencies = new LatencyWindow(parts.options.e2eProcessingLatencyWindowTimeMs, parts.turn.nowMs);
  }

  override finish(consumer: Consumer, sequence: number): string | undefined {
    const message = this.detachedAt(sequence);
    const { timed } = this;
    const published = message === undefined ? timed.published[sequence & timed.mask] : this.storedTimeNs(message);
    const failure = super.finish(consumer, sequence);
    if (failure === undefined && !Number.isNaN(published)) {
      const { time, nowMs } = this.parts.turn;
      this.latencies.record(timeSinceStartNs(time) - published, nowMs);
    }
    return failure;
  }

  override finishRun(consumer: Consumer, first: number, count: number): number {
    const finished = super.finishRun(consumer, first, count);
    const { published, mask } = this.timed;
    const { time, nowMs } = this.parts.turn;
    const now = timeSinceStartNs(time);
    for (let sequence = first; sequence < first + finished; sequence++) {
      this.latencies.record(now - published[sequence & mask], nowMs);
    }
    return finished;
  }

  override addLatencies(sketch: LatencySketch): void {
    this.latencies.addTo(sketch, this.parts.turn.nowMs);
  }

  /** A straggler's or a requeued message's, which left the window: from its frame. NaN if that cannot be read. */
  private storedTimeNs(message: StoredMessage): number {
    // Its FIN will be refused, and nobody looks at this.
    if (message.state !== IN_FLIGHT) return Number.NaN;
    const frame = this.parts.scratch.reserve(message.frameBytes);
    try {
      this.parts.deferred.readFrame(message, frame, 0);
    } catch (error) {
      // It is finished all the same: the consumer has it.
      this.parts.logger.warn(`CHANNEL(${this.name}) of ${this.topic.name}: a message's latency is not known: ${(error as Error).message}`);
      return Number.NaN;
    }
    return sinceStartNs(frame.readUInt32BE(TIMESTAMP_OFFSET), frame.readUInt32BE(TIMESTAMP_OFFSET + 4));
  }
}
