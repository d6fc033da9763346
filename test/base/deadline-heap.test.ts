import { expect, test } from "bun:test";
import { type Deadlined, DeadlineHeap } from "../../src/base/deadline-heap.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";

class Item implements Deadlined {
  deadlineMs = 0;
  deadlineIndex = -1;
}

const seed = seedFromEnvironment();

test(`the earliest deadline comes first, whatever is set and removed (BUNSQ_SEED=${seed})`, () => {
  const random = Random.forPart(seed, 0);
  const heap = new DeadlineHeap<Item>();
  const items = Array.from({ length: 200 }, () => new Item());
  const model = new Map<Item, number>();
  let nowMs = 0;
  for (let step = 0; step < 20_000; step++) {
    const item = random.pick(items);
    const what = random.next();
    if (what < 0.6) {
      const atMs = random.next() < 0.1 ? Number.POSITIVE_INFINITY : nowMs + random.int(0, 50);
      heap.set(item, atMs);
      if (atMs === Number.POSITIVE_INFINITY) model.delete(item);
      else model.set(item, atMs);
    } else if (what < 0.75) {
      heap.remove(item);
      model.delete(item);
    } else {
      nowMs += random.int(0, 3);
      const due = heap.takeDue(nowMs);
      if (due === undefined) expect(Math.min(...model.values())).toBeGreaterThan(nowMs);
      else {
        expect(model.get(due)).toBe(Math.min(...model.values()));
        expect(due.deadlineIndex).toBe(-1);
        model.delete(due);
      }
    }
    expect([heap.size, heap.nextMs]).toEqual([model.size, Math.min(...model.values())]);
  }
});
