/** Something that has a number of its own, given in the order of its making. */
export interface Numbered {
  readonly number: number;
}

/**
 * A set of numbered things as one plain array in the order of their numbers.
 *
 * With 300 producers on each of 1,500 topics and channels there are 450,000 memberships, kept from both sides. As Sets
 * they took 116 MB, as arrays 30 MB; a binary search and a short shift cost no more than a Set's hashing.
 */
export class SortedList<Item extends Numbered> {
  private readonly list: Item[] = [];

  get size(): number {
    return this.list.length;
  }

  /** To be read only, and not across a change. */
  get items(): readonly Item[] {
    return this.list;
  }

  has(item: Item): boolean {
    return this.list[this.placeOf(item)] === item;
  }

  /** @returns false if it was there already */
  add(item: Item): boolean {
    const { list } = this;
    const place = this.placeOf(item);
    if (list[place] === item) return false;
    list.push(item);
    if (place < list.length - 1) {
      for (let at = list.length - 1; at > place; at--) list[at] = list[at - 1];
      list[place] = item;
    }
    return true;
  }

  /** @returns false if it was not there */
  remove(item: Item): boolean {
    const { list } = this;
    const place = this.placeOf(item);
    if (list[place] !== item) return false;
    for (let at = place + 1; at < list.length; at++) list[at - 1] = list[at];
    list.pop();
    return true;
  }

  clear(): void {
    this.list.length = 0;
  }

  /** Where the first item stands whose number is not below this one's. */
  private placeOf({ number }: Item): number {
    const { list } = this;
    let low = 0;
    let high = list.length;
    // What is new has the highest number mostly, or nearly.
    if (high > 0 && list[high - 1].number < number) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (list[middle].number < number) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
