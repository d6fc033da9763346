import { expect, test } from "bun:test";
import { expectNothing, InProcess, messages } from "../../support/in-process.ts";
import type { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { withHeader } from "../youzan/support/player.ts";

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

test("an order that cannot be stored fails the SUB, and the channel is as before", async () => {
  await using server = InProcess.start();
  await server.publish("t", "1", "2");
  const plain = await consumer(server, "SUB t c");
  const ids = (await messages(plain, 2)).map(({ id }) => id);
  const { channelSettings } = server.broker.metadata;
  const { save } = channelSettings;
  channelSettings.save = () => {
    throw Object.assign(new Error("database or disk is full"), { code: "SQLITE_FULL" });
  };
  for (const [line, identity] of [
    ["SUB_ORDERED t c", {}],
    ["SUB t c", { channel_order: "key" }],
  ] as const) {
    const client = await server.client();
    await client.call("IDENTIFY", JSON.stringify(identity));
    client.command(line);
    expect((await client.next()).text).toStartWith("E_SUB_FAILED SUB failed ");
    await client.untilClosed();
  }
  const channel = server.broker.registry.topic("t").channel("c");
  expect({ order: channel.settings.order, consumers: channel.consumers.length }).toEqual({ order: "none", consumers: 1 });
  for (const id of ids) plain.command(`FIN ${id}`);
  await expectNothing(plain);
  plain.close();
  channelSettings.save = save;
  await until("it has left", () => channel.consumers.length === 0);
  const later = await consumer(server, "SUB_ORDERED t c");
  await server.publish("t", "3", "4");
  expect((await later.message()).data.toString("latin1", 12)).toBe("3");
  await expectNothing(later);
});

test("messages of one key come one after the other to who asks for that by IDENTIFY, after a restart too", async () => {
  await using server = InProcess.start();
  server.broker.registry.topicWith("t", 2);
  const producer = await server.client();
  const publish = (key: string, text: string) => producer.call("PUB_EXT t", withHeader(JSON.stringify({ "##key": key }), text));
  for (const text of ["1", "2", "3"]) for (const key of ["a", "b", "c"]) await publish(key, `${key}${text}`);
  const first = await consumer(server, "SUB t c", { channel_order: "key" });
  const came = await messages(first, 3);
  expect(came.map(({ text }) => text).sort()).toEqual(["a1", "b1", "c1"]);
  await expectNothing(first);
  const [a, b, c] = ["a1", "b1", "c1"].map((text) => came.find((frame) => frame.text === text)?.id);
  // The delay of one key is no other's.
  first.command(`REQ ${a} 3600000`);
  first.command(`FIN ${b}`);
  expect(await body(first)).toBe("b2");
  await expectNothing(first);
  first.command(`FIN ${c}`);
  expect(await body(first)).toBe("c2");
  first.close();
  await server.restart();
  expect(orderOf(server)).toBe("key");
  // The second one asks for nothing, and gets what was in flight again; the delay goes on.
  const second = await consumer(server, "SUB t c");
  const again = await messages(second, 2);
  expect(again.map(({ text }) => text).sort()).toEqual(["b2", "c2"]);
  for (const { id } of again) second.command(`FIN ${id}`);
  const last = await messages(second, 2);
  expect(last.map(({ text }) => text).sort()).toEqual(["b3", "c3"]);
  for (const { id } of last) second.command(`FIN ${id}`);
  await expectNothing(second);
  expect(server.broker.registry.topic("t").channel("c").deferredCount).toBe(1);
});
