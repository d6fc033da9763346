/** What recover() found in a bucket's files. */
export interface BucketFinding {
  /** Bytes of whole entries. */
  end: number;
  /** Bytes of entries behind the last whole one. */
  tailBytes: number;
  /** Bytes of the entries' file, its head included. */
  fileBytes: number;
  /** The tail is what a crash leaves; it was cut off. */
  explained: boolean;
  status: { exists: boolean; bytes: number; fileBytes: number; damaged: number; cutOff: number };
}
