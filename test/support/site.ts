import { cpSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type Broker, openBroker } from "../../src/broker/broker.ts";
import type { BrokerOptions } from "../../src/broker/options.ts";
import { type Disk, removeIfThere, systemDisk } from "../../src/broker/storage/disk/disk.ts";
import type { Channel } from "../../src/broker/topics/channel/channel.ts";
import { FlakyDisk, type ScriptedFailure } from "./flaky-disk.ts";
import { defaultOptions, MemoryLogger, removeFolder, temporaryFolder } from "./in-process.ts";
import { MemoryConsumer } from "./memory-consumer.ts";
import { Random } from "./random.ts";
import { SimulatedClock } from "./simulated-clock.ts";

const START_MS = 1_767_225_600_000;
const STEP_MS = 50;
/** A condition that does not come true in this many steps never will. */
const MAX_STEPS = 20_000;
const MSG_TIMEOUT_MS = 3_600_000;
export const CHANNEL = "c";

/** The machine's disk, without syncs: all that it does is done when a call returns. */
const promptDisk: Disk = {
  ...systemDisk,
  sync: (_fd, done) => done(null),
  syncNow: () => {},
  syncDirectory: (_path, done) => done(null),
  syncDirectoryNow: () => {},
  removeLater: (path, done) => {
    removeIfThere(systemDisk, path);
    done(null);
  },
};

/** A data path on the machine's disk, which fails as the test says, and a broker on it by a clock that the test moves. */
export class Site implements AsyncDisposable {
  readonly clock: SimulatedClock;
  readonly disk: FlakyDisk;
  readonly log = new MemoryLogger();
  /** Bodies of what consumers got, by topic, in order. */
  readonly delivered = new Map<string, string[]>();
  broker!: Broker;
  private readonly consumers = new Map<Channel, MemoryConsumer>();
  private nextConsumer = 1;

  private constructor(
    readonly dataPath: string,
    private readonly changes: Partial<BrokerOptions>,
    nowMs: number,
    disk: Disk = promptDisk,
    private readonly bootId?: string,
  ) {
    this.clock = new SimulatedClock(nowMs);
    this.disk = new FlakyDisk(disk, this.clock, new Random(1));
  }

  static empty(changes: Partial<BrokerOptions> = {}): Site {
    const site = Site.unopened(changes);
    site.open();
    return site;
  }

  static unopened(changes: Partial<BrokerOptions> = {}): Site {
    return new Site(temporaryFolder(), changes, START_MS);
  }

  /**
   * A data path on another disk, without a broker. Only its metadata store is on the machine's.
   *
   * @param nowMs what the wall clock says, ms since 1970
   */
  static on(disk: Disk, dataPath: string, changes: Partial<BrokerOptions>, nowMs = START_MS, bootId?: string): Site {
    return new Site(dataPath, changes, nowMs, disk, bootId);
  }

  /** What is left when the process is killed now, as a path without a broker. */
  killed(changes: Partial<BrokerOptions> = this.changes): Site {
    const dataPath = temporaryFolder();
    cpSync(this.dataPath, dataPath, { recursive: true });
    return new Site(dataPath, changes, this.clock.wallMs());
  }

  open(): void {
    const options = defaultOptions({
      dataPath: this.dataPath,
      nodeId: 1,
      maxBytesPerFile: 4000,
      msgTimeoutMs: MSG_TIMEOUT_MS,
      ...this.changes,
    });
    const { disk, clock, bootId } = this;
    this.broker = openBroker(options, this.log, { disk, clock, ...(bootId === undefined ? {} : { bootId }) });
  }

  /** Ends the process as a kill does: nothing more is written. */
  kill(): void {
    this.broker.turn.stop();
    this.broker.metadata.close();
  }

  fail(failure: ScriptedFailure): void {
    this.disk.script.push(failure);
  }

  heal(): void {
    this.disk.script.length = 0;
  }

  async publish(topic: string, body: string, delayMs = 0, key = ""): Promise<void> {
    await this.wait(this.broker.publishing.publish(this.broker.registry.topic(topic).partitions[0], key, Buffer.from(body), delayMs));
  }

  /** Lets time pass until a promise is settled. */
  async wait<T>(promise: Promise<T>): Promise<T> {
    let ended = false;
    promise.then(
      () => (ended = true),
      () => (ended = true),
    );
    await this.until(() => ended);
    return promise;
  }

  /** A consumer of a topic. What it gets is in its `deliveries`. */
  subscribe(topic: string, readyCount: number): { channel: Channel; consumer: MemoryConsumer } {
    return this.subscribeTo(this.broker.registry.topic(topic).channel(CHANNEL), readyCount);
  }

  subscribeTo(channel: Channel, readyCount: number): { channel: Channel; consumer: MemoryConsumer } {
    const consumer = new MemoryConsumer(this.nextConsumer++, channel, MSG_TIMEOUT_MS);
    consumer.readyCount = readyCount;
    channel.addConsumer(consumer);
    channel.markDirty();
    return { channel, consumer };
  }

  /** A consumer of a topic whose messages are finished at once. */
  consume(topic: string): void {
    const { channel, consumer } = this.subscribe(topic, 1000);
    this.consumers.set(channel, consumer);
    if (!this.delivered.has(topic)) this.delivered.set(topic, []);
  }

  /** Finishes what consumers got. */
  finishAll(): void {
    for (const [channel, consumer] of this.consumers) {
      for (const { sequence, body } of consumer.deliveries.splice(0)) {
        if (channel.partitions[0].finish(consumer, sequence) !== undefined) throw new Error(`${body} is not in flight`);
        this.delivered.get(channel.topic.name)?.push(body);
      }
    }
  }

  /** Lets time pass until something is so. Errors of the broker's callbacks are thrown here. */
  async until(condition: () => boolean, stepMs = STEP_MS): Promise<void> {
    for (let step = 0; !condition(); step++) {
      if (step > MAX_STEPS) throw new Error(`it never came: ${condition}\n${this.log.lines.slice(-20).join("\n")}`);
      await this.step(stepMs);
    }
  }

  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += STEP_MS) await this.step(STEP_MS);
  }

  private async step(ms: number): Promise<void> {
    this.clock.advance(ms);
    this.finishAll();
    await new Promise(setImmediate);
  }

  get health(): string {
    return this.broker.health.text;
  }

  /** Files that somebody has set aside or removed the names of. */
  get setAside(): string[] {
    return readdirSync(join(this.dataPath, "bunsq-data"), { recursive: true, encoding: "utf8" }).filter((name) => name.includes("damaged"));
  }

  async close(): Promise<void> {
    await this.wait(this.broker.close());
    this.consumers.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.heal();
    if (this.broker !== undefined) await this.close();
    removeFolder(this.dataPath);
  }
}
