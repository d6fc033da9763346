import { expect, test } from "bun:test";
import { type FaultWindow, StreamLedger } from "./support/stream-ledger.ts";

function read(lines: string[], { keys = 0, windows = [] as FaultWindow[] } = {}): StreamLedger {
  const ledger = new StreamLedger("s", keys, windows, () => 0);
  for (const line of lines) ledger.read(line);
  return ledger;
}

test("what is acknowledged and does not come is missing, and what was only sent is not", () => {
  expect(read(["a 0 4", "u 4 2", "d 5000 0 2 3"]).missing()).toEqual([1]);
});

test("a body that nobody published is noticed", () => {
  expect(read(["a 0 1", "x something else"]).violations).toHaveLength(1);
});

test("what comes again is noticed, unless it was published again or finished shortly before a fault or during one", () => {
  expect(read(["a 0 2", "d 5000 0 1", "d 5020 1"]).violations).toHaveLength(1);
  expect(read(["u 0 2", "a 0 2", "d 5000 0 1", "d 5020 1"]).violations).toEqual([]);
  const windows = [{ fromMs: 6_000, untilMs: 7_000 }];
  expect(read(["a 0 2", "d 5000 0 1", "d 6500 1"], { windows }).violations).toHaveLength(1);
  expect(read(["a 0 2", "d 5800 0 1", "d 6500 1"], { windows }).violations).toEqual([]);
  expect(read(["a 0 2", "d 6900 0 1", "d 7100 1"], { windows }).violations).toEqual([]);
  expect(read(["a 0 2", "d 7100 0 1", "d 7200 1"], { windows }).violations).toHaveLength(1);
});

test("keys are in order: nothing is left out, and only the last one of a key comes again", () => {
  const windows = [{ fromMs: 0, untilMs: Number.POSITIVE_INFINITY }];
  expect(read(["a 0 6", "d 5000 0 1 2 3 4 5"], { keys: 2, windows }).violations).toEqual([]);
  expect(read(["a 0 6", "d 5000 1 0 3 3 2 5 4"], { keys: 2, windows }).violations).toEqual([]);
  expect(read(["a 0 6", "d 5000 0 4"], { keys: 2, windows }).violations).toHaveLength(1);
  expect(read(["a 0 6", "d 5000 0 2 0"], { keys: 2, windows }).violations).toHaveLength(1);
});
