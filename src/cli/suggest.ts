/** Names that differ in more letters than this have nothing to do with each other. */
const LARGEST_SLIP = 3;

/**
 * The name that was most likely meant by a wrong one; undefined where none is near.
 *
 * @param most letters that may differ
 */
export function nearest(
  name: string,
  names: readonly string[],
  most = Math.min(LARGEST_SLIP, Math.ceil(name.length / 2)),
): string | undefined {
  const wanted = name.toLowerCase();
  let found: string | undefined;
  let least = most + 1;
  for (const candidate of names) {
    const slips = editDistance(wanted, candidate.toLowerCase());
    if (slips < least) {
      least = slips;
      found = candidate;
    }
  }
  // The lookup's flags have a prefix where a broker is beside it.
  return found ?? names.find((candidate) => /^lookup[-_]/i.test(candidate) && candidate.slice("lookup-".length).toLowerCase() === wanted);
}

/** Letters to insert, drop or replace to turn `a` into `b` (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
