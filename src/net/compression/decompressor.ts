/** The incoming half of a compression. */
export interface Unpacker {
  /** There are bytes that next() has not turned yet. */
  readonly waiting: boolean;
  /** The client has ended its stream: what follows is no part of it. */
  readonly ended: boolean;
  /** Adds what arrived. The buffer is no longer the caller's: its memory is freed as soon as it is used up. */
  feed(data: Buffer): void;
  /**
   * Decompresses on, one bounded piece at a time: so that a small input that becomes a large output is held back by
   * whoever handles the pieces.
   *
   * @returns a piece, valid until the next call on any unpacker; undefined when more input is needed
   * @throws CorruptStream
   */
  next(): Buffer | undefined;
  /** Lets go of everything. */
  dispose(): void;
}

/** What a client sent cannot be decompressed; nothing behind it can be. */
export class CorruptStream extends Error {
  override name = "CorruptStream";
}
