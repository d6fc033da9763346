import { afterEach, expect, test } from "bun:test";
import { closeSync, openSync, readdirSync, readFileSync, unlinkSync, writeSync } from "node:fs";
import { systemClock } from "../../../src/base/clock.ts";
import { RateLimitedLog } from "../../../src/base/rate-limited-log.ts";
import { RecordsAreMended } from "../../../src/broker/storage/log/mender.ts";
import { PartitionRepair } from "../../../src/cluster/repair/partition-repair.ts";
import { ByteRate } from "../../../src/cluster/replication/byte-rate.ts";
import type { Peer } from "../../../src/cluster/replication/peer.ts";
import type { PartitionParts, ReplicationParts } from "../../../src/cluster/replication/replica-parts.ts";
import { ReplicationCounts } from "../../../src/cluster/replication/replica-status.ts";
import { TopicReplicaLog } from "../../../src/cluster/replication/topic-replica-log.ts";
import { decodeFrame, encodeFrame, type Frame, LENGTH_BYTES } from "../../../src/cluster/replication/wire.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { LogFixture, readAll } from "../../support/log-fixture.ts";
import { until } from "../../support/server.ts";

const NUMBER = 7;
const fixtures: LogFixture[] = [];
afterEach(() => {
  for (const fixture of fixtures.splice(0)) fixture[Symbol.dispose]();
});

/** Replicas of one partition that send frames to each other. The first one leads. */
class Cluster {
  readonly nodes = new Map<string, Node>();
  highWatermark = Number.POSITIVE_INFINITY;

  constructor(...uids: string[]) {
    for (const uid of uids) this.nodes.set(uid, new Node(this, uid));
  }

  node(uid: string): Node {
    return this.nodes.get(uid) as Node;
  }

  get leader(): string {
    return [...this.nodes.keys()][0];
  }

  review(): void {
    for (const { repair } of this.nodes.values()) repair.review(performance.now());
  }
}

class Node {
  readonly fixture: LogFixture;
  readonly logger = new MemoryLogger();
  readonly counts = new ReplicationCounts();
  isUp = true;
  mended = 0;
  log!: TopicReplicaLog;
  repair!: PartitionRepair;

  constructor(
    readonly cluster: Cluster,
    readonly uid: string,
  ) {
    this.fixture = new LogFixture({ maxBytesPerFile: 1000, isReplicated: true, lastRun: "killed" });
    fixtures.push(this.fixture);
    this.fixture.files.beginEpoch(1);
    for (let i = 0; i < 40; i++) this.fixture.commit(`${i} ${"x".repeat(60)}`, `second ${i}`);
    this.attach();
  }

  /** Ends the run, and begins another one when the files were changed. */
  async restart(change: (directory: string) => void): Promise<void> {
    await this.fixture.files.close();
    change(this.fixture.directory);
    this.fixture.open();
    this.attach();
  }

  attach(): void {
    const { fixture, cluster, logger, counts, uid } = this;
    const { log, files } = fixture;
    this.log = new TopicReplicaLog(log, files, { truncateTo: () => {}, restartAt: () => {} });
    const peers = { get: (other: string) => this.peerOf(other) };
    const parts: Partial<ReplicationParts> = {
      uid,
      clock: systemClock,
      peers: peers as ReplicationParts["peers"],
      catchUp: new ByteRate(systemClock, 1e9),
      counts,
      logger,
      errors: new RateLimitedLog(logger),
    };
    const partition: Partial<PartitionParts> = { name: "t/0", number: NUMBER, log: this.log };
    this.repair = new PartitionRepair(parts as ReplicationParts, partition as PartitionParts, {
      epoch: 1,
      isLeading: cluster.nodes.size === 0 || cluster.leader === uid,
      isAgreed: true,
      get highWatermark() {
        return cluster.highWatermark;
      },
      get sources() {
        return cluster.leader === uid ? [...cluster.nodes.keys()].filter((other) => other !== uid) : [cluster.leader];
      },
      onMended: () => this.mended++,
      onMisplaced: () => {
        throw new Error("misplaced");
      },
      onRemoved: () => {
        throw new Error("removed");
      },
    });
    this.log.mender = this.repair;
  }

  /** What this node sees of another one. */
  private peerOf(uid: string): Peer {
    const other = this.cluster.node(uid);
    const peer: Pick<Peer, "uid" | "isUp" | "isFull" | "send"> = {
      uid,
      isUp: other.isUp,
      isFull: false,
      send: (frame: Frame) => {
        const bytes = encodeFrame(frame);
        setImmediate(() => other.receive(this.uid, decodeFrame(bytes.subarray(LENGTH_BYTES))));
      },
    };
    return peer as Peer;
  }

