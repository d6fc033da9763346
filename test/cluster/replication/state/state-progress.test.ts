import { expect, test } from "bun:test";
import type { ReplicaState, StateValue } from "../../../../src/cluster/replication/state/replica-state.ts";
import { StateProgress } from "../../../../src/cluster/replication/state/state-progress.ts";

const VALUE = Buffer.from("v");

/** A leader's state with these keys, each of epoch 1 and with a number of its own. */
function stateOf(keys: readonly string[]): ReplicaState {
  const values = keys.map((key, i): StateValue => ({ key, epoch: 1, number: i, value: VALUE })).sort((a, b) => (a.key < b.key ? -1 : 1));
  return {
    keysAfter: (after, limit) => values.filter(({ key }) => key > after).slice(0, limit),
    get: (key) => values.find((value) => value.key === key),
    apply: () => {},
  };
}

/** What a follower is sent, in order, when it has told these keys. */
function sentTo(follower: StateProgress, state: ReplicaState): string[] {
  const sent: string[] = [];
  for (;;) {
    const next = follower.next(state, () => {});
    if (next === undefined) return sent;
    for (const key of next) {
      sent.push(state.get(key) === undefined ? `${key} is gone` : key);
      follower.took(key);
    }
  }
}

function told(keys: readonly [string, number][], after = "", isLast = true) {
  const list = keys.map(([key, number]) => ({ key, epoch: 1, number }));
  return { kind: "state-keys", partition: 1, epoch: 1, ask: 1, after, isLast, keys: list } as const;
}

test("what channels rest on is sent before them, what is removed after them, and what a follower has not at all", () => {
  const state = stateOf(["channel/a", "channel/b", "deferred/1", "deferred/2"]);
  const follower = new StateProgress(0);
  follower.onKeys(
    told([
      ["channel/a", 9],
      ["channel/b", 1],
      ["channel/c", 3],
      ["deferred/0", 1],
      ["deferred/1", 2],
    ]),
    0,
  );
  expect(sentTo(follower, state)).toEqual(["deferred/2", "channel/a", "channel/c is gone", "deferred/0 is gone"]);
  expect(follower.isDone).toBe(true);
});

test("nothing but values is sent before a follower has told all keys", () => {
  const state = stateOf(["channel/a", "deferred/1", "deferred/3"]);
  const follower = new StateProgress(0);
  follower.onKeys(
    told(
      [
        ["deferred/0", 1],
        ["deferred/1", 8],
      ],
      "",
      false,
    ),
    0,
  );
  expect([sentTo(follower, state), follower.isDone]).toEqual([["deferred/1"], false]);
  follower.changed("deferred/0", true);
  follower.changed("channel/a", false);
  follower.onKeys(told([], "deferred/1"), 0);
  expect([sentTo(follower, state), follower.isDone]).toEqual([["deferred/3", "channel/a", "deferred/0 is gone"], true]);
});

test("an answer counts up to what was sent, and what was told on a connection that is lost does not count", () => {
  const follower = new StateProgress(0);
  follower.onKeys(told([]), 0);
  expect(sentTo(follower, stateOf([]))).toEqual([]);
  expect([follower.answered(3), follower.has]).toEqual([false, -1]);
  follower.sent = 3;
  expect([follower.answered(3), follower.answered(2), follower.has]).toEqual([true, false, 3]);
  expect([follower.waitedMs(3, 50), follower.waitedMs(4, 60), follower.waitedMs(4, 90)]).toEqual([0, 0, 30]);
  follower.forget();
  expect([follower.has, follower.isDone, follower.answered(3)]).toEqual([-1, false, false]);
});

test("a state of many keys is compared in pieces", () => {
  const keys = Array.from({ length: 9_000 }, (_, i) => `deferred/${String(i).padStart(6, "0")}`);
  const follower = new StateProgress(0);
  const has = keys.slice(0, 5_000).map((key, i): [string, number] => [key, i]);
  const asked: string[] = [];
  const state = stateOf(keys);
  follower.onKeys(told(has.slice(0, 4_000), "", false), 0);
  expect(follower.next(state, (after) => asked.push(after))).toBeUndefined();
  expect(asked).toEqual([keys[3_999]]);
  follower.onKeys(told(has.slice(4_000), keys[3_999]), 0);
  expect(sentTo(follower, state)).toEqual(keys.slice(5_000));
});
