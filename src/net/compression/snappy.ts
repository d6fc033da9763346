import { freeBuffer, freeNativeBuffer } from "../../base/free-buffer.ts";
import { lazy } from "../../base/lazy.ts";
import { BLOCK_BYTES, Compressor } from "./compressor.ts";
import { CorruptStream, type Decompressor } from "./decompressor.ts";

// Snappy's framing format: https://github.com/google/snappy/blob/main/framing_format.txt

const COMPRESSED = 0x00;
const UNCOMPRESSED = 0x01;
/** A reader must not skip a chunk of an unknown type up to this one. */
const LAST_UNSKIPPABLE = 0x7f;
const STREAM_IDENTIFIER = 0xff;
const IDENTIFIER_TEXT = Buffer.from("sNaPpY", "latin1");
const IDENTIFIER = Buffer.concat([Buffer.from([STREAM_IDENTIFIER, IDENTIFIER_TEXT.length, 0, 0]), IDENTIFIER_TEXT]);

/** The type and the length of a chunk. */
const HEADER_BYTES = 4;
const CHECKSUM_BYTES = 4;
/** The longest that a block of n bytes can become: 32 + n + n / 6. */
const MAX_COMPRESSED_BYTES = 76_490;
const MAX_CHUNK_BYTES = CHECKSUM_BYTES + MAX_COMPRESSED_BYTES;
/** The CRC-32C of 123456789, from its specification. */
const PROBE_CHECKSUM = 0xe3069283;
/** Shorter blocks are not worth compressing. */
const MIN_COMPRESSED_BYTES = 64;

/** The output of any connection. It is used up before the next block. */
const output = Buffer.allocUnsafeSlow(IDENTIFIER.length + HEADER_BYTES + MAX_CHUNK_BYTES);

/**
 * Tries snappy's native modules. Those in a compiled binary have to be unpacked to the temporary directory first.
 *
 * @returns why snappy cannot be offered; undefined if it can
 */
export function probeSnappy(): Error | undefined {
  try {
    const probe = Buffer.from("123456789");
    const whole = (lazy.snappy.uncompressSync(lazy.snappy.compressSync(probe), { asBuffer: true }) as Buffer).equals(probe);
    return whole && lazy.crc32.crc32c(probe) === PROBE_CHECKSUM ? undefined : new Error("what it decompresses is not what it compressed");
  } catch (error) {
    return error as Error;
  }
}

/** Compresses into snappy's framing format, in which each block can be read by itself. */
export class SnappyCompressor extends Compressor {
  private begun = false;

  protected override compress(block: Buffer, length: number): void {
    let at = 0;
    if (!this.begun) {
      this.begun = true;
      at = IDENTIFIER.copy(output);
    }
    const plain = block.subarray(0, length);
    const compressed = length < MIN_COMPRESSED_BYTES ? plain : lazy.snappy.compressSync(plain);
    // A block that hardly shrinks is sent uncompressed, which costs the client less.
    const shrunk = compressed.length < length - (length >> 3);
    const data = shrunk ? compressed : plain;
    output[at] = shrunk ? COMPRESSED : UNCOMPRESSED;
    output.writeUIntLE(CHECKSUM_BYTES + data.length, at + 1, 3);
    output.writeUInt32LE(maskedChecksum(plain), at + HEADER_BYTES);
    at += HEADER_BYTES + CHECKSUM_BYTES;
    at += data.copy(output, at);
    if (compressed !== plain) freeNativeBuffer(compressed);
    this.emit(output, 0, at);
  }
}

/** Decompresses snappy's framing format and verifies its checksums. */
export class SnappyDecompressor implements Decompressor {
  readonly ended = false;
  /** Unused bytes are in [at, end) of this buffer, which was fed, or is our own and holds several that were fed. */
  private input: Buffer = Buffer.alloc(0);
  private at = 0;
  private end = 0;
  private ours = false;
  private begun = false;
  /** The last block. It is freed at the next call of next(), when the caller no longer uses it. */
  private lent: Buffer | undefined;
  /** The bytes that next() needs to continue. */
  private needed = HEADER_BYTES;

