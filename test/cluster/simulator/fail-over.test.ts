import { expect, setDefaultTimeout, test } from "bun:test";
import type { Peer } from "../../../src/cluster/replication/peer.ts";
import { decodeFrame, type Frame, LENGTH_BYTES } from "../../../src/cluster/replication/wire.ts";
import type { SimBroker } from "./sim-broker.ts";
import type { SimDisk } from "./sim-disk.ts";
import { PREFIX, partitionOf, ThreeBrokers, UIDS } from "./three-brokers.ts";

/** How long the machine takes for a simulation says nothing. */
setDefaultTimeout(60_000);

test("a new partition is led by its first replica, also if that one is late", () => {
  const cluster = new ThreeBrokers(({ brokers, world }) => {
    world.time.advance(2_000);
    brokers[0].node.pause();
    world.time.after(500, () => brokers[0].node.resume());
  });
  expect(cluster.leader).toBe(cluster.brokers[0]);
});

test("a new partition whose first replica is away is led by another one", () => {
  const cluster = new ThreeBrokers(({ brokers, network }) => network.end(brokers[0].node));
  expect(cluster.leader).toBe(cluster.brokers[1]);
});

test("a leader whose process is killed is replaced at once", () => {
  const cluster = new ThreeBrokers();
  expect(cluster.publishMs()).toBeLessThan(10);
  const killed = cluster.leader as SimBroker;
  cluster.network.end(killed.node);
  expect(cluster.publishMs()).toBeLessThan(150);
  expect(cluster.inSync).not.toContain(killed.uid);
});

test("a leader whose machine is gone without a word is replaced after a second of silence", () => {
  const cluster = new ThreeBrokers();
  cluster.publishMs();
  cluster.network.end((cluster.leader as SimBroker).node, true);
  const goneMs = cluster.publishMs();
  expect(goneMs).toBeGreaterThan(800);
  expect(goneMs).toBeLessThan(1_500);
});

test("a hand-over takes a moment, and nobody leaves the in-sync set", () => {
  const cluster = new ThreeBrokers();
  cluster.publishMs();
  const before = cluster.leader as SimBroker;
  before.drain();
  expect(partitionOf(before).replica.refusal).toBe("the partition gets another leader");
  cluster.until("another one leads", () => cluster.leader !== undefined && cluster.leader !== before);
  expect(before.drained).toBe(1);
  expect(cluster.publishMs()).toBeLessThan(20);
  expect(cluster.inSync.length).toBe(UIDS.length);
});

test("without etcd publishing goes on while followers answer, and is refused after a while when one does not", () => {
  const cluster = new ThreeBrokers();
  const { world, network } = cluster;
  const { time } = world;
  world.etcd.setDown(true);
  time.advance(5_000);
  expect(cluster.publishMs()).toBeLessThan(10);
  const leader = cluster.leader as SimBroker;
  const follower = cluster.brokers.find((broker) => partitionOf(broker).role.name === "follower") as SimBroker;
  // What is under way is acknowledged before.
  time.advance(100);
  network.end(follower.node);
  const startMs = time.nowMs;
  const outcomes: string[] = [];
  leader.publish("t/0", [1_000_001], (outcome) => outcomes.push(outcome));
  expect(() => cluster.publishMs()).toThrow("nothing is acknowledged");
  cluster.until("it is answered", () => outcomes.length > 0);
  expect(time.nowMs - startMs).toBeLessThan(4_500);
  // It may be there later.
  expect(outcomes).toEqual(["unknown"]);
  leader.publish("t/0", [1_000_003], (outcome) => outcomes.push(outcome));
  expect(outcomes).toEqual(["unknown", "refused"]);
  expect(partitionOf(leader).replica.refusal).toContain("a replica in sync does not answer");
  world.etcd.setDown(false);
  expect(cluster.publishMs()).toBeLessThan(2_500);
  expect(partitionOf(leader).replica.refusal).toBeUndefined();
});

test("a leader alone in sync refuses publishes a while after its lease has ended, and goes on with etcd", () => {
  const cluster = new ThreeBrokers(() => {}, "write", 1);
  const { world, network } = cluster;
  cluster.publishMs();
  const leader = cluster.leader as SimBroker;
  for (const broker of cluster.brokers) if (broker !== leader) network.end(broker.node);
  cluster.until("it is alone", () => cluster.inSync.length === 1);
  expect(cluster.publishMs()).toBeLessThan(10);
  world.etcd.setDown(true);
  world.time.advance(4_000);
  const outcomes: string[] = [];
  leader.publish("t/0", [1_000_001], (outcome) => outcomes.push(outcome));
  cluster.until("it is answered", () => outcomes.length > 0);
  expect(outcomes).toEqual(["unknown"]);
  world.etcd.setDown(false);
  expect(cluster.publishMs()).toBeLessThan(2_500);
});

