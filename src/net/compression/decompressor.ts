/** The incoming half of a compression. */
export interface Decompressor {
  /** Whether next() may have bytes to decompress. */
  readonly waiting: boolean;
  /** The compressed stream has ended. Bytes behind its end do not belong to it. */
  readonly ended: boolean;
  /** Adds bytes that arrived. The buffer now belongs to the decompressor, which frees its memory when it has used it. */
  feed(data: Buffer): void;
  /**
   * Decompresses the next piece. Pieces are bounded, so the caller controls how much of a small input that becomes a large
   * output is in memory.
   *
   * @returns a piece, valid until the next call on any decompressor; undefined if more input is needed
   * @throws CorruptStream
   */
  next(): Buffer | undefined;
  /** Frees the memory. The decompressor must not be used afterwards. */
  dispose(): void;
}

/** A client's bytes cannot be decompressed. Neither can the bytes behind them. */
export class CorruptStream extends Error {
  override name = "CorruptStream";
}