  get waiting(): boolean {
    return this.end - this.at >= this.needed;
  }

  feed(data: Buffer): void {
    const left = this.end - this.at;
    if (left === 0) {
      this.input = data;
      this.at = 0;
      this.end = data.length;
      this.ours = false;
      return;
    }
    if (!this.ours || this.input.length - this.end < data.length) {
      // Twice the room, so that a chunk that comes byte by byte is not copied for each byte.
      const larger = Buffer.allocUnsafeSlow(2 * (left + data.length));
      this.input.copy(larger, 0, this.at, this.end);
      freeBuffer(this.input);
      this.input = larger;
      this.at = 0;
      this.end = left;
      this.ours = true;
    }
    this.end += data.copy(this.input, this.end);
    freeBuffer(data);
  }

  next(): Buffer | undefined {
    if (this.lent !== undefined) freeNativeBuffer(this.lent);
    this.lent = undefined;
    if (this.at === this.end) freeBuffer(this.input);
    while (this.waiting) {
      const type = this.input[this.at] as number;
      const length = this.input.readUIntLE(this.at + 1, 3);
      if (!this.begun && type !== STREAM_IDENTIFIER) throw new CorruptStream("snappy: stream does not begin with its identifier");
      if (length > MAX_CHUNK_BYTES) throw new CorruptStream("snappy: chunk too long");
      this.needed = HEADER_BYTES + length;
      if (!this.waiting) return undefined;
      const chunk = this.input.subarray(this.at + HEADER_BYTES, this.at + this.needed);
      this.at += this.needed;
      this.needed = HEADER_BYTES;
      const piece = this.open(type, chunk);
      if (piece !== undefined && piece.length > 0) return piece;
    }
    return undefined;
  }

  dispose(): void {
    this.input = Buffer.alloc(0);
    this.lent = undefined;
    this.at = this.end = 0;
  }

  private open(type: number, chunk: Buffer): Buffer | undefined {
    if (type === COMPRESSED || type === UNCOMPRESSED) {
      if (chunk.length < CHECKSUM_BYTES) throw new CorruptStream("snappy: chunk without a checksum");
      const data = chunk.subarray(CHECKSUM_BYTES);
      const plain = type === COMPRESSED ? uncompressed(data) : data;
      if (type === COMPRESSED) this.lent = plain;
      if (plain.length > BLOCK_BYTES) throw new CorruptStream("snappy: block too long");
      if (maskedChecksum(plain) !== chunk.readUInt32LE(0)) throw new CorruptStream("snappy: wrong checksum");
      return plain;
    }
    if (type === STREAM_IDENTIFIER) {
      if (!chunk.equals(IDENTIFIER_TEXT)) throw new CorruptStream("snappy: wrong identifier");
      this.begun = true;
    } else if (type <= LAST_UNSKIPPABLE) {
      throw new CorruptStream(`snappy: unknown chunk type ${type}`);
    }
    return undefined;
  }
}

/** Decompresses a block. Its announced length is checked before memory is allocated for it. */
function uncompressed(data: Buffer): Buffer {
  let length = 0;
  for (let i = 0, shift = 1; ; i++, shift *= 128) {
    const byte = data[i];
    if (byte === undefined || i > 4) throw new CorruptStream("snappy: block without a length");
    length += (byte & 0x7f) * shift;
    if (byte < 0x80) break;
  }
  if (length > BLOCK_BYTES) throw new CorruptStream("snappy: block too long");
  if (length === 0 && data.length === 1) return data.subarray(1);
  try {
    return lazy.snappy.uncompressSync(data, { asBuffer: true }) as Buffer;
  } catch (error) {
    throw new CorruptStream(`snappy: ${(error as Error).message}`);
  }
}

/** A checksum as the format stores it: masked, because a checksum of data that contains checksums is weaker. */
function maskedChecksum(bytes: Buffer): number {
  const checksum = lazy.crc32.crc32c(bytes);
  return (((checksum >>> 15) | (checksum << 17)) + 0xa282ead8) >>> 0;
}
