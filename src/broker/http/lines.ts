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
  const lines = countLines(body);
  const batch = Buffer.allocUnsafe(WORD + lines * WORD + body.length);
  let count = 0;
  let filled = WORD;
  for (let start = 0; start < body.length; ) {
    const found = body.indexOf(LF, start);
    const end = found < 0 ? body.length : found;
    const size = end - start;
    if (size > maxMsgSizeBytes) return undefined;
    if (size > 0) {
      batch.writeUInt32BE(size, filled);
      batch.set(body.subarray(start, end), filled + WORD);
      filled += WORD + size;
      count++;
    }
    start = end + 1;
  }
  batch.writeUInt32BE(count, 0);
  return batch.subarray(0, filled);
}

function countLines(body: Uint8Array): number {
  let lines = 1;
  for (let at = body.indexOf(LF); at >= 0; at = body.indexOf(LF, at + 1)) lines++;
  return lines;
}
