/** Smaller ones the engine keeps in its own heap: there is nothing to give back. */
const MIN_BYTES = 4096;

/**
 * Frees a buffer's memory now instead of when the collector comes by. A socket brings its bytes in a buffer of their own,
 * up to half a mebibyte; freed at once, the next one gets the same pages, which are still in the processor's cache.
 *
 * The buffer is empty afterwards, and so is all that shares its memory. One that is part of something larger is left alone.
 */
export function giveBack(buffer: Buffer): void {
  if (buffer.length >= MIN_BYTES) giveBackNative(buffer);
}

/**
 * The same for a buffer that native code has made, whatever its size: behind its bytes there may be far more memory, of
 * which the collector knows nothing, and each costs the collector a call back into that code.
 */
export function giveBackNative(buffer: Buffer): void {
  // An empty one from native code may count as given back already, which must not be done twice.
  if (buffer.length === 0) return;
  const memory = buffer.buffer;
  if (memory instanceof ArrayBuffer && memory.byteLength === buffer.length) memory.transfer(0);
}
