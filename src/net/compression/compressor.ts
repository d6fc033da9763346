import type { Writer } from "../writer.ts";

/** The bytes that are compressed at a time. A block of snappy's framing format cannot hold more. */
export const BLOCK_BYTES = 64 * 1024;

/** Compression blocks all clients, for milliseconds at the higher levels. One client gets this many bytes per turn. */
export const TURN_BYTES = 4 * BLOCK_BYTES;

/** Free blocks, shared by all connections. A connection with nothing to send holds none. */
const freeBlocks: Buffer[] = [];
const MAX_FREE_BLOCKS = 64;

/**
 * The outgoing half of a compression. Gathers what a connection sends during one turn of the event loop, and compresses it a
 * block at a time, so that many small messages cost one call.
 *
 * Compressed bytes that the transport below does not accept are kept, and until they are sent, write() accepts nothing. So a
 * client that does not read costs one compressed block and one block that waits to be compressed.
 */
export abstract class Compressor implements Writer {
  private block: Buffer | undefined;
  private filled = 0;
  private takenInTurn = 0;
  private readonly unsent: Buffer[] = [];
  /** The connection is closed. This may happen in the middle of a write. */
  protected disposed = false;

  constructor(private readonly below: Writer) {}

  /** Whether write() accepts bytes: nothing waits for the transport below, and this turn's bytes are not used up. */
  get writable(): boolean {
    return this.unsent.length === 0 && this.takenInTurn < TURN_BYTES;
  }

  /** Whether write() accepts nothing only because this turn's bytes are used up. */
  get turnUsedUp(): boolean {
    return this.unsent.length === 0 && this.takenInTurn >= TURN_BYTES;
  }

  /** To be called when the next turn has begun. */
  beginTurn(): void {
    this.takenInTurn = 0;
  }

  write(bytes: Uint8Array, offset: number, length: number): number {
    let taken = 0;
    while (taken < length && this.writable && !this.disposed) {
      // A full block is compressed only when more bytes come, so that flush() always has a block to end with.
      if (this.filled === BLOCK_BYTES) {
        this.filled = 0;
        this.compress(this.block as Buffer, BLOCK_BYTES, false);
        continue;
      }
      this.block ??= freeBlocks.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
      const part = Math.min(length - taken, BLOCK_BYTES - this.filled);
      this.block.set(bytes.subarray(offset + taken, offset + taken + part), this.filled);
      this.filled += part;
      taken += part;
      this.takenInTurn += part;
    }
    return taken;
  }

  /** Sends the gathered bytes, so that the client can read all of them. Does nothing while earlier bytes are unsent. */
  flush(): void {
    if (this.filled === 0 || this.unsent.length > 0) return;
    const block = this.block as Buffer;
    const length = this.filled;
    this.filled = 0;
    this.block = undefined;
    this.compress(block, length, true);
    if (freeBlocks.length < MAX_FREE_BLOCKS) freeBlocks.push(block);
  }

  /** To be called when the transport below accepts bytes again. @returns whether all bytes that it had refused are sent */
  drain(): boolean {
    while (this.unsent.length > 0) {
      const piece = this.unsent[0] as Buffer;
      const taken = Math.max(0, this.below.write(piece, 0, piece.length));
      if (taken < piece.length) {
        this.unsent[0] = piece.subarray(taken);
        return false;
      }
      this.unsent.shift();
    }
    return true;
  }

  /** Whether nothing is left to send, compressed or not. */
  get empty(): boolean {
    return this.filled === 0 && this.unsent.length === 0;
  }

  /** Frees the memory. The compressor must not be used afterwards. */
  dispose(): void {
    this.disposed = true;
    this.unsent.length = 0;
    this.filled = 0;
    this.block = undefined;
  }

  /** Compresses a block and emits it. @param flush whether the client must be able to read the whole block now */
  protected abstract compress(block: Buffer, length: number, flush: boolean): void;

  /** Passes compressed bytes to the transport below. Afterwards the caller may reuse the buffer. */
  protected emit(bytes: Buffer, from: number, to: number): void {
    if (this.unsent.length === 0) from += Math.max(0, this.below.write(bytes, from, to - from));
    if (from < to) this.unsent.push(Buffer.from(bytes.subarray(from, to)));
  }
}
