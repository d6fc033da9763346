import { expect, test } from "bun:test";
import { partAt } from "../../../src/cluster/replication/parting.ts";
import { TopicReplicaLog } from "../../../src/cluster/replication/topic-replica-log.ts";
import { decodeFrame, encodeFrame, LENGTH_BYTES } from "../../../src/cluster/replication/wire.ts";
import { FaultDisk } from "../../behaviour/power-cut/support/fault-disk.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { checkBodies, ReplicaLog } from "../../support/replica-log.ts";

const RUNS = 20;
const LEADERS = 30;

class Replica {
  readonly disk = new FaultDisk();
  readonly fixture = new ReplicaLog(this.disk, { synced: 0, floor: 0 });
  readonly log = new TopicReplicaLog(this.fixture.log, this.fixture.files, this.fixture.log);

  /** Does what a Follower does, with frames that went over a connection. @param most how many frames come before it is cut off */
  follow({ log: leader }: Replica, epoch: number, maxBytes: number, most: number): void {
    const { log } = this;
    const { to, restarts } = partAt(outline(leader), outline(log));
    if (restarts) log.restartAt(to);
    else log.truncateTo(to);
    for (let count = 0; count < most && log.end < leader.end; count++) {
      const run = leader.commitsFrom(log.end, maxBytes);
      if (run === undefined || run.isGap) throw new Error(`nothing at ${log.end}`);
      const frame = encodeFrame({ kind: "append", partition: 1, epoch, highWatermark: 0, run });
      const got = decodeFrame(frame.subarray(LENGTH_BYTES));
      if (got.kind !== "append") throw new Error(got.kind);
      if (got.run.epoch > log.epoch) log.beginEpoch(got.run.epoch);
      log.appendCommits(got.run);
    }
  }
}

function outline(log: TopicReplicaLog) {
  return { start: log.start, end: log.end, epochs: log.epochs() };
}

test("real logs part where their epochs say, and are equal after they were copied", () => {
  const seed = seedFromEnvironment();
  console.log(`seed ${seed}`);
  for (let i = 0; i < RUNS; i++) {
    const random = Random.forPart(seed, i);
    const replicas = Array.from({ length: 3 }, () => new Replica());
    for (let epoch = 1; epoch <= LEADERS; epoch++) {
      const leader = random.pick(replicas);
      leader.log.beginEpoch(epoch);
      for (let count = random.int(0, 6); count > 0; count--) leader.fixture.commit(random, epoch);
      for (const follower of replicas)
        if (follower !== leader && random.chance(0.6))
          follower.follow(leader, epoch, random.pick([1, 500, 100_000]), random.pick([1, 2, 1_000]));
    }
    const [leader, ...followers] = replicas;
    leader.log.beginEpoch(LEADERS + 1);
    leader.fixture.commit(random, LEADERS + 1);
    const bodies = leader.fixture.bodies();
    checkBodies(leader.fixture, bodies);
    for (const follower of followers) {
      follower.follow(leader, LEADERS + 1, 100_000, 1_000);
      expect(follower.fixture.bodies()).toEqual(bodies);
    }
  }
});

test("a follower that lacks what its leader has removed begins where the leader does", () => {
  const random = new Random(1);
  const [leader, follower] = [new Replica(), new Replica()];
  leader.log.beginEpoch(1);
  leader.fixture.commit(random, 1);
  follower.follow(leader, 1, 100_000, 1_000);
  for (let count = 0; count < 200; count++) leader.fixture.commit(random, 1);
  leader.fixture.files.sync();
  while (leader.disk.waiting > 0) leader.disk.endSync();
  leader.fixture.log.trim(leader.fixture.log.end, leader.log.end - 1, 1);
  expect(leader.log.start).toBeGreaterThan(follower.log.end);
  follower.follow(leader, 1, 100_000, 1_000);
  expect([follower.log.start, follower.log.end]).toEqual([leader.log.start, leader.log.end]);
  expect(follower.fixture.bodies()).toEqual(leader.fixture.bodies());
});
