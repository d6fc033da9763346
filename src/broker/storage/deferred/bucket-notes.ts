import type { FileNotes } from "../file-notes.ts";
import type { Bucket } from "./bucket.ts";

/** Below this path of the broker's folder are the buckets, for notes about them. */
export const NOTED_FOLDER = "deferred/";

/** Notes which files buckets have and how long they are, so that the next start knows what is missing. */
export class BucketNotes {
  constructor(
    private readonly notes: FileNotes,
    private readonly buckets: Iterable<Bucket>,
  ) {}

  /** Notes how long all files are. To be called from time to time, and when everything is written at the end. */
  noteAll(): void {
    for (const bucket of this.buckets) this.note(bucket);
  }

  /** Notes a bucket's new files. To be called before anything in them is acknowledged. */
  noteNew(bucket: Bucket): void {
    const { notedEntries, notedStatus, length, statusBytes } = bucket;
    if ((!notedEntries && length > 0) || (!notedStatus && statusBytes > 0)) this.note(bucket);
  }

  private note(bucket: Bucket): void {
    const { name, length, statusBytes } = bucket;
    if (length > 0) this.notes.note(`${NOTED_FOLDER}${name}.msg`, length);
    if (statusBytes > 0) this.notes.note(`${NOTED_FOLDER}${name}.done`, statusBytes);
    bucket.notedEntries = length > 0;
    bucket.notedStatus = statusBytes > 0;
  }

  /** To be called before a bucket's files are removed. */
  forget({ name }: Bucket): void {
    this.notes.forget(`${NOTED_FOLDER}${name}.msg`);
    this.notes.forget(`${NOTED_FOLDER}${name}.done`);
  }
}
