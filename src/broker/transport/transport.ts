/**
 * The writing side of one client's connection. A plain Bun socket is one as it stands; TLS and compression
 * will be others. `write` takes what the kernel takes and keeps nothing of the rest.
 */
export interface Transport {
  /** @returns how many bytes were taken; 0 or less when none were, until the next drain */
  write(bytes: Uint8Array, offset: number, length: number): number;
  /** Sends what was written, then ends the writing side. */
  end(): void;
  /** Cuts the connection now. */
  terminate(): void;
  pause(): void;
  resume(): void;
}
