import type { Random } from "../../../support/random.ts";

/** A disk writes a sector completely or not at all. */
const SECTOR_BYTES = 512;

/** What a power cut may leave of a write that was not synced. @param content what the file has on the disk */
export function tornWrite(content: Buffer, bytes: Buffer, offset: number, random: Random): Buffer {
  return keep(content, bytes, offset, torn(bytes, offset, random));
}

/** What may be left of a write: its beginning, or some of its sectors beside zeros or garbage, or all of it with a flipped bit. */
function torn(bytes: Buffer, offset: number, random: Random): Buffer {
  const left = Buffer.from(bytes);
  const way = random.int(0, 3);
  if (way === 0) return left.subarray(0, random.int(0, bytes.length));
  for (let at = -(offset % SECTOR_BYTES); at < bytes.length; at += SECTOR_BYTES) {
    if (random.chance(0.5)) continue;
    const from = Math.max(0, at);
    const to = Math.min(bytes.length, at + SECTOR_BYTES);
    if (way === 1) left.fill(0, from, to);
    else for (let i = from; i < to; i++) left[i] = random.int(0, 255);
  }
  if (way === 3) return flipped(bytes, random);
  return left;
}

/**
 * What a torn write may not change. A sector that the file has is overwritten completely or not at all, so a write within one is not
 * torn. Bytes of a sector that are written as they are there already stay, also where the write goes on behind the end of the file: what
 * a failed sync has lost is written again in its place, and the last sector of a file may have been synced before it was full.
 */
function keep(content: Buffer, bytes: Buffer, offset: number, left: Buffer): Buffer {
  if (
    offset + bytes.length <= content.length &&
    Math.floor(offset / SECTOR_BYTES) === Math.floor((offset + bytes.length - 1) / SECTOR_BYTES)
  )
    return bytes;
  for (let at = 0; at < left.length; ) {
    const end = Math.min(left.length, at + SECTOR_BYTES - ((offset + at) % SECTOR_BYTES));
    const present = bytes.subarray(at, Math.max(at, Math.min(end, content.length - offset)));
    if (present.equals(content.subarray(offset + at, offset + at + present.length))) present.copy(left, at);
    at = end;
  }
  return left;
}

function flipped(bytes: Buffer, random: Random): Buffer {
  const left = Buffer.from(bytes);
  if (left.length > 0) left[random.int(0, left.length - 1)] ^= 1 << random.int(0, 7);
  return left;
}
