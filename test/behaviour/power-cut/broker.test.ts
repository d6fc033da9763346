import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { type Broker, openBroker } from "../../../src/broker/broker.ts";
import type { Bucket } from "../../../src/broker/storage/deferred/bucket.ts";
import { KIND_PUBLISH } from "../../../src/broker/storage/deferred/entry.ts";
import type { Channel } from "../../../src/broker/topics/channel/channel.ts";
import { BODY_OFFSET } from "../../../src/frame/frame.ts";
import { defaultOptions, MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { readBySequence } from "../../support/log-fixture.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { FaultDisk } from "./support/fault-disk.ts";

/** How many power cuts are tried, each at a random moment of the workload. */
const CUTS = Number(process.env.BUNSQ_CUTS ?? 150);
/** Only the metadata store is on a real disk. It is opened again for each cut, so a file system in memory is best. */
const MEMORY_FOLDER = "/dev/shm";
const STEPS = 250;
const TOPIC = "t";
const CHANNEL = "c";

const seed = seedFromEnvironment();
const dataPath = existsSync(MEMORY_FOLDER) ? mkdtempSync(`${MEMORY_FOLDER}/bunsq-test-`) : temporaryFolder();
let cuts = 0;
let boots = 0;

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

function open(disk: FaultDisk): Broker {
  // The data path and the folders above it are on the disk already.
  disk.makeDirectory(dataPath);
  for (let path = dataPath; path !== "/"; path = dirname(path)) disk.syncDirectoryNow(dirname(path));
  const options = defaultOptions({ dataPath, durability: "fsync", maxBytesPerFile: 3000, msgTimeoutMs: 60_000 });
  // The machine starts again after each cut.
  return openBroker(options, new MemoryLogger(), { disk, bootId: `boot ${boots++}` });
}

/** Publishes, defers, consumes, finishes and requeues with --durability=fsync, and notes when the broker promised something. */
async function play(random: Random): Promise<History> {
  const disk = new FaultDisk();
  const history: History = { disk, fates: new Map(), stores: [] };
  const broker = open(disk);
  const topic = broker.registry.topic(TOPIC);
  const channel = topic.channel(CHANNEL);
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
        ? broker.publishing.publish(topic, "", Buffer.from(bodies[0] as string), deferMs)
        : broker.publishing.publishBatch(topic, "", mpub(bodies));
    promise.then(() => {
      for (const fate of fates) fate.acknowledged = disk.moment;
    });
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
    return disk.waiting === 0 && !broker.deferred.hasWork && !topic.dirty;
  });
  consumer.terminate();
  expect(channel.depth + channel.inFlightCount + channel.deferredCount).toBeGreaterThan(0);
  abandon(broker);
  return history;
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

/** Stops a broker as a power cut would: nothing more is written. */
function abandon(broker: Broker): void {
  broker.turn.stop();
  broker.listener.stop(true);
  broker.metadata.close();
}

/** The bodies that a broker would still deliver to the channel, from the log and from the deferred store. */
function owed(broker: Broker): Set<string> {
  const topic = broker.registry.topics.get(TOPIC);
  const channel = topic?.channels.get(CHANNEL) as Channel;
  const bodies = new Set<string>();
  if (topic === undefined) return bodies;
  for (const [sequence, body] of readBySequence(topic.log)) {
    if (sequence >= channel.floor && !channel.backlog.skips.some(({ from, to }) => sequence >= from && sequence < to)) bodies.add(body);
  }
  const { buckets } = broker.deferred as unknown as { buckets: Iterable<Bucket> };
  for (const bucket of buckets) {
    bucket.scan(0, Number.POSITIVE_INFINITY, (entry) => {
      if (entry.offset < bucket.movedTo || !broker.registry.wanted(entry)) return;
      const frame = Buffer.alloc(entry.frameBytes);
      bucket.readFrame(frame, 0, entry.offset, entry.frameBytes);
      expect(entry.kind === KIND_PUBLISH ? entry.topicId : entry.channelId).toBe(entry.kind === KIND_PUBLISH ? topic.id : channel.id);
      bodies.add(frame.toString("utf8", BODY_OFFSET));
    });
  }
  return bodies;
}

function recover(disk: FaultDisk, store: Buffer): Broker {
  for (const ending of ["", "-wal", "-shm"])
    if (existsSync(`${dataPath}/bunsq-data/catalogue.sqlite${ending}`)) rmSync(`${dataPath}/bunsq-data/catalogue.sqlite${ending}`);
  mkdirSync(`${dataPath}/bunsq-data`, { recursive: true });
  writeFileSync(`${dataPath}/bunsq-data/catalogue.sqlite`, store);
  return open(disk);
}

test("after a power cut at any moment a broker still delivers every message that was acknowledged and not finished, and nothing else", async () => {
  const random = Random.forPart(seed, 1000);
  const history = await play(random);
  const first = (history.stores[0] as { moment: number }).moment;
  for (let cut = 0; cut < CUTS; cut++) {
    cuts++;
    const moment = random.int(first, history.disk.moment);
    // Cursors are not synced with each save, so the metadata store may have lost its last changes.
    const until = history.stores.filter((store) => store.moment <= moment);
    const store = until[Math.max(0, until.length - 1 - random.pick([0, 0, 1, 3, 20]))] as { bytes: Buffer };
    try {
      let disk = history.disk.afterCut(moment, random);
      let broker = recover(disk, store.bytes);
      if (random.chance(0.3)) {
        // The power is cut again while the broker starts.
        abandon(broker);
        disk = disk.afterCut(random.int(0, disk.moment), random);
        broker = recover(disk, store.bytes);
      }
      const bodies = owed(broker);
      abandon(broker);
      for (const body of bodies) if (!history.fates.has(body)) throw new Error(`${body.slice(0, 50)} was never published`);
      for (const [body, { acknowledged, finished }] of history.fates) {
        if (acknowledged <= moment && finished > moment && !bodies.has(body)) throw new Error(`${body.split(":")[0]} is lost`);
      }
    } catch (error) {
      throw new Error(`BUNSQ_SEED=${seed}, cut ${cut} at moment ${moment} of ${history.disk.moment}`, { cause: error });
    }
  }
}, 30_000);
