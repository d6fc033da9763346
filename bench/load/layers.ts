import { constants, deflateRawSync } from "node:zlib";
import type { Compressor } from "../../src/net/compression/compressor.ts";
import type { Decompressor } from "../../src/net/compression/decompressor.ts";
import { DeflateCompressor, DeflateDecompressor } from "../../src/net/compression/deflate.ts";
import { SnappyCompressor, SnappyDecompressor } from "../../src/net/compression/snappy.ts";
import type { Layers } from "./job.ts";
import type { ByteSink } from "./ring-writer.ts";

/** Cheap for the generator, because the broker's side is measured. */
const DEFLATE_LEVEL = 1;

export function makeCompressor(compression: NonNullable<Layers["compression"]>, below: ByteSink): Compressor {
  const writer = { write: (bytes: Uint8Array, offset: number, length: number) => below.write(bytes as Buffer, offset, length) };
  return compression === "snappy" ? new SnappyCompressor(writer) : new DeflateCompressor(writer, DEFLATE_LEVEL);
}

export function makeDecompressor(compression: NonNullable<Layers["compression"]>): Decompressor {
  return compression === "snappy" ? new SnappyDecompressor() : new DeflateDecompressor();
}

/**
 * Compresses a command once for all the times that it is sent. Bytes that are compressed without reference to earlier bytes can be
 * anywhere in the stream. Deflate uses the default level of clients.
 */
export function compressedOnce(compression: NonNullable<Layers["compression"]>, command: Buffer): Buffer {
  if (compression === "deflate") return deflateRawSync(command, { finishFlush: constants.Z_SYNC_FLUSH });
  const pieces: Buffer[] = [];
  const compressor = new SnappyCompressor({
    write: (bytes, offset, length) => {
      pieces.push(Buffer.from(bytes.subarray(offset, offset + length)));
      return length;
    },
  });
  for (let at = 0; at < command.length; compressor.beginTurn()) at += compressor.write(command, at, command.length - at);
  compressor.flush();
  return Buffer.concat(pieces);
}
