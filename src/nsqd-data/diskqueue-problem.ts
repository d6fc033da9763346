/**
 * What may be wrong with the files of a queue. None of it stops the reader.
 *
 * - `noMetadata`: there are message files, but no metadata file. All files are read, including messages that nsqd had
 *   delivered already. nsqd itself would start with an empty queue and overwrite the first file.
 * - `badMetadata`: the metadata file is not usable. All files are read, as for `noMetadata`.
 * - `missingFiles`: files between the read and the write position do not exist. Their messages are lost.
 * - `shortFile`: a file ends before the read or write position. The messages after its end are lost.
 * - `unsynced`: there are messages after the write position, because nsqd was killed. They are read. The read position is then
 *   old, too, so that messages may come again that were delivered already, as they would from nsqd.
 * - `damaged`: bytes without a message, and a message after them. The bytes are skipped; nsqd would give up the rest of the
 *   file. A message whose size is too large, so that others are inside it, is skipped as well. A message whose size is too
 *   small cannot be recognised, and is read with a cut body.
 * - `torn`: the file ends inside a message, or in bytes without one. They are skipped.
 * - `tooLarge`: a whole message with a body above the limit. It is skipped.
 * - `depth`: the number of messages read differs from the number in the metadata.
 */
export type DiskqueueProblemKind =
  | "noMetadata"
  | "badMetadata"
  | "missingFiles"
  | "shortFile"
  | "unsynced"
  | "damaged"
  | "torn"
  | "tooLarge"
  | "depth";

/** One problem, and where it is. */
export interface DiskqueueProblem {
  readonly kind: DiskqueueProblemKind;
  /** Name of the file, without its folder. */
  readonly file: string;
  /** Offset in the file where it begins. */
  readonly offset: number;
  /** Number of bytes concerned; 0 if unknown or not applicable. */
  readonly bytes: number;
  /** A sentence for an operator. It names the file. */
  readonly message: string;
}