/** Whatever a broker publishes is damaged before it is read. */
function damageWhatIsPublished(broker: SimBroker): void {
  const { log, disk } = partitionOf(broker);
  const publish = log.publish.bind(log);
  log.publish = (messages) => {
    publish(messages);
    const last = disk.commits.length - 1;
    const { bytes } = disk.commits[last];
    disk.commits[last] = { ...disk.commits[last], was: bytes, bytes: Buffer.from(bytes.map((byte) => ~byte)) };
  };
}

test("a leader that cannot read what nobody else has acknowledges none of it, and lets another one lead", () => {
  const cluster = new ThreeBrokers();
  cluster.publishMs();
  const before = cluster.leader as SimBroker;
  damageWhatIsPublished(before);
  const outcomes: string[] = [];
  before.publish("t/0", [1_000_001], (outcome) => outcomes.push(outcome));
  cluster.until("it is answered", () => outcomes.length > 0);
  expect(outcomes).toEqual(["unknown"]);
  expect(cluster.acked).not.toContain(1_000_001);
  expect(cluster.publishMs()).toBeLessThan(50);
  expect(cluster.leader).not.toBe(before);
  cluster.until("all are in sync", () => cluster.inSync.length === UIDS.length);
  expect(partitionOf(before).disk.hasDamageFrom(0)).toBe(false);
});

test("a leader alone in sync that cannot read what nobody else has acknowledges none of it, and goes on", () => {
  const cluster = new ThreeBrokers();
  const { time } = cluster.world;
  cluster.publishMs();
  const leader = cluster.leader as SimBroker;
  const followers = cluster.brokers.filter((broker) => broker !== leader);
  for (const { node } of followers) node.pause();
  damageWhatIsPublished(leader);
  const outcomes: string[] = [];
  leader.publish("t/0", [1_000_001], (outcome) => outcomes.push(outcome));
  cluster.until("it is alone", () => cluster.inSync.length === 1);
  Reflect.deleteProperty(partitionOf(leader).log, "publish");
  for (const { node } of followers) {
    cluster.network.healAll();
    node.resume();
  }
  cluster.until("all are in sync", () => cluster.inSync.length === UIDS.length);
  expect(outcomes).toEqual(["unknown"]);
  expect(cluster.acked).not.toContain(1_000_001);
  time.advance(1_000);
  expect(cluster.publishMs()).toBeLessThan(50);
});

test("a leader whose disk syncs nothing any more is replaced by one whose disk does", () => {
  const cluster = new ThreeBrokers(() => {}, "fsync");
  cluster.publishMs();
  const before = cluster.leader as SimBroker;
  before.dataPath.faults.syncMs = 1e9;
  // One sync may be under way that still ends.
  cluster.world.time.advance(100);
  cluster.leader?.publish("t/0", [1_000_001], () => {});
  cluster.until("another one leads", () => cluster.leader !== before);
  expect(cluster.publishMs()).toBeLessThan(100);
  cluster.until("the others take it", () => cluster.acked.length > 2);
  expect(cluster.inSync).not.toContain(before.uid);
  cluster.world.time.advance(10_000);
  expect(cluster.leader).not.toBe(before);
});

test("a leader whose disk fails stays in the set if only one other is: that one may be lost at this moment", () => {
  const cluster = new ThreeBrokers(() => {}, "fsync");
  cluster.publishMs();
  const before = cluster.leader as SimBroker;
  const [gone] = cluster.brokers.filter((broker) => broker !== before);
  cluster.network.end((gone as SimBroker).node);
  cluster.until("two are in sync", () => cluster.inSync.length === 2);
  before.dataPath.faults.syncMs = 1e9;
  cluster.world.time.advance(100);
  cluster.leader?.publish("t/0", [1_000_001], () => {});
  cluster.until("another one leads", () => cluster.leader !== before);
  expect(cluster.inSync).toContain(before.uid);
  cluster.until("the other one goes on", () => cluster.acked.length > 1);
});

