import { type LogRecoveryOptions, recoverSegments } from "./log-recovery.ts";

/**
 * Removes the records of a log from a sequence on, with which a commit begins. For a log that nobody has open, and that only an
 * import has written to from there on.
 */
export function cutLog(options: LogRecoveryOptions, sequence: number): void {
  if (!options.disk.exists(options.directory)) return;
  const segments = recoverSegments(options);
  for (let tail = segments.pop(); tail !== undefined && tail.nextSequence > sequence; tail = segments.pop()) {
    if (tail.baseSequence < sequence) tail.truncate(tail.findBySequence(sequence));
    // The header of the first segment keeps the log's first position.
    else if (segments.length === 0) tail.truncate(0);
    else {
      tail.remove();
      continue;
    }
    tail.close();
  }
}
