/** Topics or channels in the order of their names. */
export function byName<T extends { name: string }>(items: ReadonlyMap<string, T>): T[] {
  return [...items.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}
