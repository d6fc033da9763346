import type { Writer } from "../writer.ts";

/** What is compressed at a time; a block of snappy's framing format holds no more. */
export const BLOCK_BYTES = 64 * 1024;

/** Compressing keeps everybody waiting, for milliseconds at the higher levels: a turn has no more than this for one client. */
export const TURN_BYTES = 4 * BLOCK_BYTES;

/** Blocks being filled, shared by all connections: one with nothing to send holds none. */
const freeBlocks: Buffer[] = [];
const MAX_FREE_BLOCKS = 64;

/**
 * The outgoing half of a compression: gathers what one turn of the event loop sends, and compresses it a block at a
 * time, so that many small messages cost one call.
 *
 * What the transport below does not take is kept, and then nothing more is taken in: so a client that does not read
 * costs one compressed block, and one that waits for its turn.
 */
export abstract class Packer implements Writer {
  private block: Buffer | undefined;
  private filled = 0;
  private takenInTurn = 0;
  private readonly unsent: Buffer[] = [];
  /** The connection is gone; it may go in the middle of a write. */
  protected disposed = false;

  constructor(private readonly below: Writer) {}

  /** More is taken: nothing waits for the transport below, nor for the next turn. */
  get clear(): boolean {
    return this.unsent.length === 0 && this.takenInTurn < TURN_BYTES;
  }

  /** Only the next turn is waited for. */
  get spent(): boolean {
    return this.unsent.length === 0 && this.takenInTurn >= TURN_BYTES;
  }

  /** The next turn has begun. */
  beginTurn(): void {
    this.takenInTurn = 0;
  }

  write(bytes: Uint8Array, offset: number, length: number): number {
    let taken = 0;
    while (taken < length && this.clear && !this.disposed) {
      // A full block is packed only when more comes, so that flush() always has something to end with.
      if (this.filled === BLOCK_BYTES) {
        this.filled = 0;
        this.pack(this.block as Buffer, BLOCK_BYTES, false);
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

  /** Sends what was gathered, so that the client can read all of it. Does nothing while earlier bytes are still unsent. */
  flush(): void {
    if (this.filled === 0 || this.unsent.length > 0) return;
    const block = this.block as Buffer;
    const length = this.filled;
    this.filled = 0;
    this.block = undefined;
    this.pack(block, length, true);
    if (freeBlocks.length < MAX_FREE_BLOCKS) freeBlocks.push(block);
  }

  /** The transport below takes bytes again. @returns whether all that it had refused is out */
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

  /** Nothing is left to be sent, compressed or not. */
  get empty(): boolean {
    return this.filled === 0 && this.unsent.length === 0;
  }

  /** Lets go of everything. */
  dispose(): void {
    this.disposed = true;
    this.unsent.length = 0;
    this.filled = 0;
    this.block = undefined;
  }

  /** Compresses a block and emits it. @param flush whether the client must be able to read all of it */
  protected abstract pack(block: Buffer, length: number, flush: boolean): void;

  /** Hands compressed bytes to the transport below. The buffer is the caller's again afterwards. */
  protected emit(bytes: Buffer, from: number, to: number): void {
    if (this.unsent.length === 0) from += Math.max(0, this.below.write(bytes, from, to - from));
    if (from < to) this.unsent.push(Buffer.from(bytes.subarray(from, to)));
  }
}
