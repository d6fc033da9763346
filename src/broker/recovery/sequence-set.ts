import type { Range } from "../topics/channel/progress.ts";

const PAGE_BITS = 16;
const PAGE_SEQUENCES = 1 << PAGE_BITS;
/** A list of more entries than this is larger than a bit for each sequence of the page. */
const MOST_LISTED = 4096;
const FIRST_LISTED = 8;

/** Of a page's sequences: a list as long as they are few, else a bit for each. */
interface Page {
  count: number;
  list: Uint16Array;
  bits: Uint32Array | undefined;
}

/**
 * A set of sequences of one log, for millions of them: two bytes each where they are thin, a bit where they are dense.
 * Pages as in roaring bitmaps (https://roaringbitmap.org).
 */
export class SequenceSet {
  size = 0;
  /** After the highest. */
  next = 0;
  private readonly pages = new Map<number, Page>();

  /** @returns false: it was there */
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

  /** Runs of neighbouring sequences, ascending, from `from` on. */
  *rangesFrom(from: number): Generator<Range> {
    let start = -1;
    let end = -1;
    for (const number of [...this.pages.keys()].sort((a, b) => a - b)) {
      if ((number + 1) * PAGE_SEQUENCES <= from) continue;
      for (const low of members(this.pages.get(number) as Page)) {
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
  // Sequences mostly come in order: then the first look is the last.
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
