import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { BrokerClient, Consumer, Producer, type ProducerEvent } from "../../src/client/bun.ts";
import { startLookupServer } from "../support/lookup.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";
import { type Running, type Server, startServer, until } from "../support/server.ts";
import { RecordingBroker } from "./support/recording-broker.ts";

const MESSAGES = 400_000;
const SEED = seedFromEnvironment();

describe("four brokers that a lookup server knows", () => {
  let lookup: Running;
  let brokers: Server[];
  beforeAll(async () => {
    lookup = await startLookupServer();
    const args = [`--lookupd-tcp-address=127.0.0.1:${lookup.tcpPort}`, "--broadcast-address=127.0.0.1"];
    brokers = await Promise.all(Array.from({ length: 4 }, () => startServer({ args })));
    await until("all are registered", async () => {
      const { producers } = (await (await lookup.http("GET", "/nodes")).json()) as { producers: unknown[] };
      return producers.length === brokers.length;
    });
  }, 60_000);
  afterAll(async () => {
    for (const server of [...brokers, lookup]) await server.stop();
  });

  const lookups = () => [`127.0.0.1:${lookup.httpPort}`];
  const reader = ({ httpPort }: Server) => new BrokerClient(`127.0.0.1:${httpPort}`);

  test(`round robin gives each the same share of ${MESSAGES} messages`, async () => {
    await using producer = new Producer({ lookups: lookups() });
    const body = new Uint8Array(100);
    const failures: unknown[] = [];
    let acknowledged = 0;
    for (let i = 0; i < MESSAGES; i++) {
      if (!producer.hasRoom) await producer.room();
      producer.send("shared", body, (error) => {
        if (error === undefined) acknowledged++;
        else failures.push(error);
      });
    }
    await until("all are acknowledged", () => acknowledged + failures.length === MESSAGES, 60_000);
    expect(failures).toEqual([]);
    for (const broker of brokers) {
      const { log } = await reader(broker).retention("shared");
      expect(Math.abs(log.end - MESSAGES / 4)).toBeLessThan(MESSAGES / 400);
    }
  }, 120_000);

  test("messages of one key are all on one broker, in their order", async () => {
    console.log(`seed of the keys: ${SEED}`);
    const random = new Random(SEED);
    const counts = new Map<string, number>();
    {
      await using producer = new Producer({ lookups: lookups() });
      const published: Promise<unknown>[] = [];
      for (let i = 0; i < 5_000; i++) {
        const key = `customer ${random.int(1, 100)}`;
        const number = counts.get(key) ?? 0;
        counts.set(key, number + 1);
        published.push(producer.publish("keyed", JSON.stringify({ key, number }), { key }));
        if (random.chance(0.01)) await Promise.all(published.splice(0));
      }
      await Promise.all(published);
    }
    const home = new Map<string, Server>();
    const read = new Map<string, number>();
    for (const broker of brokers) {
      for await (const { body } of reader(broker).messages("keyed", { format: "json", limit: 1000 })) {
        const { key, number } = body as { key: string; number: number };
        expect(home.get(key) ?? broker).toBe(broker);
        expect(number).toBe(read.get(key) ?? 0);
        home.set(key, broker);
        read.set(key, number + 1);
      }
    }
    expect(read).toEqual(counts);
    expect(new Set(home.values()).size).toBe(4);
  }, 60_000);

  test("a consumer finds all of them, and a broker that comes later", async () => {
    const producer = new Producer({ lookups: lookups() });
    for (let i = 0; i < 8; i++) await producer.publish("found", `${i}`);
    await producer.close();
    const seen = new Set<string>();
    await using consumer = new Consumer({ lookups: lookups(), lookupPollMs: 100, topic: "found", channel: "c", maxInFlight: 8 });
    void consumer.run((message) => void seen.add(message.text()));
    await until("all messages", () => seen.size === 8);
    expect(consumer.connected).toHaveLength(4);
    await using late = await startServer({ args: [`--lookupd-tcp-address=127.0.0.1:${lookup.tcpPort}`, "--broadcast-address=127.0.0.1"] });
    await late.http("POST", "/pub?topic=found", "late");
    await until("its message", () => seen.has("late"));
    const forgotten = (async () => {
      for await (const event of consumer.events()) if (event.type === "broker-forgotten") return event.broker;
      return "";
    })();
    await late.stop();
    expect(await forgotten).toBe(`127.0.0.1:${late.tcpPort}`);
    expect(consumer.connected).toHaveLength(4);
  }, 60_000);
});

/** Calls back after some turns of the event loop: a machine that stalls makes no broker slower than another. */
function afterTurns(turns: number, callback: () => void): void {
  if (turns === 0) callback();
  else setImmediate(() => afterTurns(turns - 1, callback));
}

