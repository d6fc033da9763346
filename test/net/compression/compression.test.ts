import { describe, expect, test } from "bun:test";
import { createDeflateRaw, createInflateRaw, inflateRawSync } from "node:zlib";
import { Compressor as PeerCompressor, Decompressor as PeerDecompressor } from "snappy";
import { BLOCK_BYTES, type Compressor, TURN_BYTES } from "../../../src/net/compression/compressor.ts";
import { CorruptStream, type Decompressor } from "../../../src/net/compression/decompressor.ts";
import { DeflateCompressor, DeflateDecompressor } from "../../../src/net/compression/deflate.ts";
import { SnappyCompressor, SnappyDecompressor } from "../../../src/net/compression/snappy.ts";
import type { Writer } from "../../../src/net/writer.ts";

/** Accepts a limited number of bytes, as a kernel does. */
class Pipe implements Writer {
  readonly bytes: Buffer[] = [];

  constructor(public room = Number.POSITIVE_INFINITY) {}

  write(bytes: Uint8Array, offset: number, length: number): number {
    const taken = Math.min(length, this.room);
    this.room -= taken;
    this.bytes.push(Buffer.from(bytes.subarray(offset, offset + taken)));
    return taken;
  }

  get all(): Buffer {
    return Buffer.concat(this.bytes);
  }
}

interface Format {
  name: string;
  compressor(below: Writer): Compressor;
  decompressor(): Decompressor;
  /** Another implementation of the format, to compare with. */
  decompress(bytes: Buffer): Promise<Buffer>;
  compress(bytes: Buffer): Promise<Buffer>;
}

const FORMATS: Format[] = [
  {
    name: "deflate",
    compressor: (below) => new DeflateCompressor(below, 6),
    decompressor: () => new DeflateDecompressor(),
    decompress: async (bytes) => {
      const stream = createInflateRaw();
      const pieces: Buffer[] = [];
      stream.on("data", (piece) => pieces.push(piece));
      await new Promise<void>((resolve, reject) => stream.on("error", reject).write(bytes, () => resolve()));
      return Buffer.concat(pieces);
    },
    compress: async (bytes) => {
      const stream = createDeflateRaw();
      const pieces: Buffer[] = [];
      stream.on("data", (piece) => pieces.push(piece));
      stream.write(bytes);
      await new Promise<void>((resolve) => stream.flush(() => resolve()));
      return Buffer.concat(pieces);
    },
  },
  {
    name: "snappy",
    compressor: (below) => new SnappyCompressor(below),
    decompressor: () => new SnappyDecompressor(),
    decompress: async (bytes) => {
      const stream = new PeerDecompressor();
      return joined(stream.update(bytes), await stream.finish());
    },
    compress: async (bytes) => {
      const stream = new PeerCompressor();
      return joined(stream.update(bytes), await stream.finish());
    },
  },
];

/** An empty buffer from a native library is detached and cannot be copied from. */
function joined(...parts: Buffer[]): Buffer {
  return Buffer.concat(parts.filter((part) => part.length > 0));
}

/** A repeatable source of numbers below 1. */
function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Bytes of which some stretches shrink and others do not. */
function body(length: number, next: () => number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const end = Math.min(length, at + 1 + Math.floor(next() * 5000));
    if (next() < 0.5) bytes.fill(Math.floor(next() * 256), at, end);
    else for (let i = at; i < end; i++) bytes[i] = Math.floor(next() * 256);
    at = end;
  }
  return bytes;
}

function compressed(format: Format, bytes: Buffer, cut = bytes.length): Buffer {
  const pipe = new Pipe();
  const compressor = format.compressor(pipe);
  for (let at = 0; at < bytes.length; at += cut) {
    const length = Math.min(cut, bytes.length - at);
    for (let from = at; from < at + length; compressor.beginTurn()) from += compressor.write(bytes, from, at + length - from);
    compressor.flush();
  }
  compressor.dispose();
  return pipe.all;
}

