import { constants, deflateRawSync } from "node:zlib";
import type { Packer } from "../../src/net/compression/compressor.ts";
import type { Unpacker } from "../../src/net/compression/decompressor.ts";
import { DeflatePacker, DeflateUnpacker } from "../../src/net/compression/deflate.ts";
import { SnappyPacker, SnappyUnpacker } from "../../src/net/compression/snappy.ts";
import type { Layers } from "./job.ts";
import type { ByteSink } from "./ring-writer.ts";

/** Cheap for the generator: it is the broker's side that is measured. */
const DEFLATE_LEVEL = 1;

export function makePacker(compression: NonNullable<Layers["compression"]>, below: ByteSink): Packer {
  const writer = { write: (bytes: Uint8Array, offset: number, length: number) => below.write(bytes as Buffer, offset, length) };
  return compression === "snappy" ? new SnappyPacker(writer) : new DeflatePacker(writer, DEFLATE_LEVEL);
}

export function makeUnpacker(compression: NonNullable<Layers["compression"]>): Unpacker {
  return compression === "snappy" ? new SnappyUnpacker() : new DeflateUnpacker();
}

/**
 * A command as it goes over the wire, compressed once for all the times that it is sent: what is compressed without
 * what was before it can stand anywhere in the stream. At the level that clients use by default.
 */
export function packedOnce(compression: NonNullable<Layers["compression"]>, command: Buffer): Buffer {
  if (compression === "deflate") return deflateRawSync(command, { finishFlush: constants.Z_SYNC_FLUSH });
  const pieces: Buffer[] = [];
  const packer = new SnappyPacker({
    write: (bytes, offset, length) => {
      pieces.push(Buffer.from(bytes.subarray(offset, offset + length)));
      return length;
    },
  });
  for (let at = 0; at < command.length; packer.beginTurn()) at += packer.write(command, at, command.length - at);
  packer.flush();
  return Buffer.concat(pieces);
}
