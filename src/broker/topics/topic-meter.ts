import { Histogram } from "../../base/histogram.ts";
import { type RateStep, Rates } from "../../base/rates.ts";
import { KnownTime } from "./inspect/oldest.ts";

/** Upper bounds for sizes of messages, in bytes: powers of four. */
const SIZE_BOUNDS = Float64Array.of(64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304);
const SIZE_WORD_BYTES = 4;

/** A histogram of messages' sizes. */
export function newSizes(): Histogram {
  return new Histogram(SIZE_BOUNDS);
}

/** Measures a topic: the sizes of its messages, and how fast they come. */
export class TopicMeter {
  private readonly recorded = newSizes();
  /** The size of the last messages, and how many in a row had it: these are recorded together. */
  private size = 0;
  private inRow = 0;
  readonly rates = new Rates(1);
  /** When its oldest message was published that no channel has. */
  readonly oldest = new KnownTime();

  /** Sizes of the messages that were published since the broker started, those included whose write failed. */
  get sizes(): Histogram {
    this.recordRow();
    return this.recorded;
  }

  /** Records messages of one size. */
  recordSize(bytes: number, count: number): void {
    if (bytes !== this.size) {
      this.recordRow();
      this.size = bytes;
    }
    this.inRow += count;
  }

  private recordRow(): void {
    this.recorded.record(this.size, this.inRow);
    this.inRow = 0;
  }

  /** Records the messages of an MPUB body that was checked: their size words and bodies are in [from, to). */
  recordBatch(source: Buffer, from: number, to: number, count: number): void {
    const first = source.readUInt32BE(from);
    // Mostly all are of one size, and nothing is done for each.
    if ((first + SIZE_WORD_BYTES) * count === to - from) return this.recordSize(first, count);
    for (let at = from, left = count; left > 0; left--) {
      const size = source.readUInt32BE(at);
      this.recordSize(size, 1);
      at += SIZE_WORD_BYTES + size;
    }
  }

  /** To be called once per second. @param messageCount messages that were published since the broker started */
  sample(messageCount: number, step: RateStep): void {
    this.rates.sample(0, messageCount, step);
  }
}