function decompressAll(decompressor: Decompressor): Buffer[] {
  const pieces: Buffer[] = [];
  for (let piece = decompressor.next(); piece !== undefined; piece = decompressor.next()) pieces.push(Buffer.from(piece));
  return pieces;
}

describe.each(FORMATS)("$name", (format) => {
  const seed = Number(process.env.BUNSQ_SEED ?? Date.now() % 1_000_000);
  const next = numbers(seed);

  test("is read by another implementation, completely at each flush", async () => {
    for (const length of [1, 63, 64, 65, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 300_000]) {
      const bytes = body(length, next);
      expect((await format.decompress(compressed(format, bytes))).equals(bytes)).toBeTrue();
      expect((await format.decompress(compressed(format, bytes, 1 + Math.floor(next() * length)))).equals(bytes)).toBeTrue();
    }
  });

  test("reads what another implementation writes", async () => {
    for (const length of [1, 100, BLOCK_BYTES, 300_000]) {
      const bytes = body(length, next);
      const decompressor = format.decompressor();
      decompressor.feed(await format.compress(bytes));
      expect(Buffer.concat(decompressAll(decompressor)).equals(bytes)).toBeTrue();
      expect(decompressor.waiting).toBeFalse();
      decompressor.dispose();
    }
  });

  test("may be split at every byte", () => {
    const bytes = body(400, next);
    const stream = compressed(format, bytes, 150);
    for (let cut = 0; cut <= stream.length; cut++) {
      const decompressor = format.decompressor();
      const pieces: Buffer[] = [];
      for (const part of [stream.subarray(0, cut), stream.subarray(cut)]) {
        decompressor.feed(part);
        pieces.push(...decompressAll(decompressor));
      }
      expect(Buffer.concat(pieces).equals(bytes)).toBeTrue();
      decompressor.dispose();
    }
    const slow = format.decompressor();
    const pieces: Buffer[] = [];
    for (const byte of stream) {
      slow.feed(Buffer.from([byte]));
      pieces.push(...decompressAll(slow));
    }
    expect(Buffer.concat(pieces).equals(bytes)).toBeTrue();
    slow.dispose();
  });

  test("frees its input as soon as it is used up", () => {
    const bytes = body(300_000, next);
    const stream = compressed(format, bytes);
    const decompressor = format.decompressor();
    const pieces: Buffer[] = [];
    // A short buffer at the end is left to the garbage collector.
    const parts: Buffer[] = [];
    for (let at = 0; at < stream.length; at += 20_000) {
      const part = Buffer.allocUnsafeSlow(Math.min(20_000, stream.length - at));
      stream.copy(part, 0, at);
      decompressor.feed(part);
      pieces.push(...decompressAll(decompressor));
      if (at + 20_000 <= stream.length) parts.push(part);
    }
    expect(Buffer.concat(pieces).equals(bytes)).toBeTrue();
    expect(parts.map(({ length }) => length)).toEqual(parts.map(() => 0));
    decompressor.dispose();
  });

  test("returns flushed bytes as soon as the last byte of the flush has arrived", () => {
    const pipe = new Pipe();
    const compressor = format.compressor(pipe);
    const decompressor = format.decompressor();
    for (let i = 0; i < 50; i++) {
      const bytes = body(1 + Math.floor(next() * 3000), next);
      compressor.write(bytes, 0, bytes.length);
      compressor.flush();
      decompressor.feed(Buffer.concat(pipe.bytes.splice(0)));
      expect(Buffer.concat(decompressAll(decompressor)).equals(bytes)).toBeTrue();
    }
  });

  test("accepts nothing while the transport below accepts nothing, and loses nothing", () => {
    const bytes = body(2_000_000, next);
    const pipe = new Pipe(1000);
    const compressor = format.compressor(pipe);
    const decompressor = format.decompressor();
    const pieces: Buffer[] = [];
    let written = 0;
    while (written < bytes.length || !compressor.empty) {
      const taken = compressor.write(bytes, written, bytes.length - written);
      written += taken;
      compressor.flush();
      compressor.beginTurn();
      if (compressor.writable) expect(compressor.empty).toBeTrue();
      else expect(compressor.write(bytes, written, 1)).toBe(0);
      pipe.room += Math.floor(next() * 100_000);
      compressor.drain();
      decompressor.feed(Buffer.concat(pipe.bytes.splice(0)));
      pieces.push(...decompressAll(decompressor));
    }
    expect(Buffer.concat(pieces).equals(bytes)).toBeTrue();
  });

  test("accepts a limited number of bytes per turn, and continues in the next", () => {
    const bytes = body(1_000_000, next);
    const pipe = new Pipe();
    const compressor = format.compressor(pipe);
    const decompressor = format.decompressor();
    const pieces: Buffer[] = [];
    let turns = 0;
    for (let written = 0; written < bytes.length; turns++) {
      const taken = compressor.write(bytes, written, bytes.length - written);
      written += taken;
      expect(taken).toBeLessThanOrEqual(TURN_BYTES + BLOCK_BYTES);
      compressor.flush();
      expect(compressor.empty).toBeTrue();
      expect(compressor.turnUsedUp).toBe(taken >= TURN_BYTES);
      compressor.beginTurn();
      decompressor.feed(Buffer.concat(pipe.bytes.splice(0)));
      pieces.push(...decompressAll(decompressor));
    }
    expect(turns).toBe(4);
    expect(Buffer.concat(pieces).equals(bytes)).toBeTrue();
  });

  test(`either reads or refuses a damaged stream (seed ${seed})`, () => {
    let refused = 0;
    for (let round = 0; round < 300; round++) {
      const bytes = body(1 + Math.floor(next() * 5000), next);
      const stream = compressed(format, bytes, 1000);
      for (let flips = 1 + Math.floor(next() * 3); flips > 0; flips--) {
        const at = Math.floor(next() * stream.length);
        stream[at] = (stream[at] as number) ^ (1 << Math.floor(next() * 8));
      }
      const decompressor = format.decompressor();
      try {
        for (let at = 0; at < stream.length && !decompressor.ended; ) {
          const end = Math.min(stream.length, at + 1 + Math.floor(next() * 2000));
          decompressor.feed(Buffer.from(stream.subarray(at, end)));
          for (const piece of decompressAll(decompressor)) {
            expect(piece.length).toBeLessThanOrEqual(BLOCK_BYTES);
            // Snappy has checksums, so it never returns a damaged piece, although damage may make it skip one. Deflate has none.
            if (format.name === "snappy") expect(bytes.includes(piece)).toBeTrue();
          }
          at = end;
        }
      } catch (error) {
        if (!(error instanceof CorruptStream)) throw error;
        refused++;
      }
      decompressor.dispose();
    }
    expect(refused).toBeGreaterThan(50);
  });
});

