/** Names that differ in more letters are not similar. */
const LARGEST_SLIP = 3;

/**
 * Finds the name that a wrong one probably means; undefined if none is similar.
 *
 * @param most the number of letters that may differ
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
  // Beside a broker the lookup's flags have a prefix.
  return found ?? names.find((candidate) => /^lookup[-_]/i.test(candidate) && candidate.slice("lookup-".length).toLowerCase() === wanted);
}

/** The Levenshtein distance: the letters to insert, remove or replace to turn `a` into `b`. */
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
