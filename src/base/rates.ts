const AVERAGED_S = [60, 300] as const;
/** The last interval, about a minute, and about five. */
export const RATE_WINDOWS = 3;
/** An average that decays is 0 from here on. */
const LEAST_RATE = 0.0005;

/** How fast averages follow, for one interval between samples. */
export interface RateStep {
  seconds: number;
  /** The weights of the interval in the averages over 1 and 5 minutes. */
  weights: readonly [number, number];
}

export function rateStep(seconds: number): RateStep {
  const [minute, fiveMinutes] = AVERAGED_S;
  return { seconds, weights: [1 - Math.exp(-seconds / minute), 1 - Math.exp(-seconds / fiveMinutes)] };
}

/**
 * Rates of some counters, per second: in the last interval, and averaged over about 1 and 5 minutes, where what is longer ago counts
 * less and less, as in the load average of a system.
 */
export class Rates {
  /** For each counter its last value and its three rates. */
  private readonly values: Float64Array;

  constructor(counters: number) {
    this.values = new Float64Array(counters * 4);
  }

  /** Takes a sample of a counter. It costs a comparison for a counter that has been still for long. */
  sample(counter: number, total: number, { seconds, weights }: RateStep): void {
    const { values } = this;
    const at = counter * 4;
    const grown = total - values[at];
    if (grown === 0 && values[at + 3] === 0 && values[at + 1] === 0) return;
    values[at] = total;
    // A counter that went back has no rate.
    const rate = grown > 0 ? grown / seconds : 0;
    values[at + 1] = rate;
    values[at + 2] = follow(values[at + 2], rate, weights[0]);
    values[at + 3] = follow(values[at + 3], rate, weights[1]);
  }

  /** Adds a counter's three rates to a list of three. */
  addTo(list: number[], counter: number): void {
    const at = counter * 4;
    for (let i = 0; i < 3; i++) list[i] += this.values[at + 1 + i];
  }

  /** @param window 0: the last second, 1: a minute, 2: five minutes */
  rate(counter: number, window: number): number {
    return this.values[counter * 4 + 1 + window];
  }
}

function follow(average: number, rate: number, weight: number): number {
  const next = average + weight * (rate - average);
  return next < LEAST_RATE ? 0 : next;
}
