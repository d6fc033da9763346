import { expect, test } from "bun:test";
import { visitRecords } from "../../../src/broker/storage/log/records.ts";
import { bodyAt } from "../../../src/frame/header.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { KeyModel } from "./support/key-model.ts";
import type { KeyedConsumer, KeyedDelivery } from "./support/keyed-consumer.ts";
import { MSG_TIMEOUT_MS, OrderedBroker } from "./support/ordered-broker.ts";

const RUNS = 6;
const STEPS = 300;
const KEYS = 15;
const PARTITIONS = 3;
const MOST_ATTEMPTS = 3;
const TAGS = ["", "red", "blue"];
const DEAD = "dead";

/** A consumer, and the tag that it wants. */
interface Seat {
  consumer: KeyedConsumer;
  tag: string;
}

/** Plays a channel that has all settings at once, and checks each delivery. */
class Run {
  readonly keys = Array.from({ length: KEYS }, () => new KeyModel());
  private seats: Seat[] = [];
  private failure: string | undefined;
  private unwanted = 0;

  constructor(
    private readonly random: Random,
    private readonly broker: OrderedBroker,
  ) {}

  async step(): Promise<void> {
    const { random, broker } = this;
    const what = random.next();
    broker.cut.broker.turn.readClock();
    if (what < 0.25) this.publish(random.int(1, 30));
    else if (what < 0.75) for (const seat of this.seats) this.answer(seat, random.int(0, 8));
    else if (what < 0.82) this.connect(random.pick(TAGS), random.int(1, 20));
    else if (what < 0.86 && this.seats.length > 0) this.disconnect(random.pick(this.seats));
    else if (what < 0.97) await broker.pass(random.pick([5, 50, 300, MSG_TIMEOUT_MS]));
    else await this.restart(random.chance(0.6));
    await broker.pass();
    this.check();
  }

  /** Everything that was published is finished, or a dead letter. */
  async drain(): Promise<void> {
    for (const tag of TAGS) this.connect(tag, 50);
    for (let turns = 0; this.keys.some(({ isDone }) => !isDone); turns++) {
      if (turns > 5_000) throw new Error(`lost: ${JSON.stringify(this.keys.map(({ next, published }) => ({ next, published })))}`);
      for (const seat of this.seats) for (const delivery of seat.consumer.deliveries.splice(0)) this.finish(seat, delivery);
      await this.broker.pass(20);
      this.check();
    }
    await this.broker.pass(MSG_TIMEOUT_MS);
    this.check();
  }

  /** What was not finished is a dead letter, and nothing is one twice. What was finished may be one if a kill came behind its FIN. */
  checkDead(): void {
    const dead: string[] = [];
    for (const { log } of this.broker.cut.broker.registry.topics.get(DEAD)?.partitions ?? []) {
      visitRecords(log, log.startSequence, log.committedNext, ({ buffer, from, to }) => {
        dead.push(buffer.toString("latin1", bodyAt(buffer, from), to));
        return false;
      });
    }
    const letters = new Set(dead);
    expect(letters.size).toBe(dead.length);
    for (const [key, model] of this.keys.entries()) {
      for (let number = 0; number < model.published; number++) {
        const body = `${key} ${number}`;
        if (!this.finished.has(body) && !letters.has(body)) throw new Error(`${body} is neither finished nor a dead letter`);
      }
    }
  }

  private readonly finished = new Set<string>();

  private check(): void {
    if (this.failure !== undefined) throw new Error(this.failure);
  }

  private publish(count: number): void {
    const { random, broker } = this;
    for (let i = 0; i < count; i++) {
      const key = random.int(0, KEYS - 1);
      const tag = this.tagOf(key, this.keys[key].published);
      if (random.chance(0.3)) broker.publish(`unwanted ${this.unwanted++}`, { key: `key ${key}`, tag, text: '{"region":"us"}' });
      else broker.publish(`${key} ${this.keys[key].published++}`, { key: `key ${key}`, tag, text: '{"region":"eu"}' });
    }
  }

