/** An object with a unique number, its ordinal, which is given in the order of creation. */
export interface Ordered {
  readonly ordinal: number;
}

const NONE: never[] = [];

/**
 * A set of objects, as one array sorted by their ordinals.
 *
 * With 300 nodes on each of 1,500 topics and channels there are 450,000 memberships, stored on both sides. As Sets they took
 * 116 MB, as arrays 30 MB. A binary search and a short shift take less than a microsecond.
 */
export class SortedList<Item extends Ordered> {
  /** Created with the first item. Most topics of a large cluster are at one node. */
  private list: Item[] = NONE;

  get size(): number {
    return this.list.length;
  }

  /** Read-only, and valid until the next change. */
  get items(): readonly Item[] {
    return this.list;
  }

  /** @returns false if the item was in the list already */
  add(item: Item): boolean {
    const { list } = this;
    const place = this.placeOf(item);
    if (list[place] === item) return false;
    if (list === NONE) this.list = Array.of(item);
    else if (place === list.length) list.push(item);
    else list.splice(place, 0, item);
    return true;
  }

  /** @returns false if the item was not in the list */
  remove(item: Item): boolean {
    const { list } = this;
    const place = this.placeOf(item);
    if (list[place] !== item) return false;
    list.splice(place, 1);
    return true;
  }

  /** Removes the item with the highest ordinal. @returns undefined if the list is empty */
  pop(): Item | undefined {
    return this.list.pop();
  }

  clear(): void {
    this.list = NONE;
  }

  /** The index of the first item whose ordinal is not below this item's. */
  private placeOf({ ordinal }: Item): number {
    const { list } = this;
    let low = 0;
    let high = list.length;
    // A new item usually has the highest ordinal.
    if (high > 0 && list[high - 1].ordinal < ordinal) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (list[middle].ordinal < ordinal) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
