import type { Range } from "../topics/channel/progress.ts";

const PAGE_BITS = 16;
const PAGE_SEQUENCES = 1 << PAGE_BITS;
/** A longer list would take more memory than a bit for each sequence of the page. */
const MOST_LISTED = 4096;
const FIRST_LISTED = 8;

/** The members among PAGE_SEQUENCES neighbouring sequences: a sorted list while they are few, otherwise a bit for each sequence. */
interface Page {
  count: number;
  list: Uint16Array;
  bits: Uint32Array | undefined;
}

/**
 * A set of sequences of one log, made for millions of members: sparse ones take two bytes each, dense ones a bit. Its pages are
 * those of roaring bitmaps (https://roaringbitmap.org).
 */
export class SequenceSet {
  size = 0;
  /** One more than the highest member. */
  next = 0;
  private readonly pages = new Map<number, Page>();

  /** @returns false if it was a member already */
  add(sequence: number): boolean {
    const number = Math.floor(sequence / PAGE_SEQUENCES);
    const low = sequence % PAGE_SEQUENCES;
    let page = this.pages.get(number);
    if (page === undefined) {
      page = { count: 0, list: new Uint16Array(FIRST_LISTED), bits: undefined };
      this.pages.set(number, page);
    }
    if (!(page.bits === undefined ? addToList(page, low) : addBit(page.bits, low))) return false;
    page.count++;
    this.size++;
    if (sequence >= this.next) this.next = sequence + 1;
    return true;
  }

  /** The ranges of neighbouring members from `from` on, ascending. */
  *rangesFrom(from: number): Generator<Range> {
    let start = -1;
    let end = -1;
    for (const [number, page] of [...this.pages].sort(([a], [b]) => a - b)) {
      if ((number + 1) * PAGE_SEQUENCES <= from) continue;
      for (const low of members(page)) {
        const sequence = number * PAGE_SEQUENCES + low;
        if (sequence < from) continue;
        if (sequence !== end) {
          if (start >= 0) yield { from: start, to: end };
          start = sequence;
        }
        end = sequence + 1;
      }
    }
    if (start >= 0) yield { from: start, to: end };
  }
}

function addToList(page: Page, low: number): boolean {
  const { list, count } = page;
  // Sequences mostly come in order, and then no search is needed.
  let at = count;
  if (count > 0 && list[count - 1] >= low) {
    at = lowerBound(list, count, low);
    if (list[at] === low) return false;
  }
  if (count === MOST_LISTED) {
    page.bits = new Uint32Array(PAGE_SEQUENCES / 32);
    for (let i = 0; i < count; i++) addBit(page.bits, list[i]);
    page.list = new Uint16Array(0);
    return addBit(page.bits, low);
  }
  if (count === list.length) {
    page.list = new Uint16Array(Math.min(2 * count, MOST_LISTED));
    page.list.set(list);
  }
  page.list.copyWithin(at + 1, at, count);
  page.list[at] = low;
  return true;
}

function addBit(bits: Uint32Array, low: number): boolean {
  const mask = 1 << (low & 31);
  if ((bits[low >>> 5] & mask) !== 0) return false;
  bits[low >>> 5] |= mask;
  return true;
}

function* members({ count, list, bits }: Page): Generator<number> {
  if (bits === undefined) {
    for (let i = 0; i < count; i++) yield list[i];
    return;
  }
  for (let low = 0; low < PAGE_SEQUENCES; low++) if ((bits[low >>> 5] & (1 << (low & 31))) !== 0) yield low;
}

function lowerBound(list: Uint16Array, count: number, low: number): number {
  let first = 0;
  let last = count;
  while (first < last) {
    const middle = (first + last) >>> 1;
    if (list[middle] < low) first = middle + 1;
    else last = middle;
  }
  return first;
}