describe("deflate", () => {
  test("returns a bomb in pieces of bounded size, each when it is asked for", () => {
    const pipe = new Pipe();
    const compressor = new DeflateCompressor(pipe, 9);
    const zeros = Buffer.alloc(BLOCK_BYTES);
    for (let i = 0; i < 512; i++) {
      expect(compressor.write(zeros, 0, zeros.length)).toBe(zeros.length);
      compressor.beginTurn();
    }
    compressor.flush();
    const bomb = pipe.all;
    expect(bomb.length).toBeLessThan(64 * 1024);
    const decompressor = new DeflateDecompressor();
    decompressor.feed(bomb);
    let bytes = 0;
    for (let piece = decompressor.next(); piece !== undefined; piece = decompressor.next()) {
      expect(piece.length).toBeLessThanOrEqual(64 * 1024);
      bytes += piece.length;
      expect(decompressor.waiting || bytes === 512 * BLOCK_BYTES).toBeTrue();
    }
    expect(bytes).toBe(512 * BLOCK_BYTES);
  });

  test("ends at the end of the stream, and ignores bytes behind it", async () => {
    const stream = createDeflateRaw();
    const pieces: Buffer[] = [];
    stream.on("data", (piece) => pieces.push(piece));
    await new Promise<void>((resolve) => stream.on("end", () => resolve()).end("the end"));
    const ended = Buffer.concat(pieces);
    expect(inflateRawSync(ended).toString()).toBe("the end");
    const decompressor = new DeflateDecompressor();
    decompressor.feed(Buffer.concat([ended, Buffer.from("more")]));
    expect(Buffer.concat(decompressAll(decompressor)).toString()).toBe("the end");
    expect(decompressor.ended).toBeTrue();
    expect(decompressor.waiting).toBeFalse();
  });

  test("sends many small messages of one turn in one write", () => {
    const pipe = new Pipe();
    const compressor = new DeflateCompressor(pipe, 6);
    for (let i = 0; i < 500; i++) compressor.write(Buffer.from(`message ${i}`), 0, 9);
    expect(pipe.bytes).toHaveLength(0);
    compressor.flush();
    expect(pipe.bytes).toHaveLength(1);
    compressor.flush();
    expect(pipe.bytes).toHaveLength(1);
  });
});

