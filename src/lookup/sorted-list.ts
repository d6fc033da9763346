/** Something that has a number of its own, given in the order of its making. */
export interface Ordered {
  readonly ordinal: number;
}

const NONE: never[] = [];

/**
 * A set of numbered things as one plain array in the order of their numbers.
 *
 * With 300 producers on each of 1,500 topics and channels there are 450,000 memberships, kept from both sides. As Sets
 * they took 116 MB, as arrays 30 MB; a binary search and a short shift take less than a microsecond.
 */
export class SortedList<Item extends Ordered> {
  /** Made when there is something for it: most topics of a large cluster are at one producer. */
  private list: Item[] = NONE;

  get size(): number {
    return this.list.length;
  }

  /** To be read only, and not across a change. */
  get items(): readonly Item[] {
    return this.list;
  }

  /** @returns false if it was there already */
  add(item: Item): boolean {
    const { list } = this;
    const place = this.placeOf(item);
    if (list[place] === item) return false;
    if (list === NONE) this.list = Array.of(item);
    else if (place === list.length) list.push(item);
    else list.splice(place, 0, item);
    return true;
  }

  /** @returns false if it was not there */
  remove(item: Item): boolean {
    const { list } = this;
    const place = this.placeOf(item);
    if (list[place] !== item) return false;
    list.splice(place, 1);
    return true;
  }

  /** Takes out the item with the highest number; undefined if there is none. */
  pop(): Item | undefined {
    return this.list.pop();
  }

  clear(): void {
    this.list = NONE;
  }

  /** Where the first item stands whose number is not below this one's. */
  private placeOf({ ordinal }: Item): number {
    const { list } = this;
    let low = 0;
    let high = list.length;
    // What is new has the highest number mostly, or nearly.
    if (high > 0 && list[high - 1].ordinal < ordinal) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (list[middle].ordinal < ordinal) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
