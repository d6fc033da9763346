import { expect, test } from "bun:test";
import { encodeChannel, encodeTopic } from "../../../src/broker/topics/state-format.ts";
import { CHANNEL_KEY, TOPIC_KEY } from "../../../src/broker/topics/state-values.ts";
import { ReplicaValues } from "../../../src/cluster/member/replica-values.ts";
import type { ReplicaState, StateChange } from "../../../src/cluster/replication/state/replica-state.ts";

/** A state in memory. */
function memoryState(): ReplicaState {
  const values = new Map<string, StateChange>();
  const keys = () => [...values.keys()].sort();
  return {
    keysAfter: (after, limit) =>
      keys()
        .filter((key) => key > after)
        .slice(0, limit)
        .map((key) => ({ key, epoch: 1, number: 1 })),
    get: (key) => {
      const value = values.get(key)?.value;
      return value === undefined ? undefined : { key, epoch: 1, number: 1, value };
    },
    apply: (changes, done) => {
      for (const change of changes) values.set(change.key, change);
      done(undefined);
    },
  };
}

function channel(name: string, floor: number): StateChange {
  const value = encodeChannel({ paused: false, floor, voidBefore: 0, requeuesVoidBefore: 0, progress: new Uint8Array() });
  return { key: CHANNEL_KEY + name, epoch: 1, number: 1, value };
}

test("a follower keeps all messages until it knows which channels its leader has", () => {
  const replica = { leading: undefined, hasState: false };
  const values = new ReplicaValues({ callAfterTurn: () => {} }, memoryState(), () => replica);
  const topic = { key: TOPIC_KEY, epoch: 1, number: 1, value: encodeTopic({ paused: false, released: 900, heldFrom: 1 }) };
  values.state.apply([topic, channel("fast", 900)], () => {});
  // What it has may be of an earlier leader, or half of what this one has.
  expect([values.review(), values.keptFrom(5)]).toEqual([false, 5]);
  values.state.apply([channel("slow", 40)], () => {});
  replica.hasState = true;
  expect([values.review(), values.keptFrom(5)]).toEqual([true, 40]);
  // Another leader has others, maybe.
  replica.hasState = false;
  expect(values.keptFrom(5)).toBe(5);
});
