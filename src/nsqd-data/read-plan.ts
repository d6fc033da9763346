import type { DiskqueueProblem } from "./diskqueue-problem.ts";
import { fileName, metadataName, type QueueFiles } from "./queue-files.ts";
import type { QueueMetadata, QueuePosition } from "./queue-metadata.ts";

/** The files of a queue to read, where to begin, and the problems that are known before the first file is opened. */
export interface ReadPlan {
  /** Numbers of the files, ascending. */
  readonly numbers: readonly number[];
  /** Where to begin. Files after `start.file` are read from their first byte. */
  readonly start: QueuePosition;
  /** The write position of the metadata. Undefined without usable metadata. */
  readonly end: QueuePosition | undefined;
  readonly problems: readonly DiskqueueProblem[];
}

/**
 * Plans which files to read, as nsqd would (go-diskqueue: retrieveMetaData, readOne), with two exceptions where nsqd would
 * lose messages: without usable metadata nsqd starts at position 0 of file 0 and overwrites it, and it ignores files after
 * the one in the write position. Both are read here.
 *
 * @param metadata an Error for a metadata file that is not usable
 * @param from where to begin instead of at the metadata's read position
 */
export function planReading(queue: QueueFiles, metadata: QueueMetadata | Error | undefined, from?: QueuePosition): ReadPlan {
  const problems: DiskqueueProblem[] = [];
  const meta = metadataName(queue.prefix);
  const known = metadata instanceof Error ? undefined : metadata;
  if (metadata instanceof Error) problems.push({ kind: "badMetadata", file: meta, offset: 0, bytes: 0, message: metadata.message });
  else if (known === undefined && queue.numbers.length > 0) {
    const message = `${meta} is missing: reading all ${queue.numbers.length} files of the queue, including messages that were delivered already`;
    problems.push({ kind: "noMetadata", file: meta, offset: 0, bytes: 0, message });
  }
  const start = from ?? known?.read ?? { file: 0, offset: 0 };
  const numbers = queue.numbers.filter((number) => number >= start.file);
  const first = known === undefined ? (numbers[0] ?? 0) : start.file;
  let due = first;
  for (const number of known === undefined ? numbers : [...numbers, lastFile(known, start) + 1]) {
    if (number > due) problems.push(missingFiles(queue.prefix, due, number - 1));
    due = Math.max(due, number + 1);
  }
  return { numbers, start, end: known?.write, problems };
}

/** The last file that must exist. The file of the write position need not, while no unread message is in it. */
function lastFile({ write }: QueueMetadata, start: QueuePosition): number {
  const unread = write.file === start.file ? write.offset > start.offset : write.offset > 0;
  return unread ? write.file : write.file - 1;
}

/** The problem of files that do not exist, `first` to `last`. */
export function missingFiles(prefix: string, first: number, last: number): DiskqueueProblem {
  const file = fileName(prefix, first);
  const message =
    first === last
      ? `${file} is missing: its messages are lost`
      : `${file} to ${fileName(prefix, last)} are missing: their messages are lost`;
  return { kind: "missingFiles", file, offset: 0, bytes: 0, message };
}
