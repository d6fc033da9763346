const LF = 0x0a;
/** Bytes of the count in front of a batch, and of the size in front of each message. */
const WORD = 4;

/**
 * Lays out the lines of a body as the body of an MPUB: `count:u32be`, then `size:u32be line` each. Empty lines are
 * left out; a CR is part of its line.
 *
 * @returns undefined if a line is longer than `maxMsgSizeBytes`
 */
export function batchOfLines(body: Uint8Array, maxMsgSizeBytes: number): Uint8Array | undefined {
  // As a Buffer: its copy() costs half of set(subarray()), 11 µs for 200 lines of 200 bytes in all.
  const source = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const batch = Buffer.allocUnsafe(WORD + countLines(source) * WORD + source.length);
  let count = 0;
  let filled = WORD;
  for (let start = 0; start < source.length; ) {
    const found = source.indexOf(LF, start);
    const end = found < 0 ? source.length : found;
    const size = end - start;
    if (size > maxMsgSizeBytes) return undefined;
    if (size > 0) {
      batch.writeUInt32BE(size, filled);
      source.copy(batch, filled + WORD, start, end);
      filled += WORD + size;
      count++;
    }
    start = end + 1;
  }
  batch.writeUInt32BE(count, 0);
  return batch.subarray(0, filled);
}

function countLines(body: Buffer): number {
  let lines = 1;
  for (let at = body.indexOf(LF); at >= 0; at = body.indexOf(LF, at + 1)) lines++;
  return lines;
}
