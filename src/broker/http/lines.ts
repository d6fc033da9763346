const LF = 0x0a;
/** The bytes of the count before a batch, and of the size before each message. */
const WORD = 4;

/**
 * Makes the body of an MPUB of the lines of a body: `count:u32be`, then `size:u32be line` for each. Empty lines are skipped. A
 * CR is a part of its line.
 *
 * @returns undefined if a line is longer than `maxMsgSizeBytes`
 */
export function batchOfLines(body: Uint8Array, maxMsgSizeBytes: number): Uint8Array | undefined {
  // A Buffer, because its copy() costs half of set(subarray()): 11 µs for 200 lines of 200 bytes together.
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
