import { expect, test } from "bun:test";
import {
  addRange,
  decodeProgress,
  encodeProgress,
  type Progress,
  progressOf,
  type Range,
} from "../../../../src/broker/topics/channel/progress.ts";
import { DONE, IN_FLIGHT, Window } from "../../../../src/broker/topics/channel/window.ts";
import { Random, seedFromEnvironment } from "../../../support/random.ts";

function randomProgress(random: Random, floor: number): Progress {
  const ranges = (): Range[] => {
    let at = floor;
    return Array.from({ length: random.int(0, 30) }, () => {
      const from = at + random.int(0, random.pick([2, 200, 20_000, 2 ** 33]));
      at = from + random.int(1, random.pick([2, 200, 20_000, 2 ** 33]));
      return { from, to: at };
    });
  };
  return { finished: ranges(), tried: ranges().map((range) => ({ ...range, attempts: random.int(0, 65_535) })) };
}

test("progress is decoded as it was encoded, whatever the floor and the numbers", () => {
  const seed = seedFromEnvironment();
  for (let part = 0; part < 500; part++) {
    const random = Random.forPart(seed, part);
    const floor = random.pick([0, 1, 12_345, 2 ** 32 - 1, 2 ** 40, 2 ** 45]);
    const progress = randomProgress(random, floor);
    expect(decodeProgress(encodeProgress(progress, floor), floor), `BUNSQ_SEED=${seed}, part ${part}`).toEqual(progress);
  }
});

test("an empty row has no progress", () => {
  expect(decodeProgress(new Uint8Array(0), 5)).toEqual({ finished: [], tried: [] });
});

test("progress that is cut short is found damaged, wherever it was cut", () => {
  const progress = { finished: [{ from: 300, to: 900 }], tried: [{ from: 900, to: 70_000, attempts: 500 }] };
  const bytes = encodeProgress(progress, 0);
  for (let length = 1; length < bytes.length; length++) {
    expect(() => decodeProgress(bytes.subarray(0, length), 0)).toThrow("damaged progress");
  }
  expect(() => decodeProgress(Buffer.alloc(20, 0xff), 0)).toThrow("damaged progress");
});

test("the progress of a window with thousands of messages in flight takes a few bytes", () => {
  const window = new Window(1_000_000);
  window.grow();
  window.grow();
  window.cursor += 3000;
  window.state.fill(IN_FLIGHT);
  window.attempts.fill(1);
  expect(encodeProgress(progressOf(window, []), window.floor).length).toBeLessThan(8);
});

test("a window's progress has what is finished above its floor, and the attempts of the rest", () => {
  const window = new Window(1020);
  window.cursor = 1030;
  for (let sequence = 1020; sequence < 1030; sequence++) {
    window.state[sequence & window.mask] = sequence % 4 === 1 ? DONE : IN_FLIGHT;
    window.attempts[sequence & window.mask] = sequence < 1027 ? 1 : 3;
  }
  expect(progressOf(window, [{ from: 1040, to: 1050 }])).toEqual({
    finished: [
      { from: 1021, to: 1022 },
      { from: 1025, to: 1026 },
      { from: 1029, to: 1030 },
      { from: 1040, to: 1050 },
    ],
    tried: [
      { from: 1020, to: 1021, attempts: 1 },
      { from: 1022, to: 1025, attempts: 1 },
      { from: 1026, to: 1027, attempts: 1 },
      { from: 1027, to: 1029, attempts: 3 },
    ],
  });
});

test("ranges that touch or overlap are merged, and stay in order", () => {
  const seed = seedFromEnvironment();
  for (let part = 0; part < 200; part++) {
    const random = Random.forPart(seed, part);
    const ranges: Range[] = [];
    const model = new Set<number>();
    for (let i = 0; i < 30; i++) {
      const from = random.int(0, 100);
      const to = from + random.int(1, 10);
      addRange(ranges, from, to);
      for (let n = from; n < to; n++) model.add(n);
    }
    const covered = ranges.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, n) => from + n));
    expect(covered, `BUNSQ_SEED=${seed}, part ${part}`).toEqual([...model].sort((a, b) => a - b));
    for (let i = 1; i < ranges.length; i++) expect(ranges[i].from).toBeGreaterThan(ranges[i - 1].to);
  }
});