test("a leader whose disk cannot store its channels is replaced by one whose disk can", () => {
  const cluster = new ThreeBrokers();
  cluster.publishMs();
  const before = cluster.leader as SimBroker;
  before.dataPath.faults.isFull = true;
  let isShared = false;
  before.node.run(() => {
    partitionOf(before).changeState([{ key: "channel/c", value: Buffer.from("1") }], () => {
      isShared = true;
    });
  });
  cluster.until("another one leads", () => cluster.leader !== undefined && cluster.leader !== before);
  expect(isShared).toBe(false);
  expect(cluster.publishMs()).toBeLessThan(100);
});

test("a leader whose disk fails as those of all others do leads on, and refuses publishes after a while", () => {
  const cluster = new ThreeBrokers(() => {}, "fsync");
  cluster.publishMs();
  const { leader } = cluster;
  for (const { dataPath } of cluster.brokers) dataPath.faults.syncMs = 1e9;
  cluster.world.time.advance(100);
  leader?.publish("t/0", [1_000_001], () => {});
  const outcomes: string[] = [];
  leader?.publish("t/0", [1_000_003], (outcome) => outcomes.push(outcome));
  cluster.until("it is answered", () => outcomes.length > 0);
  expect(outcomes).toEqual(["unknown"]);
  expect(cluster.leader).toBe(leader);
});

test("a leader that cannot store its channels takes no publishes that would make more of them, until it can", () => {
  const cluster = new ThreeBrokers();
  cluster.publishMs();
  const leader = cluster.leader as SimBroker;
  const { replica } = partitionOf(leader);
  for (const { dataPath } of cluster.brokers) dataPath.faults.isFull = true;
  const change = (key: string, value: Buffer | undefined) =>
    leader.node.run(() => partitionOf(leader).changeState([{ key: `deferred/${key}`, value }]));
  for (const key of ["1", "2", "1"]) change(key, Buffer.alloc(400_000));
  cluster.world.time.advance(10);
  expect(replica.refusal).toBeUndefined();
  change("3", Buffer.alloc(400_000));
  cluster.world.time.advance(10);
  expect(replica.refusal).toBe("the disk of this broker does not take what goes along with messages");
  change("1", undefined);
  expect(replica.refusal).toBeUndefined();
  change("4", Buffer.alloc(400_000));
  for (const { dataPath } of cluster.brokers) dataPath.faults.isFull = false;
  cluster.world.time.advance(1_000);
  expect(replica.refusal).toBeUndefined();
  expect(Reflect.get(replica.leading?.state ?? {}, "unstoredBytes")).toBe(0);
  expect(cluster.publishMs()).toBeLessThan(50);
});

test("a process that stood still does not take the others for dead", () => {
  const cluster = new ThreeBrokers();
  cluster.publishMs();
  const leader = cluster.leader as SimBroker;
  const followers = cluster.brokers.filter((broker) => broker !== leader);
  for (const { node } of followers) node.pause();
  cluster.world.time.advance(1_500);
  for (const { node } of followers) node.resume();
  cluster.world.time.advance(1_000);
  expect(cluster.leader).toBe(leader);
  expect(partitionOf(leader).role.epoch).toBe(1);
});

test("a broker that stops is replaced without a pause, and does not come back by itself", () => {
  const cluster = new ThreeBrokers();
  cluster.publishMs();
  const before = cluster.leader as SimBroker;
  before.drain();
  cluster.until("another one leads", () => cluster.leader !== undefined && cluster.leader !== before);
  before.close();
  expect(cluster.publishMs()).toBeLessThan(50);
  cluster.until("it is out of the in-sync set", () => cluster.inSync.length === UIDS.length - 1);
  cluster.world.time.advance(5_000);
  expect(partitionOf(before).role.name).toBe("out");
  expect(cluster.publishMs()).toBeLessThan(50);
});

test("a replica that was removed and came back while its leader did not hear of it is taken in by that leader", () => {
  const cluster = new ThreeBrokers();
  const { etcd, time } = cluster.world;
  const leader = cluster.leader as SimBroker;
  const follower = cluster.brokers.find((broker) => broker !== leader) as SimBroker;
  etcd.cutOff(leader.node.name);
  cluster.take(follower.uid);
  cluster.until("it has nothing", () => follower.partitions.size === 0);
  cluster.changeRecord(() => ({ replicas: UIDS }));
  cluster.until("it follows", () => follower.partitions.size === 1 && partitionOf(follower).role.name === "follower");
  time.advance(500);
  etcd.heal(leader.node.name);
  cluster.until("all are in sync", () => cluster.inSync.length === UIDS.length);
});

