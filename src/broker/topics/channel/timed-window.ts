import { TIMESTAMP_OFFSET } from "../../../frame/frame.ts";
import type { Timestamp } from "../../../frame/layout.ts";
import { Window } from "./window.ts";

const TWO_32 = 2 ** 32;
/** A double holds differences of 104 days exactly in ns, and a Unix time in ns not: so times are counted from here. */
const EPOCH_HIGH = Math.floor((Date.now() * 1e6) / TWO_32);

/** A message's timestamp in ns since the start of the process, from its two 32-bit halves. */
export function sinceStartNs(high: number, low: number): number {
  return (high - EPOCH_HIGH) * TWO_32 + low;
}

export function timeSinceStartNs({ high, low }: Timestamp): number {
  return sinceStartNs(high, low);
}

/** A window that also knows when each of its messages was published: the chunk may be gone when it is finished. */
export class TimedWindow extends Window {
  /** ns since the start of the process, in the places of the window's other arrays. */
  published = new Float64Array(this.capacity);

  override takeRun(...run: Parameters<Window["takeRun"]>): number {
    const [view, chunkStart] = run;
    const first = this.cursor;
    const count = super.takeRun(...run);
    const { published, position, mask } = this;
    for (let sequence = first; sequence < first + count; sequence++) {
      const i = sequence & mask;
      const at = ((position[i] - chunkStart) | 0) + TIMESTAMP_OFFSET;
      published[i] = sinceStartNs(view.getUint32(at), view.getUint32(at + 4));
    }
    return count;
  }

  override grow(): boolean {
    const { published: old, mask: oldMask } = this;
    if (!super.grow()) return false;
    this.published = new Float64Array(this.capacity);
    for (let sequence = this.floor; sequence < this.cursor; sequence++) {
      this.published[sequence & this.mask] = old[sequence & oldMask];
    }
    return true;
  }

  override shrink(): void {
    super.shrink();
    if (this.published.length !== this.capacity) this.published = new Float64Array(this.capacity);
  }
}
