import { expect, test } from "bun:test";
import { TakerSets } from "../../../../../src/broker/topics/channel/selective/taker-sets.ts";

test("of many sets of groups those stay that have messages", () => {
  const sets = new TakerSets();
  const numbered = (group: number) => sets.setOf(Int32Array.of(group), 1);
  numbered(7).queue.push(70);
  const emptied = numbered(8);
  emptied.queue.push(80);
  emptied.queue.shift();
  for (let group = 100; group < 1000; group++) numbered(group);
  expect(numbered(7).queue.first).toBe(70);
  expect(numbered(8)).not.toBe(emptied);
  numbered(8).queue.push(81);
  expect([sets.oldestFor(7)?.first, sets.oldestFor(8)?.first, sets.waitingCount]).toEqual([70, 81, 2]);
});
