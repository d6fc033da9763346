import { expect, test } from "bun:test";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { KeyModel } from "./support/key-model.ts";
import type { KeyedConsumer, KeyedDelivery } from "./support/keyed-consumer.ts";
import { MSG_TIMEOUT_MS, OrderedBroker } from "./support/ordered-broker.ts";

const RUNS = 6;
const STEPS = 300;
const KEYS = 12;
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
