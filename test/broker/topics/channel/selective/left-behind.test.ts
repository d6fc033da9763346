import { expect, test } from "bun:test";
import { NumberQueue } from "../../../../../src/base/number-queue.ts";
import type { TopicLog } from "../../../../../src/broker/storage/log/topic-log.ts";
import { ProgressPacker } from "../../../../../src/broker/topics/channel/packed-progress.ts";
import { decodeProgress, encodeProgress, type Progress, progressOf } from "../../../../../src/broker/topics/channel/progress.ts";
import { LeftBehind, LeftMessage } from "../../../../../src/broker/topics/channel/selective/left-behind.ts";
import { Selection } from "../../../../../src/broker/topics/channel/selective/selection.ts";
import { DEFERRED, DONE, READY, Window } from "../../../../../src/broker/topics/channel/window.ts";
import { Random, seedFromEnvironment } from "../../../../support/random.ts";

const seed = seedFromEnvironment();

/** The state of each message that a progress speaks of: its attempts, -1 if it is finished. */
function messagesIn({ finished, tried }: Progress): Map<number, number> {
  const found = new Map<number, number>();
  for (const { from, to } of finished) for (let sequence = from; sequence < to; sequence++) found.set(sequence, -1);
  for (const { from, to, attempts } of tried) for (let sequence = from; sequence < to; sequence++) found.set(sequence, attempts);
  return found;
}

test(`the progress of a channel that chooses is that of one moment, packed or not, whatever happens between two steps (BUNSQ_SEED=${seed})`, () => {
  for (let part = 0; part < 8; part++) {
    const random = Random.forPart(seed, part);
    const floor = random.pick([0, 1000, 2 ** 33]);
    const window = new Window(floor);
    // Nothing but whether it has files is asked of the log.
    const log = { files: {} } as TopicLog;
    const selection = new Selection("key", window, new NumberQueue(), log);
    const count = random.int(1, 120_000);
    const unfinished = random.pick([0.0005, 0.01, 0.3]);
    let expected = new Map<number, number>();
    const add = (sequence: number) => {
      if (window.room === 0 && !window.grow()) while (window.room === 0) selection.moveOut();
      const i = sequence & window.mask;
      const isDeferred = random.chance(0.2);
      window.state[i] = isDeferred ? DEFERRED : READY;
      window.attempts[i] = random.int(0, 3);
      window.deadlineMs[i] = 5000 + random.int(0, 10);
      window.key[i] = 0;
      window.next[i] = -1;
      window.cursor++;
      window.unfinished++;
      expected.set(sequence, window.attempts[i]);
      if (random.chance(unfinished)) return;
      window.finish(sequence);
      expected.set(sequence, -1);
    };
    for (let sequence = floor; sequence < floor + count; sequence++) add(sequence);
    const plain = progressOf(window, [], selection);
    const decoded = decodeProgress(encodeProgress(plain, selection.floor), selection.floor);
    const packer = new ProgressPacker({ window, selection, skips: [], tried: [] });
    const atBeginning = expected;
    expected = new Map();
    let packed = packer.step();
    for (; packed === undefined; packed = packer.step()) {
      if (random.chance(0.5)) selection.moveOut();
      for (let more = random.int(0, 1000); more > 0; more--) add(window.cursor);
      // Where both messages of a key are finished now, the second one alone would be wrong.
      for (let i = 0; i < 1000; i++) {
        const sequence = random.int(floor, window.cursor);
        if (selection.left.get(sequence) !== undefined) selection.left.remove(sequence);
        else if (window.has(sequence) && window.state[sequence & window.mask] !== DONE) window.finish(sequence);
      }
    }
    expected = atBeginning;
    const unpacked = decodeProgress(packed, packer.floor);
    for (const progress of [decoded, unpacked]) {
      const found = messagesIn(progress);
      expect([...found.keys()].every((sequence) => sequence < floor + count)).toBe(true);
      for (const [sequence, attempts] of expected) expect(found.get(sequence) ?? -1, `part ${part}, ${sequence - floor}`).toBe(attempts);
    }
    expect(unpacked.held ?? []).toEqual(decoded.held ?? []);
    expect(decoded.held ?? []).toEqual(plain.held ?? []);
  }
});

test(`messages left behind come in order, while others are removed (BUNSQ_SEED=${seed})`, () => {
  const random = new Random(seed);
  const left = new LeftBehind();
  let model: number[] = [];
  for (let sequence = 0; sequence < 5000; sequence += random.int(1, 5)) {
    left.add(new LeftMessage(sequence, 0, READY, 0, 0, 0, 0, 0, -1, undefined));
    model.push(sequence);
    if (random.chance(0.7)) {
      const removed = random.pick(model);
      left.remove(removed);
      model = model.filter((other) => other !== removed);
    }
    expect(left.size).toBe(model.length);
    if (model.length > 0) expect(left.first).toBe(model[0]);
  }
  expect([...left.values()].map(({ sequence }) => sequence)).toEqual(model);
});
