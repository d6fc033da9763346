import type { Spark } from "../console-api.ts";
import type { Figures } from "./figures.ts";
import { decodeValue, encodeValue, NO_VALUE, orNull } from "./scale.ts";

const SERIES = 3;
/** Nothing has been recorded. */
const NEVER = -1;

/** The last two minutes of a topic, a channel, a broker or all of them. Two values that fall into one step become their mean. */
export class SparkLine {
  private readonly codes: Uint16Array;
  private readonly slots: number;
  private slot = NEVER;
  private samples = 0;

  /** @param stepMs the time between two values */
  constructor(
    private readonly stepMs: number,
    spanMs = 120_000,
  ) {
    this.slots = Math.ceil(spanMs / stepMs);
    this.codes = new Uint16Array(SERIES * this.slots).fill(NO_VALUE);
  }

  /**
   * @param timeMs a clock that does not go back
   * @param coveredMs the time that the figures are about: with slower polls a value stands for several steps
   */
  record(figures: Figures, timeMs: number, coveredMs: number): void {
    const slot = Math.floor(timeMs / this.stepMs);
    const covered = Math.max(1, Math.round(coveredMs / this.stepMs));
    const isSame = slot === this.slot;
    this.samples = isSame ? this.samples + 1 : 1;
    for (let missed = Math.max(this.slot + 1, slot - this.slots + 1); missed < slot; missed++) {
      this.clear(missed);
      if (slot - missed < covered) this.put(missed, figures);
    }
    if (!isSame) this.clear(slot);
    this.slot = slot;
    this.put(slot, figures);
  }

  read(timeMs: number): Spark {
    const now = Math.floor(timeMs / this.stepMs);
    // Between two polls the step that has begun has no value yet.
    const end = now - this.slot <= 1 ? this.slot : now;
    return { step_s: this.stepMs / 1000, in_rate: this.values(0, end), out_rate: this.values(1, end), depth: this.values(2, end) };
  }

  private put(slot: number, { inRate, outRate, depth }: Figures): void {
    this.putMean(slot, 0, inRate);
    this.putMean(slot, 1, outRate);
    this.putMean(slot, 2, depth);
  }

  private putMean(slot: number, series: number, value: number): void {
    const at = series * this.slots + (slot % this.slots);
    if (Number.isNaN(value)) return;
    const before = decodeValue(this.codes[at]!);
    this.codes[at] = encodeValue(Number.isNaN(before) ? value : before + (value - before) / this.samples);
  }

  private clear(slot: number): void {
    for (let series = 0; series < SERIES; series++) this.codes[series * this.slots + (slot % this.slots)] = NO_VALUE;
  }

  private values(series: number, end: number): (number | null)[] {
    const values: (number | null)[] = [];
    for (let slot = end - this.slots + 1; slot <= end; slot++) {
      const isKnown = slot <= this.slot && slot > this.slot - this.slots && slot >= 0;
      values.push(isKnown ? orNull(decodeValue(this.codes[series * this.slots + (slot % this.slots)]!)) : null);
    }
    return values;
  }
}

/** Where nothing is kept. */
export function noSpark(stepMs: number): Spark {
  return { step_s: stepMs / 1000, in_rate: [], out_rate: [], depth: [] };
}