test("a replica that was removed and came back, and did not hear of it, is in sync once it knows: it drops what it had before", () => {
  const cluster = new ThreeBrokers();
  const { etcd, time } = cluster.world;
  const leader = cluster.leader as SimBroker;
  const follower = cluster.brokers.find((broker) => broker !== leader) as SimBroker;
  cluster.publishMs();
  etcd.cutOff(follower.node.name);
  cluster.take(follower.uid);
  time.advance(500);
  cluster.changeRecord(() => ({ replicas: UIDS, additions: 1 }));
  time.advance(2_000);
  // It still follows, and has everything.
  expect(partitionOf(follower).disk.end).toBe(partitionOf(leader).disk.end);
  expect(cluster.inSync).not.toContain(follower.uid);
  etcd.heal(follower.node.name);
  cluster.until("all are in sync", () => cluster.inSync.length === UIDS.length);
  expect(partitionOf(follower).disk.end).toBe(partitionOf(leader).disk.end);
});

test("a replica that was removed and added again, and was told so by an answer of etcd, keeps what it has when it hears of the removal", () => {
  const cluster = new ThreeBrokers();
  const { etcd, time } = cluster.world;
  const follower = cluster.brokers.find((broker) => broker !== cluster.leader) as SimBroker;
  cluster.publishMs();
  etcd.cutOff(follower.node.name);
  cluster.take(follower.uid);
  time.advance(500);
  cluster.changeRecord(() => ({ replicas: UIDS, additions: 1 }));
  const { disk, replica } = partitionOf(follower);
  replica.onRecord(cluster.stored);
  cluster.until("all are in sync", () => cluster.inSync.length === UIDS.length);
  etcd.heal(follower.node.name);
  time.advance(3_000);
  expect(partitionOf(follower).disk).toBe(disk);
  expect(cluster.inSync.length).toBe(UIDS.length);
});

test("a replica that was removed and added again does not take answers for its own that were meant for the one before", () => {
  const cluster = new ThreeBrokers();
  const leader = cluster.leader as SimBroker;
  const follower = cluster.brokers.find((broker) => broker !== leader) as SimBroker;
  cluster.publishMs();
  const asks: number[] = [];
  const peer = follower.replication.peers.get(leader.uid) as Peer;
  const send = peer.send.bind(peer);
  peer.send = (frame) => {
    if (frame.kind === "follow" || (frame.kind === "state-keys" && frame.after === "")) asks.push(frame.ask);
    send(frame);
  };
  const before = partitionOf(follower);
  leader.replication.peers.get(follower.uid)?.send({ kind: "lead", partition: PREFIX, epoch: before.role.epoch });
  cluster.until("it has asked anew", () => asks.length > 0);
  cluster.take(follower.uid);
  cluster.until("it has nothing any more", () => !follower.partitions.has(PREFIX));
  cluster.changeRecord(() => ({ replicas: UIDS, additions: 1 }));
  cluster.until("all are in sync", () => cluster.inSync.length === UIDS.length);
  expect(partitionOf(follower)).not.toBe(before);
  expect(asks.length).toBeGreaterThan(3);
  expect(new Set(asks).size).toBe(asks.length);
});

test("a replica that is added disturbs nobody who is in sync, and others join when they know of it", () => {
  const cluster = new ThreeBrokers();
  const leader = cluster.leader as SimBroker;
  const follower = cluster.brokers.find((broker) => broker !== leader) as SimBroker;
  cluster.changeRecord(() => ({ additions: 1 }));
  cluster.world.time.advance(500);
  expect(cluster.inSync.length).toBe(UIDS.length);
  cluster.changeRecord(({ inSync }) => ({ inSync: inSync.filter((uid) => uid !== follower.uid) }));
  cluster.until("all are in sync", () => cluster.inSync.length === UIDS.length);
  expect(cluster.publishMs()).toBeLessThan(10);
});

