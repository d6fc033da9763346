import { expect, test } from "bun:test";
import { systemClock } from "../../../../src/base/clock.ts";
import { RateLimitedLog } from "../../../../src/base/rate-limited-log.ts";
import { ReplicaValues } from "../../../../src/cluster/member/replica-values.ts";
import { ByteRate } from "../../../../src/cluster/replication/byte-rate.ts";
import type { Peer } from "../../../../src/cluster/replication/peer.ts";
import type { PartitionParts, ReplicationParts } from "../../../../src/cluster/replication/replica-parts.ts";
import type { ReplicaState } from "../../../../src/cluster/replication/state/replica-state.ts";
import { StateFollower } from "../../../../src/cluster/replication/state/state-follower.ts";
import type { AnyStateFrame } from "../../../../src/cluster/replication/state/state-frames.ts";
import { StateLeader } from "../../../../src/cluster/replication/state/state-leader.ts";
import type { Frame } from "../../../../src/cluster/replication/wire.ts";
import { MemoryLogger } from "../../../support/in-process.ts";

/** A state that cannot be read while its disk fails. */
class FailingState implements ReplicaState {
  isFailing = true;

  keysAfter(after: string) {
    this.read();
    return after < "a" ? [{ key: "a", epoch: 1, number: 1 }] : [];
  }

  get(key: string) {
    this.read();
    return { key, epoch: 1, number: 1, value: Buffer.from("value") };
  }

  apply(_changes: unknown, _done: (failure: Error | undefined) => void): void {}

  private read(): void {
    if (this.isFailing) throw new Error("disk I/O error");
  }
}

function start() {
  const state = new FailingState();
  const logger = new MemoryLogger();
  const sent: Frame[] = [];
  const peer: Pick<Peer, "uid" | "isUp" | "isFull" | "send"> = {
    uid: "other",
    isUp: true,
    isFull: false,
    send: (frame) => sent.push(frame),
  };
  const peers: { get(uid: string): Peer | undefined } = { get: () => peer as Peer };
  const parts: Partial<ReplicationParts> = {
    uid: "own",
    clock: systemClock,
    peers: peers as ReplicationParts["peers"],
    nextAsk: () => ++asks,
    catchUp: new ByteRate(systemClock, 1e9),
    errors: new RateLimitedLog(logger, () => 0),
  };
  let asks = 0;
  const partition: Partial<PartitionParts> = { name: "t/0", number: 7, state, host: {} as PartitionParts["host"] };
  return { state, logger, sent, peer: peer as Peer, parts: parts as ReplicationParts, partition: partition as PartitionParts };
}

test("a leader that cannot read its state sends it when it can again", () => {
  const { state, logger, sent, peer, parts, partition } = start();
  const counted = { members: ["own", "other"], mayAdvance: true, isInSync: () => true };
  const leader = new StateLeader(1, parts, partition, counted);
  leader.setFollowers(["other"]);
  const keys: AnyStateFrame = { kind: "state-keys", partition: 7, epoch: 1, ask: 1, after: "", isLast: true, keys: [] };
  leader.onKeys(peer, keys);
  expect([sent.length, logger.lines.length]).toEqual([0, 1]);
  state.isFailing = false;
  leader.review();
  expect(sent).toMatchObject([{ kind: "state", number: 0, changes: [{ key: "a" }] }]);
});

test("what a leader got as a follower counts once it is on its own disk", () => {
  const { state, parts, partition } = start();
  const waiting: (() => void)[] = [];
  state.apply = (_changes: unknown, done: (failure: Error | undefined) => void) => void waiting.push(() => done(undefined));
  // It has taken over from one that was killed, and is the only one in sync.
  const leader = new StateLeader(2, parts, partition, { members: ["own"], mayAdvance: true, isInSync: () => true });
  leader.review();
  expect([waiting.length, leader.mark]).toEqual([1, -1]);
  waiting[0]?.();
  expect(leader.mark).toBe(0);
  leader.review();
  expect(waiting.length).toBe(1);
});

test("a follower that cannot read its state tells its keys when it can again", () => {
  const { state, logger, sent, peer, parts, partition } = start();
  const follower = new StateFollower(
    1,
    parts,
    partition,
    () => peer,
    () => {},
  );
  follower.begin();
  expect([sent.length, logger.lines.length]).toEqual([0, 1]);
  state.isFailing = false;
  follower.review(systemClock.steadyMs() + 10_000);
  expect(sent).toMatchObject([{ kind: "state-keys", keys: [{ key: "a" }] }]);
});

test("what a follower has stored only after its end is not told", () => {
  const { state, peer, parts, partition } = start();
  state.isFailing = false;
  let told = 0;
  const follower = new StateFollower(
    1,
    parts,
    partition,
    () => peer,
    () => told++,
  );
  let store = (): void => {};
  state.apply = (_changes: unknown, done: (failure: Error | undefined) => void) => {
    store = () => done(undefined);
  };
  const take = () => follower.onState({ kind: "state", partition: 7, epoch: 1, ask: parts.nextAsk() - 1, number: 3, changes: [] });
  follower.begin();
  take();
  store();
  expect([told, follower.number]).toEqual([1, 3]);
  follower.begin();
  take();
  follower.stop();
  store();
  expect([told, follower.number]).toEqual([1, -1]);
});

test("what cannot be read of channels keeps all messages", () => {
  const { state } = start();
  const values = new ReplicaValues({ callAfterTurn: () => {} }, state, () => ({ leading: undefined, hasState: true }));
  expect([values.review(), values.keptFrom(5)]).toEqual([false, 5]);
});
