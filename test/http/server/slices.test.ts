import { expect, test } from "bun:test";
import { inSlices, TextSlices } from "../../../src/http/server/slices.ts";

function* steps(out: TextSlices, count: number, piece: string, onStep = () => {}): Generator<void> {
  for (let i = 0; i < count; i++) {
    out.write(piece);
    onStep();
    yield;
  }
}

test("an answer that is short is complete at once, however long its steps take", () => {
  const out = new TextSlices();
  const stall = () => {
    for (const endMs = performance.now() + 1; performance.now() < endMs; );
  };
  expect(inSlices(out, steps(out, 20, "x".repeat(100), stall))).toBe("x".repeat(2000));
});

test.each([
  [20_000, "of short steps", "x"],
  [200, "of long steps", "x".repeat(2000)],
])("between two slices of an answer of %i steps %s the event loop turns", async (count, _, piece) => {
  const out = new TextSlices();
  let written = 0;
  let turns = 0;
  let isOver = false;
  const turn = () => {
    turns++;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  const slices: { steps: number; turn: number; length: number }[] = [];
  const answer = inSlices(
    out,
    steps(out, count, piece, () => written++),
  );
  if (typeof answer === "string") throw new Error("it is complete at once");
  for await (const slice of answer) slices.push({ steps: written, turn: turns, length: slice.length });
  isOver = true;
  expect(written).toBe(count);
  expect(slices.reduce((sum, { length }) => sum + length, 0)).toBe(count * piece.length);
  let before = { steps: 0, turn: -1 };
  for (const slice of slices) {
    expect(slice.turn).toBeGreaterThan(before.turn);
    expect(slice.steps - before.steps).toBeLessThanOrEqual(256);
    expect(slice.length).toBeLessThan(32 * 1024 + piece.length);
    before = slice;
  }
});

test("a reader that stops early ends the answer", async () => {
  const out = new TextSlices();
  let ends = 0;
  const answer = inSlices(out, steps(out, 20_000, "x"), () => ends++);
  if (typeof answer === "string") throw new Error("it is complete at once");
  for await (const _ of answer) break;
  expect(ends).toBe(1);
});
