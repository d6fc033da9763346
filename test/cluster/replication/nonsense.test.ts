import { expect, setDefaultTimeout, test } from "bun:test";
import { WireError } from "../../../src/cluster/replication/fields.ts";
import type { Peer, PeerEvents } from "../../../src/cluster/replication/peer.ts";
import { decodeFrame, encodeFrame, type Frame, LENGTH_BYTES } from "../../../src/cluster/replication/wire.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import type { SimBroker } from "../simulator/sim-broker.ts";
import { PREFIX, partitionOf, ThreeBrokers } from "../simulator/three-brokers.ts";
import { randomFrame } from "./random-frame.ts";

/** How long the machine takes for a simulation says nothing. */
setDefaultTimeout(60_000);

const CLUSTERS = 20;
const FRAMES = 100;

/**
 * A frame about the partition that the brokers have, in its epoch. Undefined for kinds that a broker is believed, as nobody else can know: who
 * leads, and what it has.
 */
function nonsense(random: Random, epoch: number): Frame | undefined {
  const frame = randomFrame(random);
  switch (frame.kind) {
    case "hello":
    case "lead":
    case "reject":
    case "follow":
    case "state-keys":
      return undefined;
    case "ends":
      return { ...frame, ends: frame.ends.map((end) => ({ ...end, partition: PREFIX, epoch })) };
    case "beat":
      return { ...frame, marks: frame.marks.map((mark) => ({ ...mark, partition: PREFIX, epoch })) };
    case "append":
      return { ...frame, partition: PREFIX, epoch, run: { ...frame.run, epoch: random.pick([0, epoch]) } };
    default:
      return { ...frame, partition: PREFIX, epoch };
  }
}

/** Has a broker handle a frame as if another one had sent it. */
function give(to: SimBroker, from: SimBroker, frame: Frame): void {
  const peer = to.replication.peers.get(from.uid) as Peer;
  const events = Reflect.get(peer, "events") as PeerEvents;
  to.node.run(() => {
    try {
      events.onFrame(peer, decodeFrame(encodeFrame(frame).subarray(LENGTH_BYTES)) as Parameters<PeerEvents["onFrame"]>[1]);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
    }
  });
}

test("brokers go on whatever nonsense one sends to another, and lose nothing", () => {
  const seed = seedFromEnvironment();
  console.log(`seed ${seed}`);
  const random = new Random(seed);
  for (let i = 0; i < CLUSTERS; i++) {
    const cluster = new ThreeBrokers();
    cluster.publishMs();
    for (let sent = 0; sent < FRAMES; sent++) {
      const [to, from] = [random.pick(cluster.brokers), random.pick(cluster.brokers)];
      const frame = nonsense(random, Math.max(...cluster.brokers.map((broker) => partitionOf(broker).role.epoch)));
      if (to !== from && frame !== undefined) give(to, from, frame);
      cluster.world.time.advance(random.int(0, 30));
    }
    cluster.world.time.advance(6_000);
    expect(cluster.publishMs()).toBeLessThan(3_000);
    const { disk } = partitionOf(cluster.leader as SimBroker);
    const there = Array.from({ length: disk.end - disk.start }, (_, at) => disk.messageAt(disk.start + at));
    expect(cluster.acked.filter((message) => !there.includes(message))).toEqual([]);
  }
});

test("what strangers send keeps no other errors out of the log", () => {
  const cluster = new ThreeBrokers();
  const [one, two] = cluster.brokers as [SimBroker, SimBroker];
  const events = Reflect.get(one.replication.peers, "events") as PeerEvents;
  for (let i = 0; i < 200; i++) events.onTrouble(`10.0.0.9:${i}`, new WireError(`a frame of ${i} bytes`));
  events.onTrouble(two.uid, new Error("a defect"));
  expect(cluster.world.logger.lines).toContain(`ERROR: PEER(${two.uid}): a defect`);
});
