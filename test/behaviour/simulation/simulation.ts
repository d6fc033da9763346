import { PublishError } from "../../../src/broker/acks/pending-publish.ts";
import { type Broker, openBroker } from "../../../src/broker/broker.ts";
import type { Channel } from "../../../src/broker/topics/channel/channel.ts";
import type { Topic } from "../../../src/broker/topics/topic.ts";
import { FlakyDisk } from "../../support/flaky-disk.ts";
import { defaultOptions, MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { MemoryConsumer } from "../../support/memory-consumer.ts";
import type { Random } from "../../support/random.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";
import { ImmediateDisk } from "../power-cut/support/immediate-disk.ts";

/** 2026-01-01, in ms since 1970. */
const START_MS = 1_767_225_600_000;
const DAY_MS = 86_400_000;
const MSG_TIMEOUT_MS = 2000;
const TOPICS = ["written", "synced"] as const;
/** A topic with several partitions, and how many. It gets one more in the course of a run. */
const SPLIT = "split";
const PARTITIONS = 4;
const CHANNEL = "c";
/** A run that needs more turns than this to become quiet hangs. */
const MAX_TURNS = 200_000;

/**
 * A broker with a disk and a clock of its own, both simulated, without a listener: publishers call it, and its consumers are
 * objects. Only its metadata store is a real file.
 */
export class SimulatedBroker {
  readonly clock: SimulatedClock;
  readonly disk: FlakyDisk;
  readonly published = new Set<string>();
  readonly acknowledged = new Set<string>();
  readonly delivered = new Set<string>();
  private readonly broker: Broker;
  private readonly topics: Topic[];
  private readonly consumers: { channel: Channel; consumer: MemoryConsumer }[] = [];
  private readonly dataPath = temporaryFolder();
  private nextBody = 0;

  constructor(
    private readonly random: Random,
    index: number,
  ) {
    // One is a day behind and fast, the other is right: nothing of one broker goes by the other's clock.
    this.clock = new SimulatedClock(START_MS - index * DAY_MS, 1 + index / 1000);
    const memory = new ImmediateDisk();
    memory.makeDirectory(this.dataPath);
    this.disk = new FlakyDisk(memory, this.clock, random, { write: 0.08, sync: 0.1, open: 0.02, syncMs: 40 });
    this.disk.fails = false;
    const options = defaultOptions({ dataPath: this.dataPath, nodeId: index + 1, maxBytesPerFile: 4000, msgTimeoutMs: MSG_TIMEOUT_MS });
    this.broker = openBroker(options, new MemoryLogger(), {
      disk: this.disk,
      clock: this.clock,
      random: (target) => {
        for (let i = 0; i < target.length; i++) target[i] = random.int(0, 255);
      },
    });
    this.topics = TOPICS.map((name) => this.broker.registry.topic(name));
    this.topics.push(this.broker.registry.topicWith(SPLIT, PARTITIONS));
    this.topics[1]?.setDurability("fsync");
    for (const [i, topic] of this.topics.entries()) {
      const channel = topic.channel(CHANNEL);
      // Those of the topic with several partitions have room for less than one message of each.
      for (let one = 0; one < (topic.name === SPLIT ? 2 : 1); one++) {
        const consumer = new MemoryConsumer(10 * i + one + 1, channel, MSG_TIMEOUT_MS);
        if (topic.name === SPLIT) consumer.readyCount = 1 + one;
        channel.addConsumer(consumer);
        this.consumers.push({ channel, consumer });
      }
    }
    this.disk.fails = true;
  }

  /** Everything that changed its disk, or failed to, in order. The data path's own name is left out. */
  get trace(): string[] {
    return this.disk.trace.map((line) => line.replaceAll(this.dataPath, ""));
  }

  /** Does one thing that a client, an operator or time might do. */
  step(): void {
    const { random } = this;
    const topic = random.pick(this.topics);
    const { channel, consumer } = random.pick(this.consumers);
    const what = random.next();
    if (what < 0.3) this.publish(topic, random.int(1, 8), 0);
    else if (what < 0.38) this.publish(topic, 1, random.pick([5, 400, 30_000]));
    else if (what < 0.7) this.answer(consumer, random.int(1, 6));
    else if (what < 0.72) this.clock.setWallClock(random.pick([-3_600_000, 3_600_000]));
    else if (what < 0.74) (channel.paused ? channel.unpause : channel.pause).call(channel);
    else if (what < 0.742) this.expand();
    else this.clock.advance(random.int(0, 60));
  }

  /** The disk works again: everything acknowledged is delivered and finished. */
  async drain(): Promise<void> {
    this.disk.fails = false;
    for (const { channel } of this.consumers) if (channel.paused) channel.unpause();
    for (let turn = 0; !this.isDrained; turn++) {
      if (turn > MAX_TURNS)
        throw new Error(
          `not drained: ${JSON.stringify(this.consumers.map(({ channel: { depth, inFlightCount, deferredCount } }) => ({ depth, inFlightCount, deferredCount })))}`,
        );
      this.clock.advance(50);
      for (const { consumer } of this.consumers) this.finishAll(consumer);
      await microtasks();
    }
  }

  async close(): Promise<void> {
    let closed = false;
    const closing = this.broker.close().finally(() => {
      closed = true;
    });
    for (let turn = 0; !closed; turn++) {
      if (turn > MAX_TURNS) throw new Error("the broker does not close");
      this.clock.advance(1);
      await microtasks();
    }
    await closing;
    removeFolder(this.dataPath);
  }

  /** Gives the topic with several partitions one more, once. A disk that fails may refuse that. */
  private expand(): void {
    try {
      this.broker.registry.topicWith(SPLIT, PARTITIONS + 1);
    } catch (error) {
      if (!(error instanceof PublishError)) throw error;
    }
  }

  private publish(topic: Topic, count: number, delayMs: number): void {
    for (let i = 0; i < count; i++) {
      const body = `${topic.name}-${this.nextBody++}-${"x".repeat(this.random.int(0, 100))}`;
      this.published.add(body);
      this.broker.publishing.publish(topic.nextPartition(), "", Buffer.from(body, "latin1"), delayMs).then(
        () => this.acknowledged.add(body),
        // A publish that the disk did not take is refused, and owed to nobody.
        () => {},
      );
    }
  }

  /** Answers for some of what a consumer has: mostly FIN, some REQ. What it does not answer for times out. */
  private answer(consumer: MemoryConsumer, most: number): void {
    for (const { part, sequence, body } of consumer.deliveries.splice(0, most)) {
      const what = this.random.next();
      if (what < 0.7) {
        if (part.finish(consumer, sequence) === undefined) this.delivered.add(body);
      } else if (what < 0.9) part.requeue(consumer, sequence, this.random.pick([0, 100, 3000]));
    }
  }

  private finishAll(consumer: MemoryConsumer): void {
    for (const { part, sequence, body } of consumer.deliveries.splice(0)) {
      if (part.finish(consumer, sequence) === undefined) this.delivered.add(body);
    }
  }

  private get isDrained(): boolean {
    return this.consumers.every(({ channel }) => channel.depth + channel.inFlightCount + channel.deferredCount === 0);
  }
}

/** Lets the promises go on that are settled. The simulation has nothing else that is asynchronous. */
export async function microtasks(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}
