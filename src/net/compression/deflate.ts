import { freeBuffer } from "../../base/free-buffer.ts";
import type { Writer } from "../writer.ts";
import { Compressor } from "./compressor.ts";
import { CorruptStream, type Decompressor } from "./decompressor.ts";
import { Zlib } from "./zlib.ts";

/** The output of one step of any connection. It is used up before the next step. */
const output = Buffer.allocUnsafeSlow(64 * 1024);
const NOTHING = Buffer.alloc(0);

/** Compresses into a raw deflate stream. Each flush ends at a byte boundary, so that the client can read up to there. */
export class DeflateCompressor extends Compressor {
  private readonly zlib: Zlib;

  /** @param level 1 (fastest) to 9 (smallest) */
  constructor(below: Writer, level: number) {
    super(below);
    this.zlib = Zlib.deflate(level);
  }

  protected override compress(block: Buffer, length: number, flush: boolean): void {
    const { zlib } = this;
    let at = 0;
    do {
      zlib.step(flush, block, at, length, output);
      at += zlib.used;
      this.emit(output, 0, zlib.made);
    } while (!this.disposed && (zlib.made === output.length || at < length));
  }

  override dispose(): void {
    super.dispose();
    this.zlib.close();
  }
}

/** Decompresses a raw deflate stream. */
export class DeflateDecompressor implements Decompressor {
  private readonly zlib = Zlib.inflate();
  private readonly inputs: Buffer[] = [];
  private at = 0;
  /** The last output filled its buffer, so there may be more without further input. */
  private full = false;
  /** Known only when there are bytes behind the end. */
  ended = false;

  get waiting(): boolean {
    return !this.ended && (this.full || this.inputs.length > 0);
  }

  feed(data: Buffer): void {
    if (data.length > 0) this.inputs.push(data);
  }

  next(): Buffer | undefined {
    const { zlib, inputs } = this;
    while (this.waiting) {
      const input = inputs[0] ?? NOTHING;
      zlib.step(true, input, this.at, input.length, output);
      // The handle does not say how much this step had decompressed before the damage, so that is lost.
      if (zlib.failure !== undefined) throw new CorruptStream(`flate: ${zlib.failure}`);
      this.at += zlib.used;
      this.full = zlib.made === output.length;
      if (this.at === input.length) {
        inputs.shift();
        freeBuffer(input);
        this.at = 0;
      } else if (!this.full) {
        this.ended = true;
      }
      if (zlib.made > 0) return output.subarray(0, zlib.made);
    }
    return undefined;
  }

  dispose(): void {
    this.inputs.length = 0;
    this.full = false;
    this.zlib.close();
  }
}