test("the fewest pending messages go to a broker that is ten times slower than the others", async () => {
  const stands = [20, 20, 20, 200].map((turns) => {
    const onPublish = (_line: string, _body: Buffer, reply: (text: string) => void) => afterTurns(turns, () => reply("OK"));
    return new RecordingBroker([], { onPublish });
  });
  const producer = new Producer({ brokers: stands.map(({ address }) => address), strategy: "fewest-pending", batch: false });
  await producer.ready();
  const publishOften = async () => {
    for (let i = 0; i < 50; i++) await producer.publish("t", "x");
  };
  await Promise.all(Array.from({ length: 40 }, publishOften));
  await producer.close();
  const counts = stands.map(({ commands }) => commands.length);
  for (const stand of stands) stand[Symbol.dispose]();
  const slow = counts.pop() as number;
  expect(slow).toBeGreaterThan(0);
  for (const count of counts) expect(slow).toBeLessThan(count / 3);
}, 30_000);

test("a broker that is killed costs nothing that was acknowledged, and duplicates only those that are reported", async () => {
  // Everything is kept, so that the logs show what was published twice.
  const args = ["--retention-bytes=1000000000"];
  const servers = await Promise.all(Array.from({ length: 3 }, () => startServer({ args })));
  const addresses = servers.map(({ tcpPort }) => `127.0.0.1:${tcpPort}`);
  const unhandled: unknown[] = [];
  const onUnhandled = (error: unknown) => void unhandled.push(error);
  process.on("unhandledRejection", onUnhandled);
  const events: ProducerEvent[] = [];
  const seen = new Map<string, number>();
  const consumer = new Consumer({ brokers: addresses, topic: "t", channel: "c", maxInFlight: 3_000 });
  void consumer.run((message) => {
    const text = message.text();
    seen.set(text, (seen.get(text) ?? 0) + 1);
  });
  const producer = new Producer({ brokers: addresses, onEvent: (event) => void events.push(event) });
  await producer.ready();
  await until("the consumer", () => consumer.connected.length === 3);

  const count = 100_000;
  const reported = new Set<number>();
  const failures: unknown[] = [];
  let acknowledged = 0;
  const [victim] = servers as [Server];
  for (let i = 0; i < count; i++) {
    if (!producer.hasRoom) await producer.room();
    if (i % 500 === 0) await Bun.sleep(0);
    if (i === count / 2) victim.process.kill("SIGKILL");
    producer.send("t", `${i}`, (error, receipt) => {
      if (error !== undefined) failures.push(error);
      else acknowledged++;
      if (receipt?.mayBeDuplicate) reported.add(i);
    });
  }
  await until("all are acknowledged", () => acknowledged + failures.length === count, 60_000);
  expect(failures).toEqual([]);
  const afterKill = seen.size;
  await producer.publish("t", "after");
  await until("the consumer goes on", () => seen.size > afterKill);

  // What the killed broker has acknowledged is on its disk.
  const { dataPath } = victim;
  await victim.process.exited;
  const revived = await startServer({ dataPath, args: [...args, `--tcp-address=${addresses[0]}`] });
  await until("every message", () => seen.size === count + 1, 60_000);
  await until("nothing is in flight", () => consumer.inFlight === 0);
  const twice = [...seen].filter(([, times]) => times > 1).map(([text]) => Number(text));
  // A message that was with the consumer when the broker died comes again; the producer has sent it once.
  const redelivered = new Set(twice.filter((number) => !reported.has(number)));
  console.log(`${reported.size} reported, ${twice.length} came twice, ${redelivered.size} of them by redelivery`);
  expect(events.filter(({ type }) => type === "maybe-duplicated").length > 0).toBe(reported.size > 0);
  const stored = await storedTwice([revived, ...servers.slice(1)], count + 1);
  expect(stored.filter((number) => !reported.has(number))).toEqual([]);
  expect(unhandled).toEqual([]);

  await producer.close();
  await consumer.close();
  for (const server of [revived, ...servers.slice(1)]) await server.stop();
  await victim.stop();
  process.off("unhandledRejection", onUnhandled);
}, 120_000);

/** The messages that the logs have twice. @param count how many different ones they have */
async function storedTwice(servers: readonly { httpPort: number }[], count: number): Promise<number[]> {
  const counts = new Map<string, number>();
  for (const { httpPort } of servers) {
    for await (const { body } of new BrokerClient(`127.0.0.1:${httpPort}`).messages("t", { limit: 1000 })) {
      counts.set(String(body), (counts.get(String(body)) ?? 0) + 1);
    }
  }
  expect(counts.size).toBe(count);
  return [...counts].filter(([, times]) => times > 1).map(([text]) => Number(text));
}
