import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import type { MetadataStore } from "../../../src/broker/storage/metadata/metadata-store.ts";
import { messages } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";
import { WithHttp } from "../../support/with-http.ts";

/** Has the next call of a method fail, once, as SQLite fails on a bad disk. */
function failOnce(
  store: MetadataStore,
  method: "removeTopic" | "removeChannels" | "updateTopic" | "updateChannel" | "saveSynced" | "addTopic",
): void {
  const own = store[method] as (...args: unknown[]) => unknown;
  Object.defineProperty(store, method, {
    configurable: true,
    value: () => {
      Object.defineProperty(store, method, { configurable: true, value: own });
      throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR" });
    },
  });
}

/** What the store has of topics, channels and numbers. */
function stored({ metadata }: { metadata: MetadataStore }): string[] {
  return metadata
    .topics()
    .flatMap((topic) => [
      `${topic.name}${topic.paused ? " paused" : ""} from ${topic.released}`,
      ...metadata.channels(topic.id).map((channel) => `${topic.name}/${channel.name}${channel.paused ? " paused" : ""}`),
    ]);
}

test("a name of which the topic could not be made can be used once the store works, and no number is lost", async () => {
  await using server = WithHttp.start();
  const { metadata, registry } = server.broker;
  for (let i = 0; i < 3; i++) {
    failOnce(metadata, "addTopic");
    expect(await server.call("POST", "/topic/create?topic=t")).toStartWith("503");
    expect([registry.topics.size, stored(server.broker)]).toEqual([0, []]);
  }
  expect(await server.call("POST", "/topic/create?topic=t")).toBe("200");
  expect(registry.topic("t").partitions[0].number).toBe(0);
  expect(registry.topic("u").partitions[0].number).toBe(1);
});

test.each(["INSERT INTO numbers", "INSERT INTO topics", "INSERT INTO synced"])(
  "a store that is full at %s, in the middle of making a topic, is as before, and makes the topic once there is room",
  async (statement) => {
    await using server = WithHttp.start();
    const { metadata, registry } = server.broker;
    registry.topic("before");
    const query = Database.prototype.query;
    Database.prototype.query = function (this: Database, sql: string) {
      if (sql.startsWith(statement)) throw Object.assign(new Error("database or disk is full"), { code: "SQLITE_FULL" });
      return query.call(this, sql);
    } as typeof query;
    try {
      expect(() => registry.topic("t")).toThrow("database or disk is full");
    } finally {
      Database.prototype.query = query;
    }
    expect([...registry.topics.keys(), ...stored(server.broker)]).toEqual(["before", "before from 0"]);
    expect([registry.topic("t").partitions[0].number, registry.topic("u").partitions[0].number]).toEqual([1, 2]);
    expect([...metadata.syncedSequences().values()]).toEqual([0, 0, 0]);
  },
);

test("a name of which neither the folder nor the end of the row was possible can be used once both are", async () => {
  await using server = WithHttp.start();
  const { metadata, registry } = server.broker;
  const add = registry.addPartition.bind(registry);
  registry.addPartition = () => {
    failOnce(metadata, "removeTopic");
    throw new Error("EIO: i/o error, mkdir");
  };
  expect(() => registry.topic("t")).toThrow();
  expect(stored(server.broker)).toEqual(["t from 0"]);
  registry.addPartition = add;
  expect([registry.topic("t").partitions[0].number, registry.topic("u").partitions[0].number]).toEqual([0, 1]);
});

test("a topic that the store does not remove stays, and is answered as not deleted", async () => {
  await using server = WithHttp.start();
  const { metadata, registry } = server.broker;
  await server.started.publish("t", "1");
  registry.topic("t").channel("c");
  failOnce(metadata, "removeTopic");
  expect(await server.call("POST", "/topic/delete?topic=t")).toContain("NOT_STORED");
  expect([...registry.topics.keys()]).toEqual(["t"]);
  await server.started.publish("t", "2");
  const consumer = await server.started.consumer("t", "c", 2);
  expect((await messages(consumer, 2)).map(({ text }) => text)).toEqual(["1", "2"]);
  await server.restart();
  expect(server.broker.registry.topic("t").partitions[0].log.next).toBe(2);
  expect(await server.call("POST", "/topic/delete?topic=t")).toBe("200");
  await server.started.publish("t", "3");
  expect(readdirSync(`${server.started.dataPath}/bunsq-data/topics`).filter((name) => name.endsWith("-t"))).toHaveLength(1);
});

