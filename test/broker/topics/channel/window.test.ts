import { expect, test } from "bun:test";
import { DONE, FREE, IN_FLIGHT, READY, Window } from "../../../../src/broker/topics/channel/window.ts";
import { Random, seedFromEnvironment } from "../../../support/random.ts";

/** A chunk of frames with bodies of `sizes`, for takeRun(). */
function frames(sizes: number[]): DataView {
  const bytes = Buffer.alloc(sizes.reduce((sum, size) => sum + 34 + size, 0));
  let at = 0;
  for (const size of sizes) {
    bytes.writeUInt32BE(30 + size, at);
    at += 34 + size;
  }
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

interface Model {
  done: boolean;
  attempts: number;
  owner: number;
  position: number;
  deadline: number;
}

/** A window as a plain map of the sequences between floor and cursor. */
class WindowModel {
  readonly entries = new Map<number, Model>();
  floor: number;
  cursor: number;

  constructor(floor: number) {
    this.floor = this.cursor = floor;
  }

  get unfinished(): number {
    return [...this.entries.values()].filter(({ done }) => !done).length;
  }

  take(entry: Model): void {
    this.entries.set(this.cursor++, entry);
    this.raise();
  }

  raise(): void {
    while (this.floor < this.cursor && this.entries.get(this.floor)?.done) this.entries.delete(this.floor++);
  }
}

function compare(window: Window, model: WindowModel): void {
  expect([window.floor, window.cursor, window.unfinished]).toEqual([model.floor, model.cursor, model.unfinished]);
  for (const [sequence, entry] of model.entries) {
    const i = sequence & window.mask;
    const state = window.state[i] === DONE;
    const same = entry.done
      ? state
      : !state &&
        window.attempts[i] === entry.attempts &&
        window.owner[i] === entry.owner &&
        window.position[i] === entry.position &&
        window.deadlineMs[i] === entry.deadline;
    if (!same) throw new Error(`sequence ${sequence} differs from ${JSON.stringify(entry)}`);
  }
}

test("a window behaves like a plain map of states under random operations", () => {
  const seed = seedFromEnvironment();
  for (let round = 0; round < 6; round++) {
    const random = Random.forPart(seed, round);
    const start = random.pick([0, 7, 1023, 2 ** 31 - 5, 2 ** 40 - 100]);
    const window = new Window(start);
    const model = new WindowModel(start);
    try {
      let position = 1000;
      for (let step = 0; step < 400; step++) {
        const what = random.next();
        if (what < 0.45) {
          const sizes = Array.from({ length: random.int(1, 300) }, () => random.int(1, 60));
          const view = frames(sizes);
          if (window.room < sizes.length) {
            if (!window.grow()) continue;
            compare(window, model);
          }
          if (window.room < sizes.length) continue;
          const limit = random.int(1, sizes.length);
          const maxBytes = random.chance(0.3) ? random.int(1, 2000) : 1e9;
          const count = window.takeRun(view, position, 0, view.byteLength, limit, maxBytes, step, 5, step * 10);
          let at = 0;
          let taken = 0;
          for (const size of sizes) {
            if (taken === limit || at >= maxBytes) break;
            model.take({ done: false, attempts: 1, owner: step, position: position + at, deadline: step * 10 });
            at += 34 + size;
            taken++;
          }
          expect([count, window.runEnd]).toEqual([taken, at]);
          position += view.byteLength;
        } else if (what < 0.6 && model.entries.size > 0) {
          // A run of FINs of one owner. Sometimes it begins below the floor, goes past the cursor, or is not the owner's.
          const first = random.int(Math.max(0, model.floor - 1), model.cursor);
          const owner = random.chance(0.9) ? (model.entries.get(first)?.owner ?? 0) : -1;
          const count = random.int(1, 400);
          let expected = 0;
          for (; expected < count; expected++) {
            const entry = model.entries.get(first + expected);
            if (entry === undefined || entry.done || entry.owner !== owner) break;
            entry.done = true;
          }
          model.raise();
          expect(window.finishRun(first, count, owner)).toBe(expected);
        } else if (what < 0.9) {
          const unfinished = [...model.entries].filter(([, { done }]) => !done).map(([sequence]) => sequence);
          // Mostly the oldest messages are finished, as consumers do, and sometimes any other.
          for (let left = random.int(0, 200); left > 0 && unfinished.length > 0; left--) {
            const at = random.chance(0.9) ? 0 : random.int(0, unfinished.length - 1);
            const [sequence] = unfinished.splice(at, 1);
            window.finish(sequence);
            (model.entries.get(sequence) as Model).done = true;
            model.raise();
          }
        } else if (what < 0.97) {
          const by = random.int(0, Math.min(window.room, 500));
          window.skipTo(window.cursor + by);
          for (let i = 0; i < by; i++) model.take({ done: true, attempts: 0, owner: 0, position: 0, deadline: 0 });
        } else {
          window.shrink();
        }
        if (step % 20 === 0) compare(window, model);
      }
      compare(window, model);
    } catch (error) {
      throw new Error(`BUNSQ_SEED=${seed}, round ${round}: ${(error as Error).message}`);
    }
  }
});

test("a run ends at its limit, at its bytes or at the chunk's end, but has at least one message", () => {
  const view = frames([100, 100, 100, 100]);
  const take = (limit: number, maxBytes: number): number => new Window(0).takeRun(view, 0, 0, view.byteLength, limit, maxBytes, 1, 0, 0);
  expect(take(3, 1e9)).toBe(3);
  expect(take(100, 1e9)).toBe(4);
  expect(take(100, 134)).toBe(1);
  expect(take(100, 135)).toBe(2);
  expect(take(100, 1)).toBe(1);
});

test("the floor stays at the oldest unfinished message, and moves past finished ones once that is finished", () => {
  const window = new Window(10);
  window.takeRun(frames([1, 1, 1, 1]), 0, 0, 140, 4, 1e9, 1, 0, 0);
  window.finish(12);
  window.finish(11);
  expect(window.floor).toBe(10);
  window.finish(10);
  expect(window.floor).toBe(13);
  expect([window.has(12), window.has(13), window.has(14)]).toEqual([false, true, false]);
  window.finish(13);
  expect([window.floor, window.cursor, window.unfinished]).toEqual([14, 14, 0]);
});

test("a skip needs no room while nothing is unfinished", () => {
  const window = new Window(0);
  window.skipTo(5_000_000);
  expect([window.floor, window.cursor, window.capacity]).toEqual([5_000_000, 5_000_000, 1024]);
});

test("a reset discards all state", () => {
  const window = new Window(0);
  window.takeRun(frames([1, 1]), 0, 0, 70, 2, 1e9, 1, 0, 0);
  window.reset(2);
  expect([window.floor, window.cursor, window.unfinished]).toEqual([2, 2, 0]);
  expect(window.state.every((state) => state === FREE)).toBeTrue();
});

test("a small window always grows, a large one only if half of it is unfinished, and none beyond a million", () => {
  const window = new Window(0);
  const one = frames(Array.from({ length: 1024 }, () => 1));
  while (window.capacity < 1 << 14) expect(window.grow()).toBeTrue();
  window.takeRun(one, 0, 0, 35, 1, 1e9, 1, 0, 0);
  window.skipTo(window.floor + window.capacity);
  expect([window.room, window.grow()]).toEqual([0, false]);
  window.reset(0);
  while (window.room > 0) window.takeRun(one, 0, 0, one.byteLength, Math.min(1024, window.room), 1e9, 1, 0, 0);
  expect(window.grow()).toBeTrue();
  expect([window.capacity, window.unfinished, window.room]).toEqual([1 << 15, 1 << 14, 1 << 14]);
  for (let i = 0; i < 1 << 14; i++) if (window.state[i] !== IN_FLIGHT) throw new Error(`${i} is lost`);
});

test("the memory of a burst is freed once nothing is unfinished", () => {
  const window = new Window(0);
  window.grow();
  window.takeRun(frames([1]), 0, 0, 35, 1, 1e9, 1, 0, 0);
  window.state[0] = READY;
  window.shrink();
  expect(window.capacity).toBe(2048);
  window.finish(0);
  window.shrink();
  expect([window.capacity, window.floor, window.cursor]).toEqual([1024, 1, 1]);
});
