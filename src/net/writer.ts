/** Accepts bytes for a client: a socket, or a compression layer above it. */
export interface Writer {
  /** Accepts as many bytes as it can, and keeps none of the others. @returns how many; 0 or less if none, until the next drain */
  write(bytes: Uint8Array, offset: number, length: number): number;
}
