import type { CompressionLayer, LayerOutput } from "../layers.ts";

// Snappy's framing format: https://github.com/google/snappy/blob/main/framing_format.txt

const COMPRESSED = 0x00;
const UNCOMPRESSED = 0x01;
/** A reader must not skip a chunk of an unknown type up to this one. */
const LAST_UNSKIPPABLE = 0x7f;
const STREAM_IDENTIFIER = 0xff;
const IDENTIFIER = Uint8Array.of(STREAM_IDENTIFIER, 6, 0, 0, 0x73, 0x4e, 0x61, 0x50, 0x70, 0x59);

/** A block has at most this many bytes before compression. */
const BLOCK_BYTES = 65_536;
/** The longest chunk: a checksum, and the longest that a block can become. */
const MAX_CHUNK_BYTES = 4 + 76_490;
const HEADER_BYTES = 4;
const CHECKSUM_BYTES = 4;
/** Shorter blocks are not worth compressing. */
const MIN_COMPRESSED_BYTES = 64;

/** The native parts. Only connections with snappy need them. */
interface Codec {
  compress(bytes: Uint8Array): Uint8Array;
  uncompress(bytes: Uint8Array): Uint8Array;
  crc32c(bytes: Uint8Array): number;
}

/** @throws Error if the packages are not installed */
async function loadCodec(): Promise<Codec> {
  const [snappy, checksum] = await Promise.all([import("snappy"), import("@node-rs/crc32")]);
  return {
    compress: (bytes) => snappy.compressSync(bytes as Buffer),
    uncompress: (bytes) => snappy.uncompressSync(bytes as Buffer, { asBuffer: true }) as Uint8Array,
    crc32c: (bytes) => checksum.crc32c(bytes as Buffer),
  };
}

/** @throws Error if the packages are not installed */
export async function snappyLayer(output: LayerOutput): Promise<CompressionLayer> {
  const codec = await loadCodec();
  const reader = new SnappyReader(codec, output);
  let hasBegun = false;
  return {
    compress(bytes) {
      if (!hasBegun) output.onCompressed(IDENTIFIER);
      hasBegun = true;
      for (let at = 0; at < bytes.length; at += BLOCK_BYTES) output.onCompressed(chunkOf(codec, bytes.subarray(at, at + BLOCK_BYTES)));
    },
    decompress: (bytes) => reader.feed(bytes),
    whenIdle: (callback) => callback(),
    close: () => reader.close(),
  };
}

function chunkOf(codec: Codec, block: Uint8Array): Uint8Array {
  const compressed = block.length < MIN_COMPRESSED_BYTES ? block : codec.compress(block);
  // A block that hardly shrinks is sent as it is, which costs the broker less.
  const isShorter = compressed.length < block.length - (block.length >> 3);
  const data = isShorter ? compressed : block;
  const chunk = new Uint8Array(HEADER_BYTES + CHECKSUM_BYTES + data.length);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, CHECKSUM_BYTES + data.length, true);
  // The length has 24 bits, behind the type.
  chunk.copyWithin(1, 0, 3);
  chunk[0] = isShorter ? COMPRESSED : UNCOMPRESSED;
  view.setUint32(HEADER_BYTES, masked(codec.crc32c(block)), true);
  chunk.set(data, HEADER_BYTES + CHECKSUM_BYTES);
  return chunk;
}

/** A checksum as the format has it: masked, because a checksum of data that contains checksums is weaker. */
function masked(checksum: number): number {
  return (((checksum >>> 15) | (checksum << 17)) + 0xa282ead8) >>> 0;
}

/** Decompresses chunks, and verifies their checksums. */
class SnappyReader {
  private rest = new Uint8Array(0);
  private hasBegun = false;
  private isClosed = false;

  constructor(
    private readonly codec: Codec,
    private readonly output: LayerOutput,
  ) {}

  feed(bytes: Uint8Array): void {
    let input = bytes;
    if (this.rest.length > 0) {
      input = new Uint8Array(this.rest.length + bytes.length);
      input.set(this.rest);
      input.set(bytes, this.rest.length);
    }
    let at = 0;
    while (!this.isClosed && input.length - at >= HEADER_BYTES) {
      const type = input[at] as number;
      const length = (input[at + 1] as number) | ((input[at + 2] as number) << 8) | ((input[at + 3] as number) << 16);
      if (length > MAX_CHUNK_BYTES) {
        this.fail("a chunk is too long");
        return;
      }
      const end = at + HEADER_BYTES + length;
      if (end > input.length) break;
      if (!this.open(type, input.subarray(at + HEADER_BYTES, end))) return;
      at = end;
    }
    this.rest = input.slice(at);
  }

  close(): void {
    this.isClosed = true;
    this.rest = new Uint8Array(0);
  }

  /** @returns whether to go on */
  private open(type: number, chunk: Uint8Array): boolean {
    if (type === STREAM_IDENTIFIER) {
      this.hasBegun = true;
      return true;
    }
    if (!this.hasBegun) return this.fail("the stream does not begin with its identifier");
    if (type > UNCOMPRESSED) return type > LAST_UNSKIPPABLE || this.fail(`a chunk has the unknown type ${type}`);
    if (chunk.length < CHECKSUM_BYTES) return this.fail("a chunk has no checksum");
    const data = chunk.subarray(CHECKSUM_BYTES);
    let plain: Uint8Array;
    try {
      if (type === COMPRESSED && announcedLength(data) > BLOCK_BYTES) return this.fail("a block is too long");
      plain = type === COMPRESSED ? this.codec.uncompress(data) : data;
    } catch (error) {
      return this.fail((error as Error).message);
    }
    const checksum = (chunk[0] as number) + (chunk[1] as number) * 2 ** 8 + (chunk[2] as number) * 2 ** 16 + (chunk[3] as number) * 2 ** 24;
    if (masked(this.codec.crc32c(plain)) !== checksum) return this.fail("a block has a wrong checksum");
    this.output.onDecompressed(plain);
    return true;
  }

  private fail(problem: string): false {
    this.close();
    this.output.onError(new Error(`snappy: ${problem}`));
    return false;
  }
}

/** The length that a compressed block says that it has. It is checked before memory is allocated for it. */
function announcedLength(data: Uint8Array): number {
  let length = 0;
  for (let i = 0, shift = 1; i < 5; i++, shift *= 128) {
    const byte = data[i];
    if (byte === undefined) break;
    length += (byte & 0x7f) * shift;
    if (byte < 0x80) return length;
  }
  return Number.POSITIVE_INFINITY;
}
