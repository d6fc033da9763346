import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync } from "node:fs";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { MemoryConsumer } from "../../support/memory-consumer.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { CutBroker, owed } from "./support/cut-broker.ts";

const MEMORY_FOLDER = "/dev/shm";
const RUNS = Number(process.env.BUNSQ_CUTS ?? 150) / 10;
const STEPS = 120;
/** A run takes about 150 ms on a quiet machine. */
const RUN_LIMIT_MS = 20_000;
const SYNC_TIMEOUT_MS = 1000;
const MSG_TIMEOUT_MS = 5000;
/** Topics of each durability. Where one is synced, the deferred store is as well. */
const SYNCED = "synced";
const WRITTEN = "written";
const CHANNEL = "c";

const seed = seedFromEnvironment();
const dataPath = existsSync(MEMORY_FOLDER) ? mkdtempSync(`${MEMORY_FOLDER}/bunsq-test-`) : temporaryFolder();
let cuts = 0;
let failures = 0;

afterAll(() => {
  removeFolder(dataPath);
  console.log(`power cuts in runs with syncs that fail: ${cuts}, with ${failures} failures, BUNSQ_SEED=${seed}`);
});

/** Plays on one disk over kills and power cuts, in which syncs fail now and then, for a while or always. */
class Run {
  private server: CutBroker;
  private readonly consumers: { topic: string; consumer: MemoryConsumer }[] = [];
  /** Messages that were acknowledged and that nobody has finished, of the synced topic. */
  private readonly due = new Set<string>();
  private readonly finished = new Set<string>();
  /** Deferred publishes that were refused. */
  private readonly refused = new Set<string>();
  private count = 0;
  private failing = 0;
  private isStarting = false;

  constructor(
    path: string,
    private readonly random: Random,
  ) {
    mkdirSync(path);
    this.server = new CutBroker(path, {
      syncTimeoutMs: SYNC_TIMEOUT_MS,
      idempotencyWindowMs: 3_600_000,
      maxBytesPerFile: 3000,
      msgTimeoutMs: MSG_TIMEOUT_MS,
    });
    for (const name of [SYNCED, WRITTEN]) this.server.broker.registry.topic(name).channel(CHANNEL);
    this.server.broker.registry.topic(SYNCED).setDurability("fsync");
    this.start();
  }

  async play(): Promise<void> {
    for (let step = 0; step < STEPS; step++) await this.step();
    this.server.abandon();
  }

  private start(): void {
    const { disk, broker } = this.server;
    disk.failsToSync = () => {
      const fails = !this.isStarting && this.random.chance(this.failing);
      if (fails) failures++;
      return fails;
    };
    this.consumers.length = 0;
    for (const [i, topic] of [SYNCED, WRITTEN].entries()) {
      const channel = broker.registry.topic(topic).channel(CHANNEL);
      const consumer = new MemoryConsumer(i + 1, channel, MSG_TIMEOUT_MS);
      channel.addConsumer(consumer);
      this.consumers.push({ topic, consumer });
    }
  }

  private async step(): Promise<void> {
    const { random } = this;
    const what = random.next();
    if (what < 0.45) this.publish();
    else if (what < 0.65) this.answer();
    else if (what < 0.7) this.failing = random.pick([0, 0, 0.1, 0.5, 1]);
    else if (what < 0.95) await this.server.pass(random.pick([2, 10, 300, 3000, 40_000]), random.pick([2, 50]));
    else if (what < 0.97) await this.startAgain(() => this.server.kill());
    else {
      await this.startAgain(() => this.server.restart(this.server.disk.afterCut(this.server.disk.moment, random)));
      // Whether an entry is on the disk that a failed sync refused, nobody knows before the power cut.
      this.refused.clear();
    }
    this.checkCounts();
  }

  private publish(): void {
    const { random } = this;
    const topic = random.pick([SYNCED, SYNCED, WRITTEN]);
    const deferMs = random.pick([0, 0, 300, 5000, 100_000]);
    const key = random.chance(0.3) ? `key ${random.int(0, 20)}` : "";
    const body = `${this.count++} ${topic} ${deferMs}`;
    const { publishing, registry } = this.server.broker;
    publishing.publish(registry.topic(topic).partitions[0], key, Buffer.from(body), deferMs).then(
      // With a key it may repeat another message, and is not one of its own.
      () => {
        if (topic === SYNCED && key === "" && !this.finished.has(body)) this.due.add(body);
      },
      () => {
        if (deferMs > 0) this.refused.add(body);
      },
    );
  }

  private answer(): void {
    const { topic, consumer } = this.random.pick(this.consumers);
    const channel = this.server.broker.registry.topic(topic).channel(CHANNEL);
    for (const { sequence, body } of consumer.deliveries.splice(0, this.random.int(1, 5))) {
      expect(this.refused).not.toContain(body);
      if (this.random.chance(0.6)) {
        channel.partitions[0].finish(consumer, sequence);
        this.due.delete(body);
        this.finished.add(body);
      } else {
        channel.partitions[0].requeue(consumer, sequence, this.random.pick([0, 300, 5000, 100_000]));
      }
    }
  }

  /** Ends the run of the broker, and starts on what is left. */
  private async startAgain(restart: () => CutBroker): Promise<void> {
    // A start is refused when a sync of it fails.
    this.isStarting = true;
    this.server = restart();
    this.isStarting = false;
    cuts++;
    const left = owed(this.server.broker, SYNCED, CHANNEL);
    expect([...this.due].filter((body) => !left.has(body))).toEqual([]);
    this.start();
  }

  private checkCounts(): void {
    for (const name of [SYNCED, WRITTEN]) {
      const { depth, inFlightCount, deferredCount } = this.server.broker.registry.topic(name).channel(CHANNEL);
      expect(Math.min(depth, inFlightCount, deferredCount)).toBeGreaterThanOrEqual(0);
    }
  }
}

test(
  "with syncs that fail, kills and power cuts, no acknowledged message is lost, and no refused deferred one is delivered",
  async () => {
    for (let run = 0; run < RUNS; run++) {
      try {
        await new Run(`${dataPath}/${run}`, Random.forPart(seed, run)).play();
      } catch (error) {
        throw new Error(`BUNSQ_SEED=${seed}, run ${run}`, { cause: error });
      }
    }
  },
  RUNS * RUN_LIMIT_MS,
);
