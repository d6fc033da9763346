import type { Packer } from "../../../net/compression/compressor.ts";
import type { Unpacker } from "../../../net/compression/decompressor.ts";
import { DeflatePacker, DeflateUnpacker } from "../../../net/compression/deflate.ts";
import { SnappyPacker, SnappyUnpacker } from "../../../net/compression/snappy.ts";
import type { Writer } from "../../../net/writer.ts";

/** A layer that IDENTIFY agreed on. They are put on one after the other, each followed by an OK that goes through it. */
export type Upgrade = { layer: "tls" } | Compression;
export type Compression = { layer: "snappy" } | { layer: "deflate"; level: number };

/** Both directions of a compression. @param below where the compressed bytes go */
export function compress(compression: Compression, below: Writer): { packer: Packer; unpacker: Unpacker } {
  if (compression.layer === "snappy") return { packer: new SnappyPacker(below), unpacker: new SnappyUnpacker() };
  return { packer: new DeflatePacker(below, compression.level), unpacker: new DeflateUnpacker() };
}
