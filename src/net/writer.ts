/** Takes bytes on their way to a client: a socket, or a layer of compression above it. */
export interface Writer {
  /** Takes what it can and keeps nothing of the rest. @returns how many bytes; 0 or less when none, until the next drain */
  write(bytes: Uint8Array, offset: number, length: number): number;
}