test("a broker that says it leads in an epoch in which another one does is not believed", () => {
  const cluster = new ThreeBrokers();
  cluster.publishMs();
  const { epoch } = partitionOf(cluster.leader as SimBroker).role;
  const [liar, ...others] = cluster.brokers.filter((broker) => broker !== cluster.leader) as [SimBroker, SimBroker];
  for (const { uid } of [...others, cluster.leader as SimBroker])
    liar.replication.peers.get(uid)?.send({ kind: "lead", partition: PREFIX, epoch });
  cluster.world.time.advance(1_000);
  expect(cluster.brokers.map((broker) => partitionOf(broker).role.epoch)).toEqual([epoch, epoch, epoch]);
  expect(partitionOf(others[0]).role).toMatchObject({ name: "follower", leader: cluster.leader?.uid });
  expect(cluster.inSync.length).toBe(UIDS.length);
});

test("a follower with a slow disk joins the in-sync set while messages are published all the time", () => {
  const cluster = new ThreeBrokers(() => {}, "fsync");
  const { time } = cluster.world;
  const follower = cluster.brokers.find((broker) => broker !== cluster.leader) as SimBroker;
  follower.dataPath.faults.syncMs = 800;
  const connection = Reflect.get(follower.replication.peers.get(cluster.leader?.uid ?? "") as object, "connection") as { abort(): void };
  connection.abort();
  cluster.until("it is out of the in-sync set", () => cluster.inSync.length === UIDS.length - 1);
  const untilMs = time.nowMs + 15_000;
  while (cluster.inSync.length < UIDS.length && time.nowMs < untilMs) {
    cluster.leader?.publish("t/0", [1_000_000 + time.nowMs], () => {});
    time.advance(20);
  }
  expect(cluster.inSync.length).toBe(UIDS.length);
});

test("values of the state that change in a turn go before the messages of the turn", () => {
  const cluster = new ThreeBrokers();
  cluster.publishMs();
  const leader = cluster.leader as SimBroker;
  const follower = cluster.brokers.find((broker) => broker !== leader) as SimBroker;
  const peer = leader.replication.peers.get(follower.uid) as Peer;
  const sent: Frame[] = [];
  const send = peer.sendEncoded.bind(peer);
  peer.sendEncoded = (bytes) => {
    sent.push(decodeFrame(bytes.subarray(LENGTH_BYTES)));
    send(bytes);
  };
  leader.node.run(() => {
    partitionOf(leader).changeState([
      { key: "joining/1", value: Buffer.from("7") },
      { key: "channel/c", value: Buffer.from("1") },
    ]);
    leader.publish("t/0", [1_000_000], () => {});
  });
  cluster.world.time.advance(50);
  const told = sent.flatMap((frame) => {
    if (frame.kind === "state") return frame.changes.map(({ key }) => key);
    return frame.kind === "append" ? ["append"] : [];
  });
  expect(told).toEqual(["joining/1", "append", "channel/c"]);
});

test("a follower does not give up what it has before etcd has it out of the in-sync set", () => {
  // Messages of a time without leaders, as a broker has them that was alone: no epoch tells where logs part.
  const messages = 10;
  const cluster = new ThreeBrokers(({ brokers: [first] }) => {
    const disk = first?.dataPath.open(PREFIX, "write", true) as SimDisk;
    for (let i = 0; i < messages; i++) {
      const bytes = Buffer.alloc(8);
      bytes.writeDoubleBE(i);
      const commit = { firstSequence: i, count: 1, length: 8, timeMs: 1, crc: Bun.hash.crc32(bytes) };
      disk.commits.push({ commit, epoch: 0, bytes });
    }
  });
  const { etcd } = cluster.world;
  const leader = cluster.leader as SimBroker;
  const [follower] = cluster.brokers.filter((broker) => broker !== leader) as [SimBroker];
  // Some channel has still to get all of them.
  Object.defineProperty(partitionOf(leader).log, "finished", { get: () => 0 });
  cluster.until("all have them", () => cluster.brokers.every((broker) => partitionOf(broker).log.end === messages));
  etcd.setDown(true);
  const connection = Reflect.get(follower.replication.peers.get(leader.uid) as object, "connection") as { abort(): void };
  connection.abort();
  const { log } = partitionOf(follower);
  const restartAt = log.restartAt.bind(log);
  let begunAnew = 0;
  log.restartAt = (sequence) => {
    if (cluster.inSync.includes(follower.uid)) begunAnew++;
    restartAt(sequence);
  };
  cluster.world.time.advance(2_000);
  expect([cluster.inSync.includes(follower.uid), begunAnew, log.end]).toEqual([true, 0, messages]);
  etcd.setDown(false);
  cluster.until("all are in sync", () => cluster.inSync.length === UIDS.length && log.end === messages);
  expect(begunAnew).toBe(0);
});
