import { expect, test } from "bun:test";
import { Consumer } from "../../src/client/bun.ts";
import { InProcess } from "../support/in-process.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";
import { until } from "../support/server.ts";

const BROKERS = 40;
const MESSAGES = 150;
const SEED = seedFromEnvironment();

/** Forty brokers in this process, and one consumer of them all. */
async function play(maxInFlight: number): Promise<{ waitsMs: number[]; mostInFlight: number; attempts: number[] }> {
  console.log(`seed of the messages: ${SEED}`);
  const random = new Random(SEED);
  const brokers = Array.from({ length: BROKERS }, () => InProcess.start());
  const channels = brokers.map(({ broker }) => broker.registry.topic("t").channel("c"));
  const consumer = new Consumer({
    brokers: brokers.map(({ broker }) => `127.0.0.1:${broker.tcpPort}`),
    topic: "t",
    channel: "c",
    maxInFlight,
  });
  let mostInFlight = 0;
  const sampler = setInterval(() => {
    mostInFlight = Math.max(
      mostInFlight,
      channels.reduce((sum, { inFlightCount }) => sum + inFlightCount, 0),
    );
  }, 10);
  try {
    const waitsMs: number[] = [];
    const attempts: number[] = [];
    void consumer.run((message) => {
      waitsMs.push(Date.now() - Number(message.text()));
      attempts.push(message.attempts);
    });
    await until("all are connected", () => consumer.connected.length === BROKERS);
    const publishers = await Promise.all(brokers.map((broker) => broker.client()));
    for (let i = 0; i < MESSAGES; i++) {
      await Bun.sleep(random.int(0, 30));
      const publisher = random.pick(publishers);
      publisher.command("PUB t", `${Date.now()}`);
      await publisher.response();
    }
    await until("all have come", () => waitsMs.length === MESSAGES, 20_000);
    return { waitsMs: waitsMs.sort((a, b) => a - b), mostInFlight, attempts };
  } finally {
    clearInterval(sampler);
    await consumer.close();
    for (const broker of brokers) await broker[Symbol.asyncDispose]();
  }
}

for (const maxInFlight of [1, 10]) {
  test(`with ${maxInFlight} in flight over ${BROKERS} brokers every message comes, and no more are in flight`, async () => {
    const { waitsMs, mostInFlight, attempts } = await play(maxInFlight);
    console.log(`median ${waitsMs[MESSAGES / 2]} ms, 99 % ${waitsMs[Math.floor(MESSAGES * 0.99)]} ms, most in flight ${mostInFlight}`);
    expect(mostInFlight).toBeLessThanOrEqual(maxInFlight);
    expect(attempts.every((count) => count === 1)).toBe(true);
    // How long each may take is tested in simulated time (ready.test.ts); a busy machine adds to it here.
    expect(waitsMs.at(-1)).toBeLessThan(10_000);
  }, 60_000);
}