describe("snappy", () => {
  const IDENTIFIER = Buffer.from("ff060000734e61507059", "hex");
  const chunk = (type: number, data: Buffer, length = data.length) =>
    Buffer.concat([Buffer.from([type, length & 0xff, (length >> 8) & 0xff, length >> 16]), data]);
  const read = (...parts: Buffer[]) => {
    const decompressor = new SnappyDecompressor();
    for (const part of parts) decompressor.feed(part);
    return Buffer.concat(decompressAll(decompressor)).toString();
  };
  const good = compressed(FORMATS[1] as Format, Buffer.from("good")).subarray(IDENTIFIER.length);

  test("skips padding and skippable chunks, and accepts a repeated identifier", () => {
    expect(read(IDENTIFIER, good)).toBe("good");
    expect(read(IDENTIFIER, chunk(0xfe, Buffer.alloc(100)), chunk(0x80, Buffer.from("?")), IDENTIFIER, good, good)).toBe("goodgood");
  });

  test("skips an empty block, however its length is written", () => {
    for (const length of ["00", "8000", "808000"]) {
      expect(read(IDENTIFIER, chunk(0x00, Buffer.from(`d8ea82a2${length}`, "hex")), good)).toBe("good");
    }
  });

  test.each([
    ["without its identifier", [good]],
    ["with a wrong identifier", [chunk(0xff, Buffer.from("sNaPpX"))]],
    ["with a short identifier", [chunk(0xff, Buffer.from("sNaPp"))]],
    ["with an unknown chunk that must not be skipped", [IDENTIFIER, chunk(0x02, Buffer.from("?"))]],
    ["with a chunk too short for its checksum", [IDENTIFIER, chunk(0x01, Buffer.from("abc"))]],
    ["with a wrong checksum", [IDENTIFIER, chunk(0x01, Buffer.from("\0\0\0\0plain"))]],
    ["with a chunk that announces an impossible length", [IDENTIFIER, chunk(0x00, Buffer.alloc(0), 0xffffff)]],
    ["with an uncompressed block longer than any", [IDENTIFIER, chunk(0x01, Buffer.alloc(4 + BLOCK_BYTES + 1))]],
    // A block of a few bytes that announces 4 GiB.
    ["with a block that says to become longer than any", [IDENTIFIER, chunk(0x00, Buffer.from("00000000ffffffff0f00", "hex"))]],
    ["with a block whose length does not end", [IDENTIFIER, chunk(0x00, Buffer.from("00000000ffffffffffff", "hex"))]],
    ["with a block without a length", [IDENTIFIER, chunk(0x00, Buffer.alloc(4))]],
    ["with a block that is no such", [IDENTIFIER, chunk(0x00, Buffer.from("000000000501ffff", "hex"))]],
  ])("refuses a stream %s", (_what, parts) => {
    expect(() => read(...parts)).toThrow(CorruptStream);
  });
});
