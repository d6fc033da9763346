import { expect, test } from "bun:test";
import { expectNothing, InProcess } from "../../support/in-process.ts";
import type { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";

/** A client that has joined a channel and takes ten messages. */
async function consumer(server: InProcess, line: string, identity: object = {}): Promise<RawClient> {
  const client = await server.client();
  await client.call("IDENTIFY", JSON.stringify(identity));
  await client.call(line);
  client.command("RDY 10");
  return client;
}

async function body(client: RawClient): Promise<string> {
  return (await client.message()).text;
}

function orderOf(server: InProcess): string {
  return server.broker.registry.topic("t").channel("c").settings.order;
}

test("SUB_ORDERED has the messages of its channel come one after the other, also to others", async () => {
  await using server = InProcess.start();
  await server.publish("t", "1", "2", "3");
  const ordered = await consumer(server, "SUB_ORDERED t c");
  const { id, data } = await ordered.message();
  expect(data.toString("latin1", 12)).toBe("1");
  const plain = await consumer(server, "SUB t c");
  await expectNothing(ordered);
  await expectNothing(plain);
  ordered.write(`CLS\nFIN ${id}\n`);
  expect(await ordered.response()).toBe("CLOSE_WAIT");
  expect(await body(plain)).toBe("2");
  await expectNothing(plain);
});

test("IDENTIFY says which order a consumer wants, and others keep at least theirs", async () => {
  await using server = InProcess.start();
  const keyed = await consumer(server, "SUB t c", { channel_order: "key" });
  expect(orderOf(server)).toBe("key");
  const strict = await consumer(server, "SUB_ORDERED t c");
  expect(orderOf(server)).toBe("partition");
  const loose = await consumer(server, "SUB t c", { channel_order: "none" });
  expect(orderOf(server)).toBe("partition");
  for (const client of [keyed, strict, loose]) client.close();
  await until("the consumers are gone", () => server.broker.registry.topic("t").channel("c").consumers.length === 0);
  await consumer(server, "SUB t c");
  expect(orderOf(server)).toBe("partition");
});

test("the first consumer's order counts whatever the channel's was", async () => {
  await using server = InProcess.start();
  server.broker.registry.topic("t").channel("c").changeSettings({ order: "partition" });
  await consumer(server, "SUB t c", { channel_order: "none" });
  expect(orderOf(server)).toBe("none");
});

test("an order is told to who negotiates, and one that there is not is refused", async () => {
  await using server = InProcess.start();
  const client = await server.client();
  const told = JSON.parse(await client.call("IDENTIFY", JSON.stringify({ feature_negotiation: true, channel_order: "key" })));
  expect(told.channel_order).toBe("key");
  const other = await server.client();
  other.command("IDENTIFY", JSON.stringify({ channel_order: "topic" }));
  expect((await other.next()).text).toBe('E_BAD_BODY IDENTIFY channel_order "topic" is not none, key or partition');
  await other.untilClosed();
});
