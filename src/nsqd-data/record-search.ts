import { readPrefix, readSequence } from "../frame/id.ts";
import { readUpTo, type SourceFiles } from "./files.ts";
import { BODY_OFFSET, ID_BYTES, ID_OFFSET, SIZE_BYTES, TIMESTAMP_OFFSET } from "./message-layout.ts";

/** Highest byte of a timestamp (ns since 1970) before the year 2116. */
const LATEST_TIMESTAMP = 0x3f;

/** Scratch space for the header of the record after a candidate. */
const neighbour = Buffer.alloc(BODY_OFFSET);

/**
 * Size of the record at an offset in a buffer, if one begins there and the file has all of it; else 0. nsqd checks only the
 * size word. The id is what tells a record from other bytes: nsqd's are always 16 lower-case hex digits, which random bytes
 * are once in 2^64. Before a body that begins with hex digits the id matches one byte too late as well; the check of the
 * timestamp refuses most of these.
 *
 * @param at the buffer has BODY_OFFSET bytes from here on
 * @param left bytes that the file has from here on
 */
export function recordBytesAt(buffer: Buffer, at: number, left: number): number {
  const bytes = SIZE_BYTES + buffer.readUInt32BE(at);
  if (bytes < BODY_OFFSET || bytes > left || buffer[at + TIMESTAMP_OFFSET] > LATEST_TIMESTAMP) return 0;
  return readPrefix(buffer, at + ID_OFFSET) >= 0 && readSequence(buffer, at + ID_OFFSET) >= 0 ? bytes : 0;
}

/**
 * Finds the next whole record that is followed by another record or by the end of the file. A search may find records inside
 * a body, if a publisher put them there; that is why it is only used after damage.
 *
 * Measured, reading included: 0.6 ns a byte for text, of which mostly each 16th byte is looked at, and 4 ns for hex digits.
 *
 * @param buffer is overwritten
 * @param from first offset in the file to try
 * @param end size of the file
 * @returns offset in the file, or `end`
 */
export function findRecord(files: SourceFiles, fd: number, buffer: Buffer, from: number, end: number, maxMessageBytes: number): number {
  for (let start = from; start + BODY_OFFSET <= end; ) {
    const loaded = readUpTo(files, fd, buffer, Math.min(buffer.length, end - start), start);
    if (loaded < BODY_OFFSET) break;
    let at = 0;
    while (at + BODY_OFFSET <= loaded) {
      // This byte belongs to the id of every record that begins at one of the 16 offsets from `at` on.
      if (!isHexDigit(buffer[at + BODY_OFFSET - 1])) {
        at += ID_BYTES;
        continue;
      }
      const bytes = recordBytesAt(buffer, at, end - start - at);
      if (bytes > 0 && bytes <= SIZE_BYTES + maxMessageBytes && isFollowed(files, fd, start + at + bytes, end)) return start + at;
      at++;
    }
    start += at;
  }
  return end;
}

/** Whether another record, or too few bytes for one, follow a record that ends at an offset. */
export function isFollowed(files: SourceFiles, fd: number, offset: number, end: number): boolean {
  if (offset + BODY_OFFSET > end) return true;
  return readUpTo(files, fd, neighbour, BODY_OFFSET, offset) === BODY_OFFSET && recordBytesAt(neighbour, 0, end - offset) > 0;
}

function isHexDigit(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x61 && byte <= 0x66);
}
