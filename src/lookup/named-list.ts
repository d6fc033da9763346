/** Among this many items or fewer a search is as fast as an index. */
const LARGEST_UNINDEXED = 16;
const NONE: never[] = [];

/**
 * Items with unique names, in the order in which they were added. Nearly all topics have a few channels, and a Map of two
 * entries takes 300 bytes: 45 MB for 150,000 topics. So only long lists have an index.
 */
export class NamedList<Item extends { readonly name: string }> {
  private list: Item[] = NONE;
  private index: Map<string, Item> | undefined;

  get size(): number {
    return this.list.length;
  }

  /** Read-only, and valid until the next change. */
  get items(): readonly Item[] {
    return this.list;
  }

  get(name: string): Item | undefined {
    if (this.index !== undefined) return this.index.get(name);
    for (const item of this.list) if (item.name === name) return item;
    return undefined;
  }

  /** @param item an item whose name is not in the list */
  add(item: Item): void {
    if (this.list === NONE) this.list = Array.of(item);
    else this.list.push(item);
    if (this.index !== undefined) this.index.set(item.name, item);
    else if (this.list.length > LARGEST_UNINDEXED) this.index = new Map(this.list.map((each) => [each.name, each]));
  }

  /** @param item an item of the list */
  remove(item: Item): void {
    this.list.splice(this.list.indexOf(item), 1);
    this.index?.delete(item.name);
  }
}
