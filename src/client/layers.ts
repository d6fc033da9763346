/** A compression on a connection. Bytes go through it in both directions. */
export interface CompressionLayer {
  /** Compresses bytes so that all of them can be read by the other side. */
  compress(bytes: Uint8Array): void;
  decompress(bytes: Uint8Array): void;
  /** Calls back once all that was given to compress() has come out. */
  whenIdle(callback: () => void): void;
  close(): void;
}

/** Where a layer puts what comes out. */
export interface LayerOutput {
  /** Compressed bytes for the broker. They belong to the receiver. */
  onCompressed(bytes: Uint8Array): void;
  /** The broker's bytes. They belong to the receiver. */
  onDecompressed(bytes: Uint8Array): void;
  onError(error: Error): void;
}