  private receive(from: string, frame: Frame): void {
    if (!this.isUp) return;
    if (frame.kind === "need") this.repair.onNeed(this.peerOf(from), frame);
    else if (frame.kind === "have") this.repair.onHave(this.peerOf(from), frame);
    else throw new Error(frame.kind);
  }

  /** Reads the whole log as a channel does: it waits while something is read again. */
  async read(): Promise<(string | null)[]> {
    for (;;) {
      try {
        return readAll(this.fixture.log);
      } catch (error) {
        if (!(error instanceof RecordsAreMended)) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
      this.cluster.review();
    }
  }
}

function segments(directory: string, ending: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => `${directory}/${name}`);
}

function flip(path: string, at: number): void {
  const fd = openSync(path, "r+");
  writeSync(fd, Buffer.from([readFileSync(path)[at] ^ 4]), 0, 1, at);
  closeSync(fd);
}

function flipSecond(directory: string): void {
  flip(segments(directory, ".log")[1], 100);
}

function removeSecond(directory: string): void {
  unlinkSync(segments(directory, ".log")[1]);
  unlinkSync(segments(directory, ".idx")[1]);
}

for (const uid of ["leader", "follower"]) {
  for (const damage of [flipSecond, removeSecond]) {
    test(`what is damaged at a ${uid} is read again from another replica (${damage.name})`, async () => {
      const cluster = new Cluster("leader", "follower", "other");
      const whole = await cluster.node("other").read();
      const node = cluster.node(uid);
      await node.restart(damage);
      node.repair.begin();
      expect(node.repair.holdsBack).toBe(damage === removeSecond);
      expect(await node.read()).toEqual(whole);
      expect(whole).not.toContain(null);
      await until("nothing is held back", () => !node.repair.holdsBack);
      expect(node.mended).toBe(damage === removeSecond ? 1 : 0);
      expect([node.counts.repairedRegions, node.counts.failedRepairs]).toEqual([1, 0]);
      expect(node.logger.lines.filter((line) => line.includes("are damaged (")).length).toBe(1);
      expect(node.logger.lines.some((line) => line.includes("are whole again, as "))).toBeTrue();
      expect(readFileSync(segments(node.fixture.directory, ".log")[1])).toEqual(
        readFileSync(segments(cluster.node("other").fixture.directory, ".log")[1]),
      );
    });
  }
}

test("a leader asks all others before it takes something for lost, and waits for those that are away", async () => {
  const cluster = new Cluster("leader", "follower", "away");
  const whole = await cluster.node("away").read();
  for (const uid of ["leader", "follower"]) await cluster.node(uid).restart(flipSecond);
  const leader = cluster.node("leader");
  cluster.node("away").isUp = false;
  let isRead = false;
  const reading = leader.read().then((bodies) => {
    isRead = true;
    return bodies;
  });
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve, 1));
  expect([isRead, leader.counts.failedRepairs]).toEqual([false, 0]);
  cluster.node("away").isUp = true;
  expect(await reading).toEqual(whole);
  expect(await cluster.node("follower").read()).toEqual(whole);
});

test("what nobody has is lost, told once and counted, and a follower hears it from its leader", async () => {
  const cluster = new Cluster("leader", "follower");
  for (const uid of ["leader", "follower"]) await cluster.node(uid).restart(flipSecond);
  for (const uid of ["leader", "follower"]) {
    const node = cluster.node(uid);
    const bodies = await node.read();
    expect(bodies.filter((body) => body === null).length).toBe(1);
    expect(bodies.length).toBe(79);
    expect(node.counts.failedRepairs).toBe(1);
    expect(node.fixture.corrupt).toBe(1);
    expect(node.logger.lines.filter((line) => line.includes("no other replica has them")).length).toBe(1);
  }
});

test("a replica that asks for more than it takes is to ask later", () => {
  const { repair } = new Cluster("leader", "follower").node("leader");
  const answers: Frame[] = [];
  const peer: Pick<Peer, "isFull" | "send"> = { isFull: true, send: (frame) => answers.push(frame) };
  repair.onNeed(peer as Peer, { kind: "need", partition: NUMBER, epoch: 1, from: 0, to: 40 });
  expect(answers).toMatchObject([{ kind: "have", answer: "later", run: undefined }]);
});