test("a channel that the store does not remove stays, and is answered as not deleted", async () => {
  await using server = WithHttp.start();
  const { metadata, registry } = server.broker;
  registry.topic("t").channel("c");
  failOnce(metadata, "removeChannels");
  expect(await server.call("POST", "/channel/delete?topic=t&channel=c")).toContain("NOT_STORED");
  const consumer = await server.started.consumer("t", "c", 1);
  await server.started.publish("t", "1");
  expect((await consumer.message()).text).toBe("1");
  expect(stored(server.broker)).toEqual(["t from 0", "t/c"]);
  expect(await server.call("POST", "/channel/delete?topic=t&channel=c")).toBe("200");
  expect(await server.call("POST", "/channel/create?topic=t&channel=c")).toBe("200");
});

test("a pause and its end that the store does not take change nothing, and are answered as failed", async () => {
  await using server = WithHttp.start();
  const { metadata, registry } = server.broker;
  const topic = registry.topic("t");
  const channel = topic.channel("c");
  for (const paused of [true, false]) {
    const verb = paused ? "pause" : "unpause";
    failOnce(metadata, "updateTopic");
    expect(await server.call("POST", `/topic/${verb}?topic=t`)).toContain("NOT_STORED");
    failOnce(metadata, "updateChannel");
    expect(await server.call("POST", `/channel/${verb}?topic=t&channel=c`)).toContain("NOT_STORED");
    expect([topic.paused, channel.paused]).toEqual([!paused, !paused]);
    expect(stored(server.broker)).toEqual(paused ? ["t from 0", "t/c"] : ["t paused from 0", "t/c paused"]);
    expect(await server.call("POST", `/topic/${verb}?topic=t`)).toBe("200");
    expect(await server.call("POST", `/channel/${verb}?topic=t&channel=c`)).toBe("200");
    expect([topic.paused, channel.paused]).toEqual([paused, paused]);
  }
});

test("emptying that the store does not take drops nothing, and is answered as failed", async () => {
  await using server = WithHttp.start();
  const { metadata, registry } = server.broker;
  await server.started.publish("waiting", "1", "2");
  failOnce(metadata, "updateTopic");
  expect(await server.call("POST", "/topic/empty?topic=waiting")).toContain("NOT_STORED");
  expect(registry.topic("waiting").depth).toBe(2);

  const topic = registry.topic("t");
  const channel = topic.channel("c");
  await server.started.publish("t", "1", "2", "3");
  const consumer = await server.started.consumer("t", "c", 1);
  const { id } = await consumer.message();
  await server.broker.publishing.publish(topic.partitions[0], "", Buffer.from("later"), 3_600_000);
  failOnce(metadata, "updateChannel");
  expect(await server.call("POST", "/channel/empty?topic=t&channel=c")).toContain("NOT_STORED");
  expect([channel.depth, channel.inFlightCount, channel.deferredCount]).toEqual([2, 1, 1]);
  consumer.command(`FIN ${id}`);
  await until("it is finished", () => channel.partitions[0].floor === 1);

  topic.pause();
  await server.started.publish("t", "4");
  failOnce(metadata, "updateChannel");
  expect(await server.call("POST", "/topic/empty?topic=t")).toContain("NOT_STORED");
  expect(topic.depth).toBe(1);
  expect(await server.call("POST", "/topic/empty?topic=t")).toBe("200");
  expect(topic.depth).toBe(0);
  await server.restart();
  expect(server.broker.registry.topic("t").depth).toBe(0);
  server.broker.registry.topic("t").unpause();
  const after = server.broker.registry.topic("t").channel("c");
  expect([after.depth, after.deferredCount]).toEqual([2, 1]);
  expect(await server.call("POST", "/channel/empty?topic=t&channel=c")).toBe("200");
  await server.restart();
  const emptied = server.broker.registry.topic("t").channel("c");
  expect([emptied.depth, emptied.inFlightCount, emptied.deferredCount]).toEqual([0, 0, 0]);
});
