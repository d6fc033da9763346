import type { IndexEntry } from "./index-format.ts";
import type { Segment } from "./segment.ts";

/** A piece has this many bytes, or one record. */
const PIECE_BYTES = 16 * 1024;
/** How many pieces are remembered: those of a gibibyte of messages, in less than a mebibyte of memory. */
const MAX_PIECES = 64 * 1024;

/**
 * The pieces of a commit that was read whole and matched its checksum: where each begins, its first record, and its own checksum. With
 * these a part of the commit can be read and checked by itself.
 */
export class CommitPieces {
  /** Offset of each piece in the commit, and the commit's length at the end. */
  private readonly offsets: number[] = [];
  /** How many records the commit has before each piece. */
  private readonly counts: number[] = [];
  private readonly sums: number[] = [];

  /** @param bytes the records of the commit, from the buffer's start on */
  constructor(bytes: Buffer, length: number) {
    let from = 0;
    let count = 0;
    let counted = 0;
    for (let at = 0; at < length; ) {
      const next = Math.min(length, at + 4 + bytes.readUInt32BE(at));
      if (next - from > PIECE_BYTES && at > from) {
        this.add(bytes, from, at, counted);
        from = at;
        counted = count;
      }
      count++;
      at = next;
    }
    this.add(bytes, from, length, counted);
    this.offsets.push(length);
  }

  get length(): number {
    return this.sums.length;
  }

  private add(bytes: Buffer, from: number, to: number, count: number): void {
    this.offsets.push(from);
    this.counts.push(count);
    this.sums.push(Bun.hash.crc32(bytes.subarray(from, to)));
  }

  /** Offset in the commit of the piece that has the record with a number. */
  offsetOfRecord(number: number): number {
    return this.offsets[lastNotAbove(this.counts, this.counts.length, number)];
  }

  /** The pieces from the one at an offset on that have `maxBytes` together; at least one. @param offset in the commit */
  from(offset: number, maxBytes: number): PieceRange {
    const first = lastNotAbove(this.offsets, this.length, offset);
    const from = this.offsets[first];
    let end = first + 1;
    while (end < this.length && this.offsets[end + 1] - from <= maxBytes) end++;
    return { first, end, from, to: this.offsets[end], recordsBefore: this.counts[first] };
  }

  /** Whether bytes that were read are those of the pieces. */
  match(bytes: Buffer, { first, end, from }: PieceRange): boolean {
    for (let i = first; i < end; i++) {
      const piece = bytes.subarray(this.offsets[i] - from, this.offsets[i + 1] - from);
      if (Bun.hash.crc32(piece) !== this.sums[i]) return false;
    }
    return true;
  }
}

/** The pieces `first` to `end` of a commit, which are the bytes from `from` to `to` in it. */
export interface PieceRange {
  first: number;
  end: number;
  from: number;
  to: number;
  /** How many records the commit has before them. */
  recordsBefore: number;
}

/** The pieces of the commits that were read last, of all logs. */
export class PieceCache {
  private readonly bySegment = new WeakMap<Segment, Map<number, CommitPieces>>();
  /** The commits, the one that was used longest ago first. */
  private readonly order = new Map<CommitPieces, { segment: Segment; offset: number }>();
  private count = 0;

  get(segment: Segment, entry: IndexEntry): CommitPieces | undefined {
    const pieces = this.bySegment.get(segment)?.get(entry.offset);
    const place = pieces === undefined ? undefined : this.order.get(pieces);
    if (pieces !== undefined && place !== undefined) {
      this.order.delete(pieces);
      this.order.set(pieces, place);
    }
    return pieces;
  }

  set(segment: Segment, { offset }: IndexEntry, pieces: CommitPieces): void {
    let commits = this.bySegment.get(segment);
    if (commits === undefined) {
      commits = new Map();
      this.bySegment.set(segment, commits);
    }
    const known = commits.get(offset);
    if (known !== undefined) this.forget(known);
    commits.set(offset, pieces);
    this.order.set(pieces, { segment, offset });
    this.count += pieces.length;
    for (const oldest of this.order.keys()) {
      if (this.count <= MAX_PIECES || oldest === pieces) return;
      this.forget(oldest);
    }
  }

  /** To be called when other commits take the place of a segment's. */
  forgetSegment(segment: Segment): void {
    for (const pieces of this.bySegment.get(segment)?.values() ?? []) this.forget(pieces);
  }

  private forget(pieces: CommitPieces): void {
    const place = this.order.get(pieces);
    if (place === undefined) return;
    this.order.delete(pieces);
    this.count -= pieces.length;
    this.bySegment.get(place.segment)?.delete(place.offset);
  }
}

/** Index of the last of the first `length` values, which ascend, that is not above one. The first is not. */
function lastNotAbove(values: readonly number[], length: number, value: number): number {
  let low = 0;
  let high = length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (values[middle] <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}
