/** Something that is to be looked at when a time has come. Only the heap changes these fields. */
export interface Deadlined {
  /** When it is to be looked at, ms. */
  deadlineMs: number;
  /** Where it is in the heap; -1: it is not there. */
  deadlineIndex: number;
}

/** Items by their deadlines, in a binary heap: the earliest is found at once, and moving one takes a few steps among thousands. */
export class DeadlineHeap<Item extends Deadlined> {
  private readonly items: Item[] = [];

  /** The earliest deadline, ms; Infinity if there is none. */
  get nextMs(): number {
    return this.items.length === 0 ? Number.POSITIVE_INFINITY : this.items[0].deadlineMs;
  }

  get size(): number {
    return this.items.length;
  }

  /** Adds an item, or gives it another deadline. @param atMs Infinity: it has none */
  set(item: Item, atMs: number): void {
    if (atMs === Number.POSITIVE_INFINITY) return this.remove(item);
    if (item.deadlineIndex < 0) {
      item.deadlineIndex = this.items.length;
      this.items.push(item);
    }
    item.deadlineMs = atMs;
    this.place(item);
  }

  remove(item: Item): void {
    const at = item.deadlineIndex;
    if (at < 0) return;
    item.deadlineIndex = -1;
    const last = this.items.pop();
    if (last === undefined || last === item) return;
    last.deadlineIndex = at;
    this.place(last);
  }

  /** Removes and returns an item whose deadline has come. */
  takeDue(nowMs: number): Item | undefined {
    if (this.nextMs > nowMs) return undefined;
    const [item] = this.items;
    this.remove(item);
    return item;
  }

  /** Moves an item from its index to where its deadline belongs. */
  private place(item: Item): void {
    const { items } = this;
    const { deadlineMs } = item;
    let at = item.deadlineIndex;
    while (at > 0) {
      const parent = items[(at - 1) >>> 1];
      if (parent.deadlineMs <= deadlineMs) break;
      this.put(parent, at);
      at = (at - 1) >>> 1;
    }
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && items[child + 1].deadlineMs < items[child].deadlineMs) child++;
      if (items[child].deadlineMs >= deadlineMs) break;
      this.put(items[child], at);
      at = child;
    }
    this.put(item, at);
  }

  private put(item: Item, at: number): void {
    this.items[at] = item;
    item.deadlineIndex = at;
  }
}
