import type { StoredMessage } from "./stored-message.ts";

/** Messages ordered by due time: a binary heap. */
export class DueHeap {
  private readonly items: StoredMessage[] = [];

  get size(): number {
    return this.items.length;
  }

  /** All of them, the soonest first, the others in no order. */
  get all(): readonly StoredMessage[] {
    return this.items;
  }

  /** Takes one out by its number: a walk over all, for what an operator does now and then. */
  remove(number: number): StoredMessage | undefined {
    const found = this.items.find((message) => message.number === number);
    if (found === undefined) return undefined;
    const rest = this.items.filter((message) => message !== found);
    this.items.length = 0;
    for (const message of rest) this.push(message);
    return found;
  }

  peek(): StoredMessage | undefined {
    return this.items[0];
  }

  push(message: StoredMessage): void {
    const { items } = this;
    let i = items.push(message) - 1;
    while (i > 0) {
      const parent = (i - 1) >>> 1;
      if (items[parent].dueMs <= message.dueMs) break;
      items[i] = items[parent];
      i = parent;
    }
    items[i] = message;
  }

  pop(): StoredMessage | undefined {
    const { items } = this;
    const first = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return first;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && items[child + 1].dueMs < items[child].dueMs) child++;
      if (items[child].dueMs >= last.dueMs) break;
      items[i] = items[child];
      i = child;
    }
    items[i] = last;
    return first;
  }
}
