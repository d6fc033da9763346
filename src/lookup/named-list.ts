/** So few are found by looking through them as fast as by an index. */
const LARGEST_UNINDEXED = 16;
const NONE: never[] = [];

/**
 * Things by their names, in the order in which they came. Nearly all topics have a few channels, and a Map of two takes
 * 300 bytes: with 150,000 topics 45 MB. So there is an index only where there are many.
 */
export class NamedList<Item extends { readonly name: string }> {
  private list: Item[] = NONE;
  private index: Map<string, Item> | undefined;

  get size(): number {
    return this.list.length;
  }

  /** To be read only, and not across a change. */
  get items(): readonly Item[] {
    return this.list;
  }

  get(name: string): Item | undefined {
    if (this.index !== undefined) return this.index.get(name);
    for (const item of this.list) if (item.name === name) return item;
    return undefined;
  }

  /** @param item whose name no other has */
  add(item: Item): void {
    if (this.list === NONE) this.list = Array.of(item);
    else this.list.push(item);
    if (this.index !== undefined) this.index.set(item.name, item);
    else if (this.list.length > LARGEST_UNINDEXED) this.index = new Map(this.list.map((each) => [each.name, each]));
  }

  /** @param item that is there */
  remove(item: Item): void {
    this.list.splice(this.list.indexOf(item), 1);
    this.index?.delete(item.name);
  }
}
