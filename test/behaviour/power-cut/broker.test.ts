import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync } from "node:fs";
import type { BrokerOptions } from "../../../src/broker/options.ts";
import { NO_BYTES } from "../../../src/frame/header.ts";
import { headerFor } from "../../support/headed-message.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { abandon, openOn, owed, restoreStore } from "./support/cut-broker.ts";
import { FaultDisk } from "./support/fault-disk.ts";

/** How many power cuts are tried in each workload, each at a random moment. */
const CUTS = Number(process.env.BUNSQ_CUTS ?? 150);
/** Only the metadata store is on a real disk. It is opened again for each cut, so a file system in memory is best. */
const MEMORY_FOLDER = "/dev/shm";
const STEPS = 250;
/** The share of syncs that fail, where some do. */
const FAILING = 0.05;
const TOPIC = "t";
const CHANNEL = "c";

const seed = seedFromEnvironment();
const dataPath = existsSync(MEMORY_FOLDER) ? mkdtempSync(`${MEMORY_FOLDER}/bunsq-test-`) : temporaryFolder();
let cuts = 0;

afterAll(() => {
  removeFolder(dataPath);
  console.log(`power cuts of a broker: ${cuts}, BUNSQ_SEED=${seed}`);
});

/** The moments of the disk at which something happened to a message; Infinity: it has not happened. */
interface Fate {
  acknowledged: number;
  /** The consumer sent FIN. */
  finished: number;
}

interface History {
  disk: FaultDisk;
  fates: Map<string, Fate>;
  /** The content of the metadata store after each change, and the moment of the change. */
  stores: { moment: number; bytes: Buffer }[];
}

const OPTIONS: Partial<BrokerOptions> = { durability: "fsync", maxBytesPerFile: 3000, msgTimeoutMs: 60_000 };

/** Publishes, defers, consumes, finishes and requeues with --durability=fsync, and notes when the broker promised something. */
async function play(random: Random, { failing, order, partitions }: Workload): Promise<History> {
  const disk = new FaultDisk();
  const history: History = { disk, fates: new Map(), stores: [] };
  const broker = openOn(disk, dataPath, OPTIONS);
  disk.failsToSync = () => failing > 0 && random.chance(failing);
  const topic = broker.registry.topicWith(TOPIC, partitions);
  const channel = topic.channel(CHANNEL);
  channel.changeSettings({ order });
  broker.listen();
  let changes = -1;
  const noteStore = () => {
    if (broker.metadata.changes === changes) return;
    changes = broker.metadata.changes;
    history.stores.push({ moment: disk.moment, bytes: broker.metadata.serialize() });
  };
  noteStore();
  const consumer = await RawClient.connect(broker.tcpPort);
  await consumer.call(`SUB ${TOPIC} ${CHANNEL}`);
  consumer.command("RDY 20");
  let number = 0;
  const publish = (deferMs: number, batch: number) => {
    const bodies = Array.from({ length: batch }, () => `${number++}:${"x".repeat(random.int(0, 200))}`);
    const fates = bodies.map((body) => {
      const fate = { acknowledged: Number.POSITIVE_INFINITY, finished: Number.POSITIVE_INFINITY };
      history.fates.set(body, fate);
      return fate;
    });
    const promise =
      batch === 1
        ? broker.publishing.publish(topic.nextPartition(), "", Buffer.from(bodies[0]), deferMs, undefined, headerOf(bodies[0]))
        : broker.publishing.publishBatch(topic.nextPartition(), "", mpub(bodies));
    promise.then(
      () => {
        for (const fate of fates) fate.acknowledged = disk.moment;
      },
      // A sync failed, and nothing is promised.
      (error) => expect(failing, error.message).toBeGreaterThan(0),
    );
  };
  for (let step = 0; step < STEPS; step++) {
    const what = random.next();
    if (what < 0.3) publish(0, 1);
    else if (what < 0.4) publish(0, random.int(2, 10));
    else if (what < 0.5) publish(random.pick([30, 400, 5000, 200_000]), 1);
    else if (what < 0.8) disk.endSync();
    else await Bun.sleep(random.int(0, 2));
    for (const frame of consumer.frames.splice(0)) {
      if (frame.type !== "message") continue;
      const choice = random.next();
      if (choice < 0.4) {
        consumer.command(`FIN ${frame.id}`);
        (history.fates.get(frame.text) as Fate).finished = disk.moment;
      } else if (choice < 0.9) consumer.command(`REQ ${frame.id} ${random.pick([0, 300, 5000, 100_000])}`);
    }
    noteStore();
  }
  await until("the broker has finished all work", () => {
    disk.endSync();
    noteStore();
    return disk.waiting === 0 && !broker.deferred.hasWork && !topic.partitions.some(({ dirty }) => dirty);
  });
  consumer.terminate();
  expect(channel.depth + channel.inFlightCount + channel.deferredCount).toBeGreaterThan(0);
  abandon(broker);
  return history;
}

