import { newDurations, recordRun, type ValueReader } from "../../../base/histogram.ts";
import { type RateStep, Rates } from "../../../base/rates.ts";
import { TIMESTAMP_OFFSET } from "../../../frame/frame.ts";
import type { Timestamp } from "../../../frame/layout.ts";
import { KnownTime } from "../inspect/oldest.ts";
import type { Turn } from "../turn.ts";
import type { InFlight } from "./in-flight.ts";
import type { LatencyRecorder } from "./latency-recorder.ts";
import type { Window } from "./window.ts";

const TWO_32 = 2 ** 32;
const NS_PER_MS = 1e6;

/** The counters of a channel that have rates, in the order of its Rates. */
export const CHANNEL_RATES = ["in", "out", "finish", "requeue", "timeout"] as const;

/** The counters of a channel that its meter does not keep. */
export interface CountedChannel {
  readonly messageCount: number;
  readonly requeueCount: number;
  readonly timeoutCount: number;
}

/** Reads how old the messages of a run are, ms: from the timestamps in their frames. */
class Ages implements ValueReader {
  view: DataView = new DataView(new ArrayBuffer(0));
  chunkStart = 0;

  constructor(
    private readonly window: Window,
    private readonly time: Timestamp,
  ) {}

  /** The age of the message whose frame begins at an offset. */
  at(view: DataView, offset: number): number {
    const { high, low } = this.time;
    const at = offset + TIMESTAMP_OFFSET;
    return ((high - view.getUint32(at)) * TWO_32 + (low - view.getUint32(at + 4))) / NS_PER_MS;
  }

  valueOf(sequence: number): number {
    const { position, mask } = this.window;
    return this.at(this.view, (position[sequence & mask] - this.chunkStart) | 0);
  }
}

/** Reads how long ago the messages of a run were delivered, ms. */
class HoldTimes implements ValueReader {
  constructor(
    private readonly window: Window,
    private readonly turn: Pick<Turn, "nowMs">,
  ) {}

  valueOf(sequence: number): number {
    return this.turn.nowMs - this.window.deliveredAtMs[sequence & this.window.mask];
  }
}

/**
 * Measures a channel: how long its messages take to their first delivery and from delivery to FIN, and how fast its counters grow.
 * A run of messages costs two reads and an addition, and nothing is allocated. A run of one, as each delivery to a slow consumer is,
 * takes the short way: its value is read and counted without a reader.
 */
export class ChannelMeter {
  /** Messages that went to consumers since the broker started, each as often as it went. */
  deliveredCount = 0;
  /** Messages that consumers have finished since the broker started. */
  finishedCount = 0;
  /** Messages that were finished because a filter did not take them. */
  filteredCount = 0;
  /** From a message's timestamp to its first delivery, ms. */
  readonly toDelivery = newDurations();
  /** From a message's last delivery to its FIN, ms. */
  readonly toFinish = newDurations();
  readonly rates = new Rates(CHANNEL_RATES.length);
  /** When its oldest message was published. */
  readonly oldest = new KnownTime();
  private readonly ages: Ages;
  private readonly holdTimes: HoldTimes;

  /** @param recorder undefined in a broker that is not asked for percentiles */
  constructor(
    window: Window,
    private readonly turn: Pick<Turn, "nowMs" | "time">,
    readonly recorder: LatencyRecorder | undefined,
  ) {
    this.ages = new Ages(window, turn.time);
    this.holdTimes = new HoldTimes(window, turn);
  }

  /**
   * Messages of the window go to a consumer for the first time.
   *
   * @param view of the chunk that has their frames, which begins at position `chunkStart`
   * @param from offset of the first frame in it
   */
  onDeliver(view: DataView, chunkStart: number, from: number, first: number, count: number): void {
    const age = this.ages.at(view, from);
    if (count === 1) this.toDelivery.recordOne(age);
    else this.onDeliverRun(view, chunkStart, age, first, count);
  }

  private onDeliverRun(view: DataView, chunkStart: number, age: number, first: number, count: number): void {
    const { ages, toDelivery } = this;
    ages.view = view;
    ages.chunkStart = chunkStart;
    if (!toDelivery.recordEnds(age, ages.valueOf(first + count - 1), count)) recordRun(toDelivery, ages, first, count);
  }

  /** A consumer finishes a message. To be called before it is removed. */
  onFinish(deliveredAtMs: number, sequence: number, inFlight: InFlight): void {
    this.finishedCount++;
    this.toFinish.recordOne(this.turn.nowMs - deliveredAtMs);
    if (this.recorder !== undefined) this.recorder.record(sequence, inFlight);
  }

  /** A consumer has finished messages in a row that are in the window. */
  onFinishRun(first: number, count: number): void {
    this.finishedCount += count;
    const { holdTimes, toFinish } = this;
    const time = holdTimes.valueOf(first);
    if (count === 1) toFinish.recordOne(time);
    else if (!toFinish.recordEnds(time, holdTimes.valueOf(first + count - 1), count)) recordRun(toFinish, holdTimes, first, count);
    if (this.recorder !== undefined) this.recorder.recordRun(first, count);
  }

  /** To be called once per second. */
  sample({ messageCount, requeueCount, timeoutCount }: CountedChannel, step: RateStep): void {
    const { rates } = this;
    rates.sample(0, messageCount, step);
    rates.sample(1, this.deliveredCount, step);
    rates.sample(2, this.finishedCount, step);
    rates.sample(3, requeueCount, step);
    rates.sample(4, timeoutCount, step);
  }
}
