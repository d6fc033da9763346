/** The engine keeps smaller buffers in its own heap, so there is no memory to free. */
const MIN_BYTES = 4096;

/**
 * Frees a buffer's memory now, without waiting for the garbage collector. A socket delivers its bytes in a new buffer of up
 * to half a mebibyte; if it is freed at once, the next buffer gets the same pages, which are still in the processor's cache.
 *
 * Afterwards the buffer is empty, and so is everything that shares its memory. A buffer that is part of a larger one is left
 * as it is.
 */
export function freeBuffer(buffer: Buffer): void {
  if (buffer.length >= MIN_BYTES) freeNativeBuffer(buffer);
}

/**
 * Frees the memory of a buffer that native code has made, whatever the buffer's size. It may hold far more memory than its
 * bytes show, which the garbage collector does not know, and freeing it later would cost the collector a call into that code.
 */
export function freeNativeBuffer(buffer: Buffer): void {
  // Native code may have freed the memory of an empty buffer already, and freeing it twice is an error.
  if (buffer.length === 0) return;
  const memory = buffer.buffer;
  if (memory instanceof ArrayBuffer && memory.byteLength === buffer.length) memory.transfer(0);
}
