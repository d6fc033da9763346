/** The buckets that have something, and those between. */
export function filledBuckets(counts: readonly number[]): { first: number; end: number } {
  const first = counts.findIndex((value) => value > 0);
  const last = counts.findLastIndex((value) => value > 0);
  return first < 0 ? { first: 0, end: 0 } : { first, end: last + 1 };
}
