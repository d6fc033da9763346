/** One file of the console's page, as it is served. */
export interface PageFile {
  /** Its name in URLs. That of index.html is fixed; all others have a hash of their content in it. */
  name: string;
  type: string;
  plain: Uint8Array<ArrayBuffer>;
  /** Compressed, where that makes it smaller. */
  br: Uint8Array<ArrayBuffer> | undefined;
  gzip: Uint8Array<ArrayBuffer> | undefined;
}

/** The one file whose name stays the same. */
export const INDEX_NAME = "index.html";