  /** Most messages of most keys have none. */
  private tagOf(key: number, number: number): string {
    return key % 3 === 0 ? TAGS[(key + number) % TAGS.length] : "";
  }

  private connect(tag: string, readyCount: number): void {
    const consumer = this.broker.consumer(readyCount, tag === "" ? {} : { tag });
    const seat = { consumer, tag };
    consumer.onDelivery = (delivery) => {
      try {
        this.onDelivered(seat, delivery);
      } catch (error) {
        this.failure ??= `${delivery.body}: ${(error as Error).message}`;
      }
    };
    this.seats.push(seat);
  }

  private onDelivered({ consumer, tag }: Seat, { body, attempts, part }: KeyedDelivery): void {
    const [key, number] = body.split(" ").map(Number);
    if (Number.isNaN(key)) throw new Error("the channel does not take it");
    if (attempts > MOST_ATTEMPTS) throw new Error(`it comes with ${attempts} attempts`);
    const wanted = this.tagOf(key, number);
    const isWanted = this.seats.some((seat) => seat.tag === wanted);
    if (tag !== (isWanted ? wanted : "")) throw new Error(`it has the tag "${wanted}", and comes to a consumer that wants "${tag}"`);
    const model = this.keys[key];
    model.onDelivered(number, consumer, this.broker.nowMs);
    if (attempts === MOST_ATTEMPTS) model.dying = number;
    if (part.partition !== this.broker.channel.topic.partitionFor(Buffer.from(`key ${key}`))) throw new Error("it is in another partition");
  }

  private disconnect(leaving: Seat): void {
    this.seats = this.seats.filter((seat) => seat !== leaving);
    for (const key of this.keys) key.onDisconnected(leaving.consumer);
    this.broker.disconnect(leaving.consumer);
  }

  private answer(seat: Seat, most: number): void {
    const { random, broker } = this;
    for (const delivery of seat.consumer.deliveries.splice(0, most)) {
      const what = random.next();
      if (what < 0.6) {
        this.finish(seat, delivery);
      } else if (what < 0.93) {
        const delayMs = random.pick([0, 0, 100, 700]);
        if (delivery.part.requeue(seat.consumer, delivery.sequence, delayMs) === undefined) {
          this.keys[Number(delivery.body.split(" ")[0])].onRequeued(broker.nowMs, delayMs);
        }
      }
      // The others time out.
    }
  }

  private finish({ consumer }: Seat, { part, sequence, body }: KeyedDelivery): void {
    if (part.finish(consumer, sequence) !== undefined) return;
    const model = this.keys[Number(body.split(" ")[0])];
    model.dying = -1;
    model.onFinished(this.broker.nowMs);
    this.finished.add(body);
  }

  private async restart(isKilled: boolean): Promise<void> {
    const { broker } = this;
    await broker.pass();
    this.seats = [];
    for (const key of this.keys) {
      if (isKilled) key.onKilled(broker.nowMs);
      else key.held = undefined;
    }
    if (isKilled) broker.kill();
    else await broker.restart();
  }
}

const seed = seedFromEnvironment();
test(`keys, tags, a filter, dead letters and partitions go together, over restarts and kills (BUNSQ_SEED=${seed})`, async () => {
  for (let i = 0; i < RUNS; i++) {
    const filter = { type: 1, filter_ext_key: "region", filter_data: "eu" };
    const settings = { order: "key", filter, max_attempts: MOST_ATTEMPTS, dead_letter_topic: DEAD };
    await using broker = new OrderedBroker(settings, PARTITIONS);
    const run = new Run(Random.forPart(seed, i), broker);
    try {
      for (let step = 0; step < STEPS; step++) await run.step();
      await run.drain();
      run.checkDead();
    } catch (error) {
      throw new Error(`run ${i}: ${(error as Error).message}`, { cause: error });
    }
    expect(broker.channel.depth + broker.channel.inFlightCount + broker.channel.deferredCount).toBe(0);
  }
}, 120_000);
