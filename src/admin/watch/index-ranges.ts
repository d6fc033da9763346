/** More partitions than this no topic has. */
export const MOST_PARTITIONS = 1_024;

/** The indexes in ranges such as `0-2,5`, as brokers tell those that they have. What is no range is left out. */
export function indexesIn(ranges: string): Set<number> {
  const indexes = new Set<number>();
  for (const range of ranges.split(",")) {
    const [, first = "", last = first] = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(range) ?? [];
    if (first === "") continue;
    for (let index = Number(first); index <= Number(last) && index < MOST_PARTITIONS; index++) indexes.add(index);
  }
  return indexes;
}
