import { expect, test } from "bun:test";
import { PACKED_MARK, ProgressPacker, STEP_MESSAGES } from "../../../../src/broker/topics/channel/packed-progress.ts";
import { decodeProgress, type Progress, progressOf, type Range, type Tries } from "../../../../src/broker/topics/channel/progress.ts";
import { DONE, IN_FLIGHT, READY, Window } from "../../../../src/broker/topics/channel/window.ts";
import { Random, seedFromEnvironment } from "../../../support/random.ts";

/** A window with `count` messages from a floor on, all in flight. */
function windowOf(floor: number, count: number): Window {
  const window = new Window(floor);
  while (window.capacity < count) {
    window.unfinished = window.capacity;
    window.grow();
  }
  window.state.fill(IN_FLIGHT);
  window.attempts.fill(1);
  window.cursor = floor + count;
  window.unfinished = count;
  return window;
}

function pack(window: Window, skips: Range[] = [], tried: Tries[] = [], between: () => void = () => {}): { bytes: Buffer; steps: number } {
  const packer = new ProgressPacker({ window, skips, tried });
  for (let steps = 1; ; steps++) {
    const bytes = packer.step();
    if (bytes !== undefined) return { bytes, steps };
    between();
  }
}

/** Joins ranges that touch, since a block of messages may end in the middle of one. */
function joined(progress: Progress): Progress {
  const tried: Tries[] = [];
  for (const { from, to, attempts } of progress.tried) {
    const last = tried[tried.length - 1];
    if (last !== undefined && last.to === from && last.attempts === attempts) last.to = to;
    else tried.push({ from, to, attempts });
  }
  return { finished: progress.finished, tried };
}

test("packed progress is what was packed, whatever is finished and however often messages were delivered", () => {
  const seed = seedFromEnvironment();
  for (let part = 0; part < 60; part++) {
    const random = Random.forPart(seed, part);
    const window = windowOf(random.pick([0, 5, 2 ** 32 - 3, 2 ** 40 + 1]), random.pick([0, 1, 4095, 4096, 4097, 30_000]));
    const share = random.pick([0, 0.0001, 0.01, 0.5, 0.99, 1]);
    const delivered = random.pick([1, 2, 60_000]);
    for (let sequence = window.floor + 1; sequence < window.cursor; sequence++) {
      window.state[sequence & window.mask] = random.chance(share) ? DONE : random.pick([IN_FLIGHT, READY]);
      window.attempts[sequence & window.mask] = random.int(1, delivered);
    }
    const skips = random.chance(0.5) ? [{ from: window.cursor + 7, to: window.cursor + 90 }] : [];
    const tried = random.chance(0.5) ? [{ from: window.cursor + 90, to: window.cursor + 100, attempts: 4 }] : [];
    const expected = progressOf(window, skips);
    expected.tried.push(...tried);
    const decoded = decodeProgress(pack(window, skips, tried).bytes, window.floor);
    expect(joined(decoded), `BUNSQ_SEED=${seed}, part ${part}`).toEqual(joined(expected));
  }
});

test("the progress of a million messages takes a bit for each at most, and no step looks at more than 32,768", () => {
  const window = windowOf(123, 1 << 20);
  for (let sequence = 124; sequence < window.cursor; sequence += 2) window.state[sequence & window.mask] = DONE;
  const { bytes, steps } = pack(window);
  expect(steps).toBe((1 << 20) / STEP_MESSAGES);
  expect(bytes.length).toBeLessThan((1 << 17) + 2000);
  expect(decodeProgress(bytes, 123).finished).toHaveLength(1 << 19);

  window.state.fill(IN_FLIGHT);
  expect(pack(window).bytes.length).toBeLessThan(400);
});

test("hundreds of thousands of ranges behind the window are packed in steps, too", () => {
  const window = windowOf(0, 0);
  const skips = Array.from({ length: 100_000 }, (_, i) => ({ from: 2 * i + 1, to: 2 * i + 2 }));
  const tried = Array.from({ length: 100_000 }, (_, i) => ({ from: 2 * i, to: 2 * i + 1, attempts: 1 }));
  const { bytes, steps } = pack(window, skips, tried);
  expect(steps).toBeGreaterThan(10);
  expect(decodeProgress(bytes, 0)).toEqual({ finished: skips, tried });
});

test("a channel that goes on while its progress is packed never has an unfinished message taken for a finished one", () => {
  const seed = seedFromEnvironment();
  for (let part = 0; part < 8; part++) {
    const random = Random.forPart(seed, part);
    const window = windowOf(0, 120_000);
    for (let i = 0; i < 30_000; i++) {
      const sequence = random.int(1, 119_999);
      if (window.state[sequence & window.mask] !== DONE) window.finish(sequence);
    }
    const floor = window.floor;
    const before = finishedIn(progressOf(window, []), floor);
    const goOn = () => {
      // The floor moves up, and the slots below it get other messages.
      const to = Math.min(window.cursor - 1, window.floor + random.int(0, 100_000));
      for (let sequence = window.floor; sequence < to; sequence++) {
        if (window.state[sequence & window.mask] !== DONE) window.finish(sequence);
      }
      const more = random.int(0, Math.min(30_000, window.room));
      for (let i = 0; i < more; i++) {
        const slot = window.cursor & window.mask;
        window.state[slot] = IN_FLIGHT;
        window.attempts[slot] = 1;
        window.cursor++;
        window.unfinished++;
      }
    };
    const { bytes } = pack(window, [], [], goOn);
    const packed = decodeProgress(bytes, floor);
    const finished = finishedIn(packed, floor);
    for (const sequence of finished) {
      if (sequence >= window.floor && window.state[sequence & window.mask] !== DONE) {
        throw new Error(`BUNSQ_SEED=${seed}, part ${part}: ${sequence} is not finished`);
      }
    }
    for (const sequence of before)
      if (!finished.has(sequence)) throw new Error(`BUNSQ_SEED=${seed}, part ${part}: ${sequence} is finished`);
  }
});

function finishedIn({ finished }: Progress, floor: number): Set<number> {
  const sequences = new Set<number>();
  for (const { from, to } of finished) for (let sequence = Math.max(from, floor); sequence < to; sequence++) sequences.add(sequence);
  return sequences;
}

test("packed progress that is cut short is found damaged, wherever it was cut", () => {
  const window = windowOf(0, 9_000);
  for (let sequence = 1; sequence < 9_000; sequence += 3) window.state[sequence & window.mask] = DONE;
  const { bytes } = pack(window);
  expect(bytes.subarray(0, PACKED_MARK.length).equals(PACKED_MARK)).toBeTrue();
  for (let length = 1; length < bytes.length; length++) {
    expect(() => decodeProgress(bytes.subarray(0, length), 0)).toThrow("damaged progress");
  }
});