/** Every other message has a header. */
function headerOf(body: string): Uint8Array {
  return Number.parseInt(body, 10) % 2 === 0 ? NO_BYTES : headerFor(body);
}

function mpub(bodies: string[]): Buffer {
  const parts: Buffer[] = [Buffer.alloc(4)];
  (parts[0] as Buffer).writeInt32BE(bodies.length);
  for (const body of bodies) {
    const size = Buffer.alloc(4);
    size.writeUInt32BE(body.length);
    parts.push(size, Buffer.from(body));
  }
  return Buffer.concat(parts);
}

interface Workload {
  readonly kind: string;
  /** The share of syncs that fail. */
  readonly failing: number;
  readonly order: "none" | "key" | "partition";
  readonly partitions: number;
}

const WORKLOADS: readonly Workload[] = [
  { kind: "", failing: 0, order: "none", partitions: 1 },
  { kind: ", with syncs that fail and two partitions,", failing: FAILING, order: "none", partitions: 2 },
  { kind: " in order of the key, with two partitions,", failing: 0, order: "key", partitions: 2 },
  { kind: " in order of its three partitions, with syncs that fail,", failing: FAILING, order: "partition", partitions: 3 },
];

for (const [part, workload] of WORKLOADS.entries()) {
  test(`after a power cut at any moment a broker${workload.kind} still delivers every message that was acknowledged and not finished, and nothing else`, async () => {
    await playAndCut(Random.forPart(seed, 1000 + part), workload);
  }, 30_000);
}

async function playAndCut(random: Random, workload: Workload): Promise<void> {
  const history = await play(random, workload);
  const first = (history.stores[0] as { moment: number }).moment;
  for (let cut = 0; cut < CUTS; cut++) {
    cuts++;
    const moment = random.int(first, history.disk.moment);
    // Cursors are not synced with each save, so the metadata store may have lost its last changes.
    const until = history.stores.filter((store) => store.moment <= moment);
    const store = until[Math.max(0, until.length - 1 - random.pick([0, 0, 1, 3, 20]))] as { bytes: Buffer };
    try {
      let disk = history.disk.afterCut(moment, random);
      restoreStore(dataPath, store.bytes);
      let broker = openOn(disk, dataPath, OPTIONS);
      if (random.chance(0.3)) {
        // The power is cut again while the broker starts.
        abandon(broker);
        disk = disk.afterCut(random.int(0, disk.moment), random);
        restoreStore(dataPath, store.bytes);
        broker = openOn(disk, dataPath, OPTIONS);
      }
      const bodies = owed(broker, TOPIC, CHANNEL);
      abandon(broker);
      for (const body of bodies) if (!history.fates.has(body)) throw new Error(`${body.slice(0, 50)} was never published`);
      for (const [body, { acknowledged, finished }] of history.fates) {
        if (acknowledged <= moment && finished > moment && !bodies.has(body)) throw new Error(`${body.split(":")[0]} is lost`);
      }
    } catch (error) {
      throw new Error(`BUNSQ_SEED=${seed}, cut ${cut} at moment ${moment} of ${history.disk.moment}`, { cause: error });
    }
  }
}
