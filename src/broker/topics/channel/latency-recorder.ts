import { TIMESTAMP_OFFSET } from "../../../frame/frame.ts";
import type { Timestamp } from "../../../frame/layout.ts";
import { type LatencySketch, LatencyWindow } from "../../latency/latency-window.ts";
import type { StoredMessage } from "../../storage/deferred/stored-message.ts";
import type { TopicParts } from "../topic-parts.ts";
import type { InFlight } from "./in-flight.ts";
import type { Window } from "./window.ts";

const TWO_32 = 2 ** 32;
/** Times are counted from the start of the process: a double holds 104 days in ns exactly, but not a Unix time in ns. */
const EPOCH_HIGH = Math.floor((Date.now() * 1e6) / TWO_32);

/** A message's timestamp in ns since the start of the process, from its two 32-bit halves. */
export function sinceStartNs(high: number, low: number): number {
  return (high - EPOCH_HIGH) * TWO_32 + low;
}

function timeSinceStartNs({ high, low }: Timestamp): number {
  return sinceStartNs(high, low);
}

/** Notes in the window when the messages of a run were published. Their chunk may be gone when they are finished. */
export function notePublished(window: Window, view: DataView, chunkStart: number, first: number, count: number): void {
  const { publishedNs, position, mask } = window;
  if (publishedNs === undefined) return;
  for (let sequence = first; sequence < first + count; sequence++) {
    const i = sequence & mask;
    const at = ((position[i] - chunkStart) | 0) + TIMESTAMP_OFFSET;
    publishedNs[i] = sinceStartNs(view.getUint32(at), view.getUint32(at + 4));
  }
}

/**
 * Measures how long a channel's messages take from publish to FIN. Channels have a recorder only if the broker is asked for
 * percentiles; without one, each run and each FIN costs a comparison.
 */
export class LatencyRecorder {
  private readonly latencies: LatencyWindow;

  /**
   * @param window keeps when its messages were published
   * @param channel what the log calls the channel
   */
  constructor(
    private readonly window: Window,
    private readonly parts: TopicParts,
    private readonly channel: string,
  ) {
    this.latencies = new LatencyWindow(parts.options.e2eProcessingLatencyWindowTimeMs, parts.turn.nowMs);
  }

  /** Records the latencies of messages in the window that are finished. */
  recordRun(first: number, count: number): void {
    const { publishedNs, mask } = this.window;
    if (publishedNs === undefined) return;
    const { time, nowMs } = this.parts.turn;
    const now = timeSinceStartNs(time);
    for (let sequence = first; sequence < first + count; sequence++) this.latencies.record(now - publishedNs[sequence & mask], nowMs);
  }

  /** Records the latency of a message that is about to be finished. */
  record(sequence: number, inFlight: Pick<InFlight, "detachedAt" | "leftAt">): void {
    const stored = inFlight.detachedAt(sequence);
    if (stored !== undefined) return this.recordStored(stored);
    const left = inFlight.leftAt(sequence);
    if (left === undefined) this.recordRun(sequence, 1);
    else this.recordSince(left.publishedNs);
  }

  private recordSince(publishedNs: number): void {
    const { time, nowMs } = this.parts.turn;
    this.latencies.record(timeSinceStartNs(time) - publishedNs, nowMs);
  }

  private recordStored(stored: StoredMessage): void {
    const { deferred, scratch, logger } = this.parts;
    const frame = scratch.reserve(stored.frameBytes);
    try {
      deferred.readFrame(stored, frame, 0);
    } catch (error) {
      // The message can be finished all the same.
      logger.warn(`${this.channel}: cannot measure a message's latency: ${(error as Error).message}`);
      return;
    }
    this.recordSince(sinceStartNs(frame.readUInt32BE(TIMESTAMP_OFFSET), frame.readUInt32BE(TIMESTAMP_OFFSET + 4)));
  }

  addTo(sketch: LatencySketch): void {
    this.latencies.addTo(sketch, this.parts.turn.nowMs);
  }
}
