import { expect, test } from "bun:test";
import { Histogram, recordRun } from "../../src/base/histogram.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";

const BOUNDS = Float64Array.of(1, 10, 100);

test("a value is counted in the range whose bound it does not exceed, and above all bounds in the last", () => {
  const histogram = new Histogram(BOUNDS);
  for (const value of [0, 1, 1.5, 10, 11, 100, 101]) histogram.record(value);
  expect([...histogram.counts]).toEqual([2, 2, 2, 1]);
  expect(histogram.sum).toBe(224.5);
  expect(histogram.count).toBe(7);
});

test("a negative value, which a clock that was set back makes, is counted in the first range", () => {
  const histogram = new Histogram(BOUNDS);
  histogram.record(-5);
  expect([...histogram.counts]).toEqual([1, 0, 0, 0]);
});

test("a value is counted in its own range, whatever range the value before it was in", () => {
  const random = new Random(seedFromEnvironment());
  const values = [0, 1, 1.5, 10, 11, 100, 101, -5, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  const histogram = new Histogram(BOUNDS);
  const expected = [0, 0, 0, 0];
  for (let i = 0; i < 2000; i++) {
    const value = values[random.int(0, values.length - 1)];
    expected[[1, 10, 100, Number.POSITIVE_INFINITY].findIndex((bound) => value <= bound)]++;
    histogram.record(value);
  }
  expect([...histogram.counts]).toEqual(expected);
});

test("a run is recorded by its ends if they are in one range, and otherwise not at all", () => {
  const histogram = new Histogram(BOUNDS);
  expect(histogram.recordEnds(2, 6, 10)).toBe(true);
  expect(histogram.recordEnds(6, 2, 1)).toBe(true);
  expect(histogram.recordEnds(6, 11, 5)).toBe(false);
  expect([...histogram.counts]).toEqual([0, 11, 0, 0]);
  expect(histogram.sum).toBe(44);
});

test("a run whose values descend or ascend is counted as one by one, with few of them read", () => {
  const random = new Random(seedFromEnvironment());
  for (let round = 0; round < 300; round++) {
    const values = Array.from({ length: random.int(1, 2000) }, () => random.next() * 10 ** random.int(0, 3));
    values.sort((a, b) => (round % 2 === 0 ? a - b : b - a));
    const expected = new Histogram(BOUNDS);
    for (const value of values) expected.record(value);
    const first = random.int(0, 2 ** 40);
    let reads = 0;
    const reader = {
      valueOf: (sequence: number) => {
        reads++;
        return values[sequence - first];
      },
    };
    const histogram = new Histogram(BOUNDS);
    recordRun(histogram, reader, first, values.length);
    expect([...histogram.counts]).toEqual([...expected.counts]);
    expect(reads).toBeLessThan(60);
  }
});

test("a run in one range costs two reads, however long it is", () => {
  const histogram = new Histogram(BOUNDS);
  let reads = 0;
  const reader = {
    valueOf: (sequence: number) => {
      reads++;
      return 2 + sequence / 1e6;
    },
  };
  recordRun(histogram, reader, 0, 1_000_000);
  expect(reads).toBe(2);
  expect([...histogram.counts]).toEqual([0, 1_000_000, 0, 0]);
  expect(histogram.sum).toBeCloseTo(2_500_000, -1);
});

test("a histogram has the values of another one that is added", () => {
  const sum = new Histogram(BOUNDS);
  const other = new Histogram(BOUNDS);
  sum.record(5);
  other.record(5, 2);
  other.record(1000);
  sum.add(other);
  expect([...sum.counts]).toEqual([0, 3, 0, 1]);
  expect(sum.sum).toBe(1015);
});
