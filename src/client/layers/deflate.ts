import type { CompressionLayer, LayerOutput } from "../layers.ts";

/** Raw deflate (RFC 1951). Each piece ends at a byte's border. @param level 1 to 9 */
export async function deflateLayer(level: number, output: LayerOutput): Promise<CompressionLayer> {
  // A static import is loaded when a bundle of the program is, and takes some megabytes of an idle process.
  const { constants, createDeflateRaw, createInflateRaw } = await import("node:zlib");
  const deflate = createDeflateRaw({ level, flush: constants.Z_SYNC_FLUSH });
  const inflate = createInflateRaw({ flush: constants.Z_SYNC_FLUSH });
  deflate.on("data", (bytes: Uint8Array) => output.onCompressed(bytes));
  inflate.on("data", (bytes: Uint8Array) => output.onDecompressed(bytes));
  for (const stream of [deflate, inflate]) stream.on("error", (error: Error) => output.onError(error));
  let unfinished = 0;
  let onIdle: (() => void) | undefined;
  const onWritten = () => {
    if (--unfinished === 0) onIdle?.();
  };
  return {
    // The stream may read the bytes later, when the caller has overwritten them.
    compress: (bytes) => {
      unfinished++;
      deflate.write(bytes.slice(), onWritten);
    },
    decompress: (bytes) => void inflate.write(bytes),
    whenIdle: (callback) => {
      onIdle = callback;
      if (unfinished === 0) callback();
    },
    close: () => {
      deflate.destroy();
      inflate.destroy();
    },
  };
}
