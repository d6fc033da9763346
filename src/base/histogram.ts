/** Counts values by ranges. Recording allocates nothing. */
export class Histogram {
  /** How many values were in each range; the last one has no upper bound. */
  readonly counts: Float64Array;
  sum = 0;
  /** The range of the last value and its ends. Mostly the next value is in it too, and no bound is searched. */
  private lastRange = 0;
  private above = Number.NEGATIVE_INFINITY;
  private upTo: number;

  /** @param bounds the upper bounds of the ranges, ascending. A value that equals a bound is below it. */
  constructor(readonly bounds: Float64Array) {
    this.counts = new Float64Array(bounds.length + 1);
    this.upTo = bounds[0];
  }

  get count(): number {
    return this.counts.reduce((sum, count) => sum + count, 0);
  }

  /** The number of the range that a value is in. */
  rangeOf(value: number): number {
    return value > this.above && value <= this.upTo ? this.lastRange : this.searchRange(value);
  }

  private searchRange(value: number): number {
    const { bounds } = this;
    let range = 0;
    while (range < bounds.length && value > bounds[range]) range++;
    this.lastRange = range;
    this.above = range > 0 ? bounds[range - 1] : Number.NEGATIVE_INFINITY;
    this.upTo = range < bounds.length ? bounds[range] : Number.POSITIVE_INFINITY;
    return range;
  }

  /** Records one value. */
  recordOne(value: number): void {
    this.counts[this.rangeOf(value)]++;
    this.sum += value;
  }

  /** Records `count` values that are in the same range. @param value their mean */
  record(value: number, count = 1): void {
    this.recordIn(this.rangeOf(value), value, count);
  }

  /** Records `count` values of a range that is known. @param value their mean */
  recordIn(range: number, value: number, count: number): void {
    this.counts[range] += count;
    this.sum += value * count;
  }

  /** Records a run of `count` values that ascend or descend, if its ends are in the same range. @returns false if they are not */
  recordEnds(first: number, last: number, count: number): boolean {
    const range = this.rangeOf(first);
    if (range !== this.rangeOf(last)) return false;
    this.recordIn(range, (first + last) / 2, count);
    return true;
  }

  /** Another one with what this one has recorded so far. */
  copy(): Histogram {
    const copy = new Histogram(this.bounds);
    copy.add(this);
    return copy;
  }

  /** Adds what another one with the same bounds has recorded. */
  add(other: Histogram): void {
    const { counts } = this;
    for (let range = 0; range < counts.length; range++) counts[range] += other.counts[range];
    this.sum += other.sum;
  }
}

/** What a run of values is read from. */
export interface ValueReader {
  /** The value of the message with a sequence. */
  valueOf(sequence: number): number;
}

/**
 * Records the values of `count` messages from `first` on, which ascend or descend. The ends of a part in one range are searched by
 * bisection: mostly the whole run is in one, and costs two reads, however long it is.
 */
export function recordRun(histogram: Histogram, reader: ValueReader, first: number, count: number): void {
  const last = first + count - 1;
  const lastValue = reader.valueOf(last);
  const lastRange = histogram.rangeOf(lastValue);
  if (count === 1) return histogram.recordIn(lastRange, lastValue, 1);
  for (let from = first; from <= last; ) {
    const value = reader.valueOf(from);
    const range = histogram.rangeOf(value);
    if (range === lastRange) {
      histogram.recordIn(range, (value + lastValue) / 2, last + 1 - from);
      return;
    }
    let low = from + 1;
    let high = last;
    while (low < high) {
      const middle = low + Math.floor((high - low) / 2);
      if (histogram.rangeOf(reader.valueOf(middle)) === range) low = middle + 1;
      else high = middle;
    }
    histogram.recordIn(range, (value + reader.valueOf(low - 1)) / 2, low - from);
    from = low;
  }
}

/** Upper bounds for durations, ms: from what one turn of the event loop takes to what a backlog waits. */
const DURATION_BOUNDS_MS = Float64Array.of(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 30_000, 300_000);

/** A histogram of durations, ms. */
export function newDurations(): Histogram {
  return new Histogram(DURATION_BOUNDS_MS);
}
