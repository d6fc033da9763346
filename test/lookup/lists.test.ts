import { expect, test } from "bun:test";
import { NamedList } from "../../src/lookup/named-list.ts";
import { SortedList } from "../../src/lookup/sorted-list.ts";
import { Random } from "../support/random.ts";

test("a sorted list has each item once, in the order of the ordinals, after any additions and removals", () => {
  const things = Array.from({ length: 40 }, (_, ordinal) => ({ ordinal }));
  const list = new SortedList<{ ordinal: number }>();
  const model = new Set<{ ordinal: number }>();
  const random = new Random(1);
  for (let step = 0; step < 5000; step++) {
    const thing = random.pick(things);
    const add = random.chance(0.5);
    const changed = add ? !model.has(thing) : model.has(thing);
    expect(add ? list.add(thing) : list.remove(thing)).toBe(changed);
    if (add) model.add(thing);
    else model.delete(thing);
    expect(list.items).toEqual(things.filter((each) => model.has(each)));
    expect(list.size).toBe(model.size);
  }
  while (list.size > 0) expect(list.pop()).toBe([...model].sort((a, b) => a.ordinal - b.ordinal).at(list.size)!);
  expect(list.pop()).toBeUndefined();
});

test("two empty lists share nothing", () => {
  const [a, b] = [new SortedList<{ ordinal: number }>(), new SortedList<{ ordinal: number }>()];
  a.add({ ordinal: 1 });
  a.clear();
  a.add({ ordinal: 2 });
  expect(b.items).toEqual([]);
  const [c, d] = [new NamedList<{ name: string }>(), new NamedList<{ name: string }>()];
  c.add({ name: "x" });
  expect(d.items).toEqual([]);
  expect(d.get("x")).toBeUndefined();
});

test("a named list finds few or many items by their names, and keeps the order of their addition", () => {
  const names = Array.from({ length: 40 }, (_, i) => ({ name: i === 7 ? "constructor" : `name${i}` }));
  const list = new NamedList<{ name: string }>();
  const model: { name: string }[] = [];
  const random = new Random(2);
  for (let step = 0; step < 5000; step++) {
    // The list is short at first, then long, then short again.
    const thing = random.pick(names);
    const there = model.includes(thing);
    expect(list.get(thing.name)).toBe(there ? thing : undefined!);
    if (there && random.chance(step % 1000 < 500 ? 0.2 : 0.8)) {
      list.remove(thing);
      model.splice(model.indexOf(thing), 1);
    } else if (!there && random.chance(step % 1000 < 500 ? 0.8 : 0.2)) {
      list.add(thing);
      model.push(thing);
    }
    expect(list.items).toEqual(model);
    expect(list.size).toBe(model.length);
  }
});
