import type { PrefixesRecord } from "../state/records.ts";

/**
 * The first of some prefixes in a row that nobody has.
 *
 * @param given of the partitions that are known, beside what the record says: somebody may have set that back
 * @param from no lower one
 */
export function firstFree({ next, taken }: PrefixesRecord, given: ReadonlySet<number>, count: number, from = 0): number {
  const isTaken = new Set(taken);
  let first = Math.max(next, from);
  for (let prefix = first; prefix < first + count; prefix++) if (isTaken.has(prefix) || given.has(prefix)) first = prefix + 1;
  return first;
}
