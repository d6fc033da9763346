import { expect, test } from "bun:test";
import { Consumer, LookupClient, Producer } from "../../src/client/bun.ts";
import { murmur3 } from "../../src/client/murmur3.ts";
import { encodeFrame, FRAME_TYPE_ERROR } from "../../src/frame/frame.ts";
import { startLookupServer } from "../support/lookup.ts";
import { startServer, until } from "../support/server.ts";
import { FakeLookup } from "./support/fake-lookup.ts";
import { RecordingBroker } from "./support/recording-broker.ts";

const KEYS = Array.from({ length: 60 }, (_, i) => `key ${i}`);
const FEATURES = { message_headers: true };
const NOT_LEADER = encodeFrame(FRAME_TYPE_ERROR, "E_FAILED_ON_NOT_LEADER ");

test("a key goes to the broker that has its partition, and after an expansion to the one that has it then", async () => {
  const lookup = await startLookupServer();
  const args = [`--lookupd-tcp-address=127.0.0.1:${lookup.tcpPort}`, "--broadcast-address=127.0.0.1"];
  const brokers = await Promise.all([0, 1, 2].map(() => startServer({ args })));
  const lookups = [`127.0.0.1:${lookup.httpPort}`];
  try {
    await until("all are registered", async () => (await new LookupClient(lookups[0] as string).nodes()).length === brokers.length);
    const create = (call: string, partitions: number) => lookup.http("POST", `${call}?topic=t&partition_num=${partitions}&replicator=1`);
    expect((await create("/topic/create", 5)).status).toBe(200);
    await using producer = new Producer({ lookups });
    for (const count of [5, 8]) {
      if (count === 8) expect((await create("/topic/partition/expand", count)).status).toBe(200);
      const { partitions, leaders } = await new LookupClient(lookups[0] as string).partitions("t");
      expect([partitions, leaders.size, new Set(leaders.values()).size]).toEqual([count, count, brokers.length]);
      // Deferred ones, those of a batch, and single ones. What was known before the expansion is found out to be wrong.
      for (const options of [{}, { deferMs: 1 }]) {
        const receipts = await Promise.all(KEYS.map((key) => producer.publish("t", key, { key, ...options })));
        expect(receipts.map(({ broker }) => broker)).toEqual(KEYS.map((key) => leaders.get(murmur3(key) % count) as string));
      }
      expect((await producer.publish("t", "x", { partition: count - 1 })).broker).toBe(leaders.get(count - 1) as string);
      await producer.publishBatch(
        "t",
        KEYS.map((key) => ({ body: key, key })),
      );
    }
    // A consumer of one partition gets it from the broker that has it, and one of all gets the rest of each broker's.
    const seen: Record<string, (number | undefined)[]> = { one: [], all: [] };
    const consumers = [
      new Consumer({ lookups, topic: "t", channel: "one", partition: 6 }),
      new Consumer({ lookups, topic: "t", channel: "all", headers: true, maxInFlight: 300 }),
    ];
    const [one, all] = consumers as [Consumer, Consumer];
    void one.run(({ partition }) => void seen.one?.push(partition));
    void all.run(({ partition }) => void seen.all?.push(partition));
    const marks = Array.from({ length: 8 }, (_, partition) => partition);
    await until("they are subscribed", () => one.connected.length === 1 && all.connected.length === brokers.length);
    await Promise.all(marks.map((partition) => producer.publish("t", "mark", { partition })));
    await until("the last ones", () => seen.one?.length !== 0 && new Set(seen.all).size === marks.length);
    expect(new Set(seen.one)).toEqual(new Set([6]));
    for (const consumer of consumers) await consumer.close();
  } finally {
    for (const server of [...brokers, lookup]) await server.stop();
  }
}, 60_000);

test("a broker that does not have a partition any more refuses, and the lookup servers are asked again", async () => {
  using lookup = new FakeLookup();
  let isMoved = false;
  const onPublish = (_line: string, _body: Buffer, reply: (text: string) => void, socket: { write(bytes: Uint8Array): unknown }) => {
    if (isMoved) socket.write(NOT_LEADER);
    else reply("OK");
  };
  using one = new RecordingBroker([], { features: FEATURES, onPublish });
  using other = new RecordingBroker([], { features: FEATURES });
  lookup.brokers = [one.address, other.address];
  lookup.leaders = [one.address, other.address];
  await using producer = new Producer({ lookups: [lookup.address] });
  const publishAll = () => Promise.all(KEYS.map((key) => producer.publish("t", key, { key })));
  const home = (key: string) => lookup.leaders[murmur3(key) % 2] as string;
  expect((await publishAll()).map(({ broker }) => broker)).toEqual(KEYS.map(home));
  isMoved = true;
  const moved = publishAll();
  await until("it has refused", () => one.commands.length > 1);
  lookup.leaders = [other.address, other.address];
  // The leader of both is one of two brokers that have the topic: then each has all of it, and a key has its broker by its hash.
  lookup.brokers = [other.address];
  for (const { broker, mayBeDuplicate } of await moved) expect([broker, mayBeDuplicate]).toEqual([other.address, false]);
  expect(producer.pending).toBe(0);
});

test("a key waits for a partition that no broker has now, and other messages do not", async () => {
  using lookup = new FakeLookup();
  using one = new RecordingBroker([], { features: FEATURES });
  using other = new RecordingBroker([], { features: FEATURES });
  lookup.brokers = [one.address, other.address];
  lookup.leaders = [one.address, other.address, "127.0.0.1:1"];
  await using producer = new Producer({ lookups: [lookup.address], lookupPollMs: 100 });
  const of = (partition: number) => KEYS.find((key) => murmur3(key) % 3 === partition) as string;
  const waiting = ["A", "B", "C"].map((body) => producer.publish("t", body, { key: of(2) }));
  await producer.publish("t", "x", { key: of(0) });
  await producer.publish("t", "y", { key: of(1) });
  await producer.publish("t", "z");
  expect(producer.pending).toBe(3);
  lookup.leaders = [one.address, other.address, one.address];
  for (const { broker } of await Promise.all(waiting)) expect(broker).toBe(one.address);
  expect(one.bodies.join("").replaceAll(/[^ABC]/g, "")).toBe("ABC");
  await using late = new Producer({ lookups: [lookup.address], timeoutMs: 500 });
  lookup.leaders = [one.address, other.address, "127.0.0.1:1"];
  await expect(late.publish("t", "x", { key: of(2) })).rejects.toMatchObject({ code: "TIMEOUT", mayBeDuplicate: false });
});

test("while no lookup server answers, keys wait, and are published in their order afterwards", async () => {
  using lookup = new FakeLookup();
  using broker = new RecordingBroker([], { features: FEATURES });
  lookup.brokers = [broker.address];
  await using producer = new Producer({ lookups: [lookup.address] });
  await producer.ready();
  lookup.isDown = true;
  const keyed = KEYS.map((key) => producer.publish("t", key, { key }));
  await producer.publish("t", "plain");
  expect(producer.pending).toBe(KEYS.length);
  lookup.isDown = false;
  await Promise.all(keyed);
  expect(broker.commands).toEqual(["PUB t", "MPUB_EXT t"]);
  expect([...(broker.bodies[1] ?? "").matchAll(/"##key":"(key \d+)"/g)].map(([, key]) => key)).toEqual(KEYS);
});
