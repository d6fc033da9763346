import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { BrokerClient, Producer } from "../../../src/client/bun.ts";
import { startLookupServer } from "../../support/lookup.ts";
import { testUnless } from "../../support/needs.ts";
import { type Running, type Server, startServer, until } from "../../support/server.ts";
import { Follower, prepareClients } from "../discovery/support/follower.ts";

const MESSAGES = 5_000;
const PARTITIONS = 8;
const clients = await prepareClients("go-nsq", "nsqjs", "pynsq");

describe(`a topic with ${PARTITIONS} partitions, whose messages have keys and headers`, () => {
  let lookup: Running;
  let server: Server;
  let broker: BrokerClient;
  beforeAll(async () => {
    lookup = await startLookupServer();
    server = await startServer({ args: [`--lookupd-tcp-address=127.0.0.1:${lookup.tcpPort}`, "--broadcast-address=127.0.0.1"] });
    broker = new BrokerClient(`127.0.0.1:${server.httpPort}`);
  }, 60_000);
  afterAll(async () => {
    await server?.stop();
    await lookup?.stop();
  });

  for (const { name, prepared } of clients) {
    for (const order of ["none", "key"] as const) {
      testUnless(typeof prepared === "string" ? prepared : undefined)(
        `${name} gets all bodies, each once and as it was published, with the order ${order}`,
        async () => {
          if (typeof prepared === "string") return;
          const topic = `${name}-${order}`;
          await broker.createTopic(topic, { partitions: PARTITIONS });
          await broker.createChannel(topic, "c", { order });
          await using producer = new Producer({ brokers: [`127.0.0.1:${server.tcpPort}`] });
          const bodies = Array.from({ length: MESSAGES }, (_, i) => `message ${i} ${"é😀".repeat(i % 5)}`);
          const publish = async (some: readonly string[]) => {
            const carried = (i: number) => ({
              key: `key ${i % 97}`,
              headers: { number: i, text: "x".repeat(i % 300) },
              traceId: BigInt(i + 1),
            });
            // Messages with headers and without are in the same partitions, one behind the other.
            await Promise.all(some.map((body, i) => producer.publish(topic, body, i % 3 === 0 ? {} : carried(i))));
          };
          // Half of them wait for the consumer, half come while it is there.
          await publish(bodies.slice(0, MESSAGES / 2));
          const follower = new Follower(prepared, [`127.0.0.1:${lookup.httpPort}`], topic, "c");
          try {
            await until("the first ones", () => follower.received.size > 0, 30_000);
            await publish(bodies.slice(MESSAGES / 2));
            await until("all of them", () => follower.received.size >= MESSAGES, 60_000);
            expect([...follower.received].sort()).toEqual(bodies.toSorted());
            expect([...follower.repeated]).toEqual([]);
          } finally {
            await follower.stop();
          }
        },
        90_000,
      );
    }
  }

  test("they are in all partitions", async () => {
    const topics = clients.filter(({ prepared }) => typeof prepared !== "string").map(({ name }) => `${name}-none`);
    for (const topic of topics) {
      const { topics: found } = (await broker.stats({ topic })) as { topics: { partitions: { message_count: number }[] }[] };
      expect(found[0]?.partitions.filter(({ message_count }) => message_count > MESSAGES / 100)).toHaveLength(PARTITIONS);
    }
  });
});
