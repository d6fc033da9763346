import { expect, test } from "bun:test";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import type { KeyedConsumer, KeyedDelivery } from "./support/keyed-consumer.ts";
import { MSG_TIMEOUT_MS, OrderedBroker } from "./support/ordered-broker.ts";

const RUNS = 6;
const STEPS = 300;
const KEYS = 12;
/** A cursor is saved within this: a kill takes back what was finished, or deferred, later. */
const UNSAVED_MS = 250;

/** A message of one key that a consumer has. */
interface Held {
  number: number;
  consumer: KeyedConsumer;
  untilMs: number;
}

/** What is known of one key. Its messages have the numbers 0, 1, … */
class KeyModel {
  published = 0;
  /** All below are finished. */
  next = 0;
  held: Held | undefined;
  /** It is not delivered before this, because of a requeue. */
  dueMs = 0;
  /** When which message was finished. */
  readonly finishedAt: number[] = [];
  private requeuedAtMs = 0;
  /** After a kill: the lowest message that may come again. */
  private lowest: number | undefined;

  onDelivered(number: number, consumer: KeyedConsumer, nowMs: number): void {
    const { held } = this;
    if (held !== undefined && nowMs < held.untilMs) throw new Error(`${number} is delivered while ${held.number} is in flight`);
    if (nowMs < this.dueMs) throw new Error(`${number} is delivered ${this.dueMs - nowMs} ms too early`);
    if (this.lowest !== undefined && number < this.next && number >= this.lowest) this.next = number;
    if (number !== this.next) throw new Error(`${number} is delivered, and ${this.next} is next`);
    this.held = { number, consumer, untilMs: nowMs + MSG_TIMEOUT_MS };
    this.lowest = undefined;
  }

  onFinished(nowMs: number): void {
    this.finishedAt[this.next++] = nowMs;
    this.held = undefined;
  }

  onRequeued(nowMs: number, delayMs: number): void {
    this.held = undefined;
    this.requeuedAtMs = nowMs;
    this.dueMs = nowMs + delayMs;
  }

  onDisconnected(consumer: KeyedConsumer): void {
    if (this.held?.consumer === consumer) this.held = undefined;
  }

  onKilled(nowMs: number): void {
    this.held = undefined;
    // What came again of none since the kill before may still come.
    this.lowest = Math.min(this.lowest ?? this.next, this.next);
    while (this.lowest > 0 && this.finishedAt[this.lowest - 1] > nowMs - UNSAVED_MS) this.lowest--;
    if (this.requeuedAtMs > nowMs - UNSAVED_MS) this.dueMs = 0;
  }
}

/** Plays one run, and checks each delivery. */
class Run {
  readonly keys: KeyModel[];
  private consumers: KeyedConsumer[] = [];
  /** What was wrong first. It is found in the midst of the broker's work, which survives errors. */
  private failure: string | undefined;

  constructor(
    private readonly random: Random,
    private readonly broker: OrderedBroker,
    order: "key" | "partition",
  ) {
    // In order of the partition all keys are one.
    this.keys = Array.from({ length: order === "key" ? KEYS : 1 }, () => new KeyModel());
  }

  async step(): Promise<void> {
    const { random, broker } = this;
    const what = random.next();
    // As when a client's bytes come.
    broker.cut.broker.turn.readClock();
    if (what < 0.25) this.publish(random.int(1, 30));
    else if (what < 0.75) for (const consumer of this.consumers) this.answer(consumer, random.int(0, 8));
    else if (what < 0.8) this.connect(random.int(1, 20));
    else if (what < 0.84 && this.consumers.length > 0) this.disconnect(random.pick(this.consumers));
    else if (what < 0.97) await broker.pass(random.pick([5, 50, 300, MSG_TIMEOUT_MS]));
    else await this.restart(random.chance(0.6));
    await broker.pass();
    this.check();
  }

  private check(): void {
    if (this.failure !== undefined) throw new Error(this.failure);
  }

  /** Everything that was published is delivered and finished. */
  async drain(): Promise<void> {
    this.connect(50);
    for (let turns = 0; this.keys.some(({ next, published }) => next < published); turns++) {
      if (turns > 20_000) throw new Error(`lost: ${JSON.stringify(this.keys.map(({ next, published }) => ({ next, published })))}`);
      for (const consumer of this.consumers) for (const delivery of consumer.deliveries.splice(0)) this.finish(consumer, delivery);
      await this.broker.pass(20);
      this.check();
    }
  }

  private publish(count: number): void {
    for (let i = 0; i < count; i++) {
      const named = this.random.int(0, KEYS - 1);
      const key = named % this.keys.length;
      this.broker.publish(`${key} ${this.keys[key].published++}`, { key: `key ${named}` });
    }
  }

  private connect(readyCount: number): void {
    if (this.consumers.length >= 4) return;
    const consumer = this.broker.consumer(readyCount);
    consumer.onDelivery = ({ body }) => {
      const [key, number] = body.split(" ").map(Number);
      try {
        this.keys[key].onDelivered(number, consumer, this.broker.nowMs);
      } catch (error) {
        this.failure ??= `key ${key}: ${(error as Error).message}`;
      }
    };
    this.consumers.push(consumer);
  }

  private disconnect(consumer: KeyedConsumer): void {
    this.consumers = this.consumers.filter((other) => other !== consumer);
    for (const key of this.keys) key.onDisconnected(consumer);
    this.broker.disconnect(consumer);
  }

  private answer(consumer: KeyedConsumer, most: number): void {
    const { random, broker } = this;
    for (const delivery of random.chance(0.2) ? consumer.deliveries.splice(-most) : consumer.deliveries.splice(0, most)) {
      const what = random.next();
      if (what < 0.75) {
        this.finish(consumer, delivery);
      } else if (what < 0.93) {
        const delayMs = random.pick([0, 0, 100, 700, 5000]);
        if (broker.part.requeue(consumer, delivery.sequence, delayMs) === undefined) {
          this.keys[Number(delivery.body.split(" ")[0])].onRequeued(broker.nowMs, delayMs);
        }
      }
      // The others time out.
    }
  }

  private finish(consumer: KeyedConsumer, { sequence, body }: KeyedDelivery): void {
    if (this.broker.part.finish(consumer, sequence) === undefined) this.keys[Number(body.split(" ")[0])].onFinished(this.broker.nowMs);
  }

  private async restart(isKilled: boolean): Promise<void> {
    const { broker } = this;
    await broker.pass();
    this.consumers = [];
    for (const key of this.keys) {
      if (isKilled) key.onKilled(broker.nowMs);
      else key.held = undefined;
    }
    if (isKilled) broker.kill();
    else await broker.restart();
  }
}

for (const order of ["key", "partition"] as const) {
  const seed = seedFromEnvironment();
  test(`in order of the ${order} nothing is lost, too early, out of order or twice at once (BUNSQ_SEED=${seed})`, async () => {
    for (let i = 0; i < RUNS; i++) {
      const random = Random.forPart(seed, i);
      await using broker = new OrderedBroker({ order });
      const run = new Run(random, broker, order);
      try {
        for (let step = 0; step < STEPS; step++) await run.step();
        await run.drain();
      } catch (error) {
        throw new Error(`run ${i}: ${(error as Error).message}`, { cause: error });
      }
      expect(broker.channel.depth + broker.channel.inFlightCount + broker.channel.deferredCount).toBe(0);
    }
  }, 120_000);
}
