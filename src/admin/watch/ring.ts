import { BLOCK_VALUES, type BlockPool } from "./block-pool.ts";
import { NO_VALUE } from "./scale.ts";

/** No slot has been written. */
const NEVER = -1;

/**
 * The last `slots` values of every series, at equal steps. Time is counted in slots since 1970, so all series agree where they are.
 *
 * A series has a reference for each block of its ring: either to a block of the pool, or, below 0, to the one value that it had all
 * the time. Most series of most channels never change: they are quiet, or nothing is deferred, requeued or timed out. Such a
 * series has no block at all.
 */
export class Ring {
  /** One block more than `slots` needs, because the oldest and the newest are partly filled. */
  private readonly blocksPerSeries: number;
  private refs = new Int32Array(0);
  /** The first slot of each series and its last one. */
  private first = new Float64Array(0);
  private last = new Float64Array(0);
  private newestBlock = NEVER;

  /**
   * @param stepMs the length of a slot
   * @param slots how many a series keeps
   */
  constructor(
    private readonly pool: BlockPool,
    readonly stepMs: number,
    readonly slots: number,
  ) {
    this.blocksPerSeries = Math.ceil(slots / BLOCK_VALUES) + 1;
  }

  get bytes(): number {
    return this.refs.byteLength + this.first.byteLength + this.last.byteLength;
  }

  /** The slot that a moment belongs to. */
  slotOf(timeMs: number): number {
    return Math.floor(timeMs / this.stepMs);
  }

  /** Makes room for this many series. */
  reserve(series: number): void {
    const refs = new Int32Array(series * this.blocksPerSeries).fill(refToConstant(NO_VALUE));
    refs.set(this.refs);
    const first = new Float64Array(series).fill(NEVER);
    first.set(this.first);
    const last = new Float64Array(series).fill(NEVER);
    last.set(this.last);
    Object.assign(this, { refs, first, last });
  }

  /** Gives the series' blocks back: it begins anew with its next value. */
  clear(series: number): void {
    for (let ring = 0; ring < this.blocksPerSeries; ring++) this.setRef(series, ring, refToConstant(NO_VALUE));
    this.first[series] = NEVER;
    this.last[series] = NEVER;
  }

  /** Writes the value of a slot. Slots that were left out have no value; a slot that was written before is not changed. */
  write(series: number, slot: number, code: number): void {
    const last = this.last[series]!;
    if (slot <= last) return;
    if (last === NEVER || slot - last > this.slots) {
      this.clear(series);
      // What a series that begins without a value lacks, it lacks before its beginning: that costs nothing.
      if (code === NO_VALUE) return;
      this.first[series] = slot;
    } else {
      for (let missed = last + 1; missed < slot; missed++) this.put(series, missed, NO_VALUE);
    }
    this.put(series, slot, code);
    this.last[series] = slot;
  }

  /** The code of a slot. */
  read(series: number, slot: number): number {
    const last = this.last[series]!;
    if (slot > last || slot < this.first[series]! || slot <= last - this.slots) return NO_VALUE;
    const ref = this.refs[series * this.blocksPerSeries + this.ringIndex(slot)]!;
    return isConstant(ref) ? constantOf(ref) : this.pool.get(ref, slot % BLOCK_VALUES);
  }

  /** Frees the oldest blocks of all series, but not those that are being written. @returns false if there is none */
  dropOldest(): boolean {
    const current = this.newestBlock;
    for (let block = current - this.blocksPerSeries + 1; block < current; block++) {
      const ring = ringIndexOf(block, this.blocksPerSeries);
      let dropped = false;
      for (let at = ring; at < this.refs.length; at += this.blocksPerSeries) {
        if (isConstant(this.refs[at]!)) continue;
        this.pool.give(this.refs[at]!);
        this.refs[at] = refToConstant(NO_VALUE);
        dropped = true;
      }
      if (dropped) return true;
    }
    return false;
  }

  private put(series: number, slot: number, code: number): void {
    const block = Math.floor(slot / BLOCK_VALUES);
    this.newestBlock = Math.max(this.newestBlock, block);
    const ring = this.ringIndex(slot);
    const index = slot % BLOCK_VALUES;
    const begins = index === 0 || slot === this.first[series];
    if (begins) return this.setRef(series, ring, refToConstant(code));
    const ref = this.refs[series * this.blocksPerSeries + ring]!;
    if (!isConstant(ref)) return this.pool.fill(ref, index, index + 1, code);
    if (constantOf(ref) === code) return;
    const taken = this.pool.take();
    // Where there is no memory for a block, nothing is better than a wrong value.
    if (taken === undefined) return this.setRef(series, ring, refToConstant(NO_VALUE));
    this.pool.fill(taken, 0, index, constantOf(ref));
    this.pool.fill(taken, index, index + 1, code);
    this.setRef(series, ring, taken);
  }

  private setRef(series: number, ring: number, ref: number): void {
    const at = series * this.blocksPerSeries + ring;
    const before = this.refs[at]!;
    if (!isConstant(before) && before !== ref) this.pool.give(before);
    this.refs[at] = ref;
  }

  private ringIndex(slot: number): number {
    return ringIndexOf(Math.floor(slot / BLOCK_VALUES), this.blocksPerSeries);
  }
}

function ringIndexOf(block: number, blocks: number): number {
  return ((block % blocks) + blocks) % blocks;
}

function refToConstant(code: number): number {
  return -1 - code;
}

function isConstant(ref: number): boolean {
  return ref < 0;
}

function constantOf(ref: number): number {
  return -1 - ref;
}
