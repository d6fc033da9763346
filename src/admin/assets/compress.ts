import type { PageFile } from "./page-file.ts";

/** A file in both encodings, where they make it smaller. */
export function compressed(plain: Uint8Array<ArrayBuffer>): Pick<PageFile, "br" | "gzip"> {
  // Loaded when the page is built: node:zlib brings node's streams, which a process without a page needs no memory for.
  const { brotliCompressSync, constants, gzipSync } = process.getBuiltinModule("node:zlib");
  const br = brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: plain.length } });
  const gzip = gzipSync(plain, { level: 9 });
  return { br: smaller(br, plain), gzip: smaller(gzip, plain) };
}

function smaller(packed: Uint8Array<ArrayBuffer>, plain: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | undefined {
  return packed.length < plain.length ? packed : undefined;
}
