import { expect, test } from "bun:test";
import type { BrokerOptions } from "../../../src/broker/options.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import type { Frame, RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { WithHttp } from "../../support/with-http.ts";

const ROUNDS = 4;
const STEPS = 120;

/** One consumer and what it holds. */
interface Consumer {
  client: RawClient;
  /** In flight as it believes: its FINs may fail after a seek. */
  held: Frame[];
}

/**
 * What a channel owes since its last seek: each message from there on, until a FIN for it was not refused. Deliveries and
 * FINs that cross a seek on their way are told apart by the broker's own answers, for which settle() waits.
 */
class Model {
  from = 0;
  finished = new Set<number>();
  published = 0;

  get owed(): number[] {
    const owed: number[] = [];
    for (let sequence = this.from; sequence < this.published; sequence++) if (!this.finished.has(sequence)) owed.push(sequence);
    return owed;
  }
}

/** Waits for the answers to all that a client sent. @returns the ids whose command was refused */
async function settle(consumer: Consumer): Promise<Set<string>> {
  const refused = new Set<string>();
  consumer.client.command("FIN 0000000000000000");
  for (;;) {
    const frame = await consumer.client.next();
    if (frame.type === "message") consumer.held.push(frame);
    else if (frame.text.includes("FIN 0000000000000000")) return refused;
    else refused.add(frame.text.split(" ")[2]);
  }
}

function sequenceOf(id: string): number {
  return Number.parseInt(id.slice(6), 16);
}

test("whatever is in flight, requeued or deferred when a channel is moved, it owes exactly what is behind its new place", async () => {
  const seed = seedFromEnvironment();
  console.log(`seed ${seed} (BUNSQ_SEED=${seed} to repeat)`);
  for (let round = 0; round < ROUNDS; round++) {
    const options: Partial<BrokerOptions> = {};
    // Small segments and files that are rolled often, so that places are in many of them.
    if (round % 2 === 0) options.maxBytesPerFile = 1024;
    // What is staged for the deferred store is there only after a sync, which a seek may overtake.
    if (round >= 2) options.durability = "fsync";
    await play(Random.forPart(seed, round), options);
  }
}, 60_000);

async function play(random: Random, options: Partial<BrokerOptions>): Promise<void> {
  await using server = WithHttp.start(options);
  const model = new Model();
  await server.call("POST", "/topic/create?topic=t");
  await server.call("POST", "/channel/create?topic=t&channel=ch");
  // What holds the log's beginning, so that there is something to go back to.
  await server.call("POST", "/channel/create?topic=t&channel=keeper");
  const consumers: Consumer[] = [];
  for (let i = 0; i < 2; i++) consumers.push({ client: await server.started.consumer("t", "ch", 5), held: [] });

  const finish = async (consumer: Consumer, count: number) => {
    // A message can be held twice: as it came before a seek, and as it came behind it. One FIN speaks for both.
    const ids = new Set(consumer.held.splice(0, count).map(({ id }) => id));
    for (const id of ids) consumer.client.command(`FIN ${id}`);
    const refused = await settle(consumer);
    for (const id of ids) {
      if (refused.has(id)) continue;
      const sequence = sequenceOf(id);
      if (sequence < model.from) throw new Error(`FIN of ${sequence} counts, though the channel begins at ${model.from}`);
      if (model.finished.has(sequence)) throw new Error(`${sequence} was finished twice`);
      model.finished.add(sequence);
    }
  };

  for (let step = 0; step < STEPS; step++) {
    const consumer = random.pick(consumers);
    const what = random.int(0, 9);
    if (what < 3) {
      const count = random.int(1, 8);
      await server.started.publish("t", ...Array.from({ length: count }, () => "x".repeat(random.int(1, 60))));
      model.published += count;
    } else if (what < 6) {
      await settle(consumer);
      await finish(consumer, random.int(1, 5));
    } else if (what < 8) {
      await settle(consumer);
      const frame = consumer.held.shift();
      if (frame !== undefined) consumer.client.command(`REQ ${frame.id} ${random.pick([0, 20, 300, 60_000])}`);
      await settle(consumer);
    } else if (what < 9) {
      const to = random.int(0, model.published);
      const { sequence } = await server.json("POST", `/channel/seek?topic=t&channel=ch&to=${to}`);
      expect(sequence).toBe(to);
      model.from = to;
      model.finished.clear();
    } else if (random.chance(1 / 3)) {
      for (const { client } of consumers.splice(0)) client.terminate();
      await server.restart();
      for (let i = 0; i < 2; i++) consumers.push({ client: await server.started.consumer("t", "ch", 5), held: [] });
    }
  }

  // A long delay is waited for no longer than this: what is still owed is deferred or comes.
  const deferred = () => server.broker.registry.topic("t").channel("ch").deferredCount;
  await until("all that is owed is finished or deferred", async () => {
    for (const consumer of consumers) {
      await settle(consumer);
      await finish(consumer, consumer.held.length);
    }
    return model.owed.length === deferred() && server.broker.registry.topic("t").channel("ch").depth === 0;
  });
  const { discarded } = await server.json("POST", "/channel/seek?topic=t&channel=ch&to=beginning");
  expect(discarded.in_flight).toBe(0);
}
