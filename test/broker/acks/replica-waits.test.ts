import { expect, test } from "bun:test";
import { GroupCommit, type Sync } from "../../../src/broker/acks/group-commit.ts";
import {
  type Committed,
  PendingPublish,
  type Replicated,
  WAITS_FOR_REPLICAS,
  WAITS_FOR_SYNC,
} from "../../../src/broker/acks/pending-publish.ts";
import { PendingAcks } from "../../../src/broker/tcp/pending-acks.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";

const RUNS = 200;
const STEPS = 120;
const NOT_LEADER = new Error("not the leader");

const seed = seedFromEnvironment();

/** A topic of the test: lone, lone with fsync, or replicated. */
class Target implements Committed, Replicated {
  failure: Error | undefined;
  syncFailure: Error | undefined;
  replicaFailure: Error | undefined;
  readonly replicated: readonly Replicated[] | undefined;
  next = 0;
  committedNext = 0;
  releasable = Number.POSITIVE_INFINITY;
  syncedNext = 0;
  /** How often the publishes that replicas lacked were refused. */
  refusals = 0;
  readonly published: Published[] = [];

  constructor(readonly waitsFor: number) {
    this.replicated = (waitsFor & WAITS_FOR_REPLICAS) !== 0 ? [this] : undefined;
    if (this.replicated !== undefined) this.releasable = 0;
  }

  publish(): Published {
    const published = { target: this, sequence: this.next++, lost: false };
    this.published.push(published);
    return published;
  }

  /** Loses what the replicas lack, and goes on with other messages there. */
  truncate(): void {
    this.refusals++;
    this.next = this.committedNext = Math.min(this.committedNext, this.releasable);
    for (const published of this.published) if (published.sequence >= this.next) published.lost = true;
  }
}

/** A publish, and what must be the case when it is answered. */
interface Published {
  target: Target;
  sequence: number;
  /** The target refused it, and lost it. */
  lost: boolean;
}

/** A client whose answers are checked as they go out. */
class Client {
  closed = false;
  readonly published: Published[] = [];
  answered = 0;
  readonly acks: PendingAcks;

  constructor(group: GroupCommit, turn: { steadyMs: number; schedule(): void }) {
    const outbox = { write: (frame: Buffer, from: number, to: number) => this.answer(frame.toString("latin1", from, to)) };
    // The outbox of a connection does more than what acknowledgements need.
    this.acks = new PendingAcks(this, outbox as never, { acks: group, turn });
    this.acks.isYouzan = true;
  }

  private answer(text: string): void {
    // A train of OKs is one write.
    const count = text.includes("OK") ? text.split("OK").length - 1 : 1;
    for (let i = 0; i < count; i++) {
      const { target, sequence, lost } = this.published[this.answered++] as Published;
      if (!text.includes("OK")) continue;
      expect(lost).toBe(false);
      expect(target.committedNext).toBeGreaterThan(sequence);
      if ((target.waitsFor & WAITS_FOR_SYNC) !== 0) expect(target.syncedNext).toBeGreaterThan(sequence);
      if (target.replicated !== undefined) expect(target.releasable).toBeGreaterThan(sequence);
    }
  }

  onAcksSent(): void {}
  onPublishFailed(): void {}
  respond(): void {}
  closeGracefully(): void {}
}

async function play(random: Random): Promise<{ answers: number; refusals: number }> {
  const syncs: (() => void)[] = [];
  const targets = [new Target(0), new Target(WAITS_FOR_SYNC), new Target(WAITS_FOR_REPLICAS), new Target(WAITS_FOR_REPLICAS)];
  const sync: Sync = (done) => {
    const covered = targets.map(({ committedNext }) => committedNext);
    syncs.push(() => {
      for (const [i, target] of targets.entries()) target.syncedNext = Math.max(target.syncedNext, covered[i] as number);
      done(undefined);
    });
  };
  const clock = new SimulatedClock(0);
  const turn = { steadyMs: 0, schedule: () => {} };
  const group = new GroupCommit(sync, clock, new MemoryLogger(), turn);
  const clients = Array.from({ length: 3 }, () => new Client(group, turn));
  const pending = new Map(targets.map((target) => [target, new PendingPublish(target, "PUB")]));
  const callers: Promise<unknown>[] = [];
  const commit = () => {
    for (const target of targets) target.committedNext = target.next;
    group.onCommitted();
  };
  const release = (target: Target, to: number) => {
    target.releasable = Math.max(target.releasable, to);
  };
  for (let step = 0; step < STEPS; step++) {
    const what = random.next();
    const target = random.pick(targets);
    if (what < 0.45) {
      const client = random.pick(clients);
      client.published.push(target.publish());
      client.acks.add(pending.get(target) as PendingPublish);
    } else if (what < 0.5) {
      const published = target.publish();
      callers.push(
        group.wait(pending.get(target) as PendingPublish, 0).then(
          () => expect([published.lost, target.replicated === undefined || target.releasable > published.sequence]).toEqual([false, true]),
          // Refused with later messages of its commit, it may be there nevertheless.
          () => expect(target.refusals).toBeGreaterThan(0),
        ),
      );
    } else if (what < 0.7) commit();
    else if (what < 0.85) {
      if (target.replicated !== undefined) release(target, random.int(target.releasable, target.committedNext));
      commit();
    } else if (what < 0.9 && target.replicated !== undefined) {
      commit();
      target.replicaFailure = NOT_LEADER;
      group.replicasRefuse(target, NOT_LEADER);
      target.truncate();
      commit();
      target.replicaFailure = undefined;
    } else syncs.shift()?.();
  }
  commit();
  for (const target of targets) if (target.replicated !== undefined) release(target, target.committedNext);
  for (let i = 0; i < 5; i++) {
    commit();
    for (const end of syncs.splice(0)) end();
  }
  await Promise.all(callers);
  for (const client of clients) expect(client.answered).toBe(client.published.length);
  return {
    answers: clients.reduce((sum, { answered }) => sum + answered, 0),
    refusals: targets.reduce((sum, one) => sum + one.refusals, 0),
  };
}

test("no OK goes out before what it waits for, none for what was refused, and each client's answers keep their order", async () => {
  let [answers, refusals] = [0, 0];
  for (let run = 0; run < RUNS; run++) {
    try {
      const played = await play(Random.forPart(seed, run));
      answers += played.answers;
      refusals += played.refusals;
    } catch (error) {
      throw new Error(`BUNSQ_SEED=${seed}, run ${run}: ${(error as Error).stack}`);
    }
  }
  console.log(`answers: ${answers}, refusals: ${refusals}, BUNSQ_SEED=${seed}`);
  expect(refusals).toBeGreaterThan(RUNS);
});
