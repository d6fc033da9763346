import type { Compressor } from "../../../net/compression/compressor.ts";
import type { Decompressor } from "../../../net/compression/decompressor.ts";
import { DeflateCompressor, DeflateDecompressor } from "../../../net/compression/deflate.ts";
import { SnappyCompressor, SnappyDecompressor } from "../../../net/compression/snappy.ts";
import type { Writer } from "../../../net/writer.ts";

/** A layer that IDENTIFY agreed on. They are put on one after the other, each followed by an OK that goes through it. */
export type Upgrade = { layer: "tls" } | Compression;
export type Compression = { layer: "snappy" } | { layer: "deflate"; level: number };

/** Both directions of a compression. @param below where the compressed bytes go */
export function compress(compression: Compression, below: Writer): { compressor: Compressor; decompressor: Decompressor } {
  if (compression.layer === "snappy") return { compressor: new SnappyCompressor(below), decompressor: new SnappyDecompressor() };
  return { compressor: new DeflateCompressor(below, compression.level), decompressor: new DeflateDecompressor() };
}
