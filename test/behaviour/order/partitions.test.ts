import { expect, test } from "bun:test";
import { recordAt } from "../../../src/broker/storage/log/records.ts";
import { bodyAt } from "../../../src/frame/header.ts";
import { expectNothing, InProcess } from "../../support/in-process.ts";
import type { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { withHeader } from "../youzan/support/player.ts";

/** A broker with a topic "t" of several partitions. */
function start(partitions: number): InProcess {
  const server = InProcess.start();
  server.broker.registry.topicWith("t", partitions);
  return server;
}

/** One of Youzan's clients that has joined a channel. */
async function consumer(server: InProcess, line: string, identity: object = { extend_support: false }, ready = 10): Promise<RawClient> {
  const client = await server.client();
  await client.call("IDENTIFY", JSON.stringify(identity));
  await client.call(line);
  client.command(`RDY ${ready}`);
  return client;
}

async function producer(server: InProcess): Promise<RawClient> {
  const client = await server.client();
  await client.call("IDENTIFY", JSON.stringify({ multiplexing: true }));
  return client;
}

/** A message's body, behind offset and raw size if there are these. */
async function body(client: RawClient, isDetailed = false): Promise<string> {
  const { id, data } = await client.message();
  client.write(Buffer.concat([Buffer.from("FIN "), Buffer.from(id, "latin1"), Buffer.from("\n")]));
  return data.toString("latin1", isDetailed ? 12 : 0);
}

test("a consumer of one partition gets the messages of no other one, in order too", async () => {
  await using server = start(2);
  const consumers = [await consumer(server, "SUB_ORDERED t c 0"), await consumer(server, "SUB_ORDERED t c 1")];
  const publisher = await producer(server);
  for (const text of ["a", "b", "c"]) for (const index of [0, 1]) await publisher.call(`PUB t ${index}`, `${text}${index}`);
  for (const text of ["a", "b", "c"]) {
    for (const [index, client] of consumers.entries()) expect(await body(client, true)).toBe(`${text}${index}`);
  }
  consumers[1]?.close();
  await publisher.call("PUB t 1", "d1");
  await publisher.call("PUB t 0", "d0");
  expect(await body(consumers[0] as RawClient, true)).toBe("d0");
  await expectNothing(consumers[0] as RawClient);
});

test("a tag counts in the partition of its consumer: elsewhere its messages go to those without a tag", async () => {
  await using server = start(2);
  const red = await consumer(server, "SUB t c 0", { desired_tag: "red" });
  const others = [await consumer(server, "SUB t c 0"), await consumer(server, "SUB t c 1")];
  const publisher = await producer(server);
  for (const index of [0, 1]) {
    await publisher.call(`PUB_EXT t ${index}`, withHeader('{"##client_dispatch_tag":"red"}', `red ${index}`));
    await publisher.call(`PUB t ${index}`, `plain ${index}`);
  }
  expect(await body(red)).toBe("red 0");
  expect(await body(others[0] as RawClient)).toBe("plain 0");
  expect([await body(others[1] as RawClient), await body(others[1] as RawClient)]).toEqual(["red 1", "plain 1"]);
  for (const client of [red, ...others]) await expectNothing(client);
});

test("a filter finishes messages in the partitions of the consumers that have it, and in no other", async () => {
  await using server = start(2);
  const filter = { type: 1, filter_ext_key: "k", filter_data: "v" };
  const choosy = await consumer(server, "SUB t c 0", { ext_filter: filter });
  const publisher = await producer(server);
  for (const index of [0, 1]) {
    await publisher.call(`PUB t ${index}`, `without ${index}`);
    await publisher.call(`PUB_EXT t ${index}`, withHeader('{"k":"v"}', `with ${index}`));
  }
  expect(await body(choosy)).toBe("with 0");
  const channel = server.broker.registry.topic("t").channel("c");
  expect(channel.filteredCount).toBe(1);
  expect(channel.depth).toBe(2);
  const any = await consumer(server, "SUB t c 1");
  expect([await body(any), await body(any)]).toEqual(["without 1", "with 1"]);
});

test("a partition that is moved or emptied leaves a consumer's count of messages of others as it is", async () => {
  for (const order of ["none", "key", "partition"]) {
    await using server = start(3);
    const channel = server.broker.registry.topic("t").channel("c");
    channel.changeSettings({ order });
    const client = await server.consumer("t", "c", 3);
    const publisher = await producer(server);
    for (const index of [0, 1, 2]) await publisher.call(`PUB t ${index}`, `${index}`);
    for (let i = 0; i < 3; i++) await client.message();
    const [connection] = channel.consumers;
    channel.partitions[0]?.seek(1);
    expect(connection?.inFlightCount).toBe(2);
    expect(channel.inFlightCount).toBe(2);
    channel.partitions[1]?.empty();
    expect(connection?.inFlightCount).toBe(1);
    await publisher.call("PUB t 0", "more");
    await publisher.call("PUB t 1", "more");
    for (let i = 0; i < 2; i++) expect((await client.message()).text).toBe("more");
    expect(connection?.inFlightCount).toBe(3);
    client.close();
    await until("the consumer is gone", () => channel.consumers.length === 0);
    expect(channel.inFlightCount).toBe(0);
  }
});

test("what an ephemeral channel keeps of a partition does not depend on consumers of others", async () => {
  await using server = InProcess.start({ memQueueSize: 10 });
  const topic = server.broker.registry.topicWith("t", 2);
  const client = await consumer(server, "SUB t c#ephemeral 1", undefined, 50);
  const publisher = await producer(server);
  for (let i = 0; i < 100; i++) await publisher.call("PUB t 0", `${i}`);
  const [first] = topic.channel("c#ephemeral").partitions;
  await until("the oldest are dropped", () => first?.depth === 10);
  await publisher.call("PUB t 1", "own");
  expect(await body(client)).toBe("own");
});

test("dead letters of all partitions go to their key's partition of the other topic", async () => {
  await using server = start(3);
  const dead = server.broker.registry.topicWith("dead", 4);
  const channel = server.broker.registry.topic("t").channel("c");
  channel.changeSettings({ order: "key", max_attempts: 2, dead_letter_topic: "dead" });
  const client = await server.consumer("t", "c", 100);
  const publisher = await producer(server);
  const keys = Array.from({ length: 20 }, (_, i) => `key ${i}`);
  for (const key of keys) await publisher.call("PUB_EXT t", withHeader(JSON.stringify({ "##key": key }), key));
  for (let i = 0; i < 2 * keys.length; i++) client.command(`REQ ${(await client.message()).id} 0`);
  await until("all are moved", () => channel.deadLetterCount === keys.length);
  const moved = dead.partitions.map(({ log }) =>
    Array.from({ length: log.next }, (_, sequence) => {
      const record = recordAt(log, sequence);
      return record?.buffer.toString("latin1", bodyAt(record.buffer, record.from), record.to);
    }),
  );
  expect(moved.flat().sort()).toEqual([...keys].sort());
  for (const [index, partition] of dead.partitions.entries()) {
    for (const key of moved[index] ?? []) expect(dead.partitionOfKey(Buffer.from(key ?? ""))).toBe(partition);
  }
  expect(channel.depth + channel.inFlightCount).toBe(0);
});

test("a topic is not its own topic of dead letters", async () => {
  await using server = start(1);
  const channel = server.broker.registry.topic("t").channel("c");
  expect(() => channel.changeSettings({ max_attempts: 2, dead_letter_topic: "t" })).toThrow("dead_letter_topic: it must be another topic");
});
