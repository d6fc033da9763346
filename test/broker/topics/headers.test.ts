import { expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { encodeHeader, type MessageHeader, NO_BYTES } from "../../../src/frame/header.ts";
import { MessageBatch } from "../../../src/frame/message-batch.ts";
import { type InProcess, messages } from "../../support/in-process.ts";
import { WithHttp } from "../../support/with-http.ts";

function header(changes: Partial<MessageHeader> = {}): Buffer {
  return encodeHeader({ traceId: 0n, key: NO_BYTES, tag: NO_BYTES, text: Buffer.from('{"a":"b"}'), ...changes });
}

async function publish({ broker }: InProcess, topicName: string, body: string, withHeader: Uint8Array, deferMs = 0): Promise<void> {
  const topic = broker.publishing.topicNamed(topicName);
  if (topic instanceof Error) throw topic;
  await broker.publishing.publish(topic.nextPartition(), "", Buffer.from(body), deferMs, undefined, withHeader);
}

/** Publishes messages, of which every second one has a header. @returns their bodies */
async function publishSome(started: InProcess, topicName: string, count: number): Promise<string[]> {
  const bodies = Array.from({ length: count }, (_, i) => `${i}:${"x".repeat(i % 50)}`);
  const all = bodies.map((body, i) => publish(started, topicName, body, i % 2 === 0 ? NO_BYTES : header({ key: Buffer.from(`k${i}`) })));
  await Promise.all(all);
  return bodies;
}

/** What /topic/messages says of a topic's log. */
async function logOf({ origin }: WithHttp, topicName: string): Promise<Record<string, unknown>[]> {
  const answer = (await (await fetch(`${origin}/topic/messages?topic=${topicName}&limit=1000`)).json()) as {
    messages: Record<string, unknown>[];
  };
  return answer.messages;
}

test("a client of NSQ gets messages without their headers, in runs, again, and from the disk", async () => {
  await using server = WithHttp.start();
  const { started } = server;
  const bodies = await publishSome(started, "t", 200);
  const first = await started.consumer("t", "c", 200);
  const frames = await messages(first, 200);
  expect(frames.map(({ text }) => text)).toEqual(bodies);
  for (const { id } of frames) first.command(`REQ ${id} 0`);
  const again = await messages(first, 200);
  expect(again.map(({ text }) => text).sort()).toEqual([...bodies].sort());
  expect(new Set(again.map(({ attempts }) => attempts))).toEqual(new Set([2]));
  first.close();
  await server.restart();
  const second = await started.consumer("t", "c", 200);
  const restored = await messages(second, 200);
  expect(restored.map(({ text }) => text).sort()).toEqual([...bodies].sort());
});

test("a message's header is shown with it", async () => {
  await using server = WithHttp.start();
  const { started } = server;
  await publish(started, "t", "plain", NO_BYTES);
  await publish(started, "t", "all", header({ traceId: 2n ** 64n - 1n, key: Buffer.from("order 7"), tag: Buffer.from("red") }));
  await publish(started, "t", "no object", header({ text: Buffer.from("[1]") }));
  const [plain, all, noObject] = await logOf(server, "t");
  for (const name of ["key", "tag", "trace_id", "headers"]) expect(plain).not.toHaveProperty(name);
  expect(all).toMatchObject({ key: "order 7", tag: "red", trace_id: "18446744073709551615", headers: { a: "b" }, size: 3, body: "all" });
  expect(noObject).toMatchObject({ headers: [1], body: "no object" });
});

test("a deferred message keeps its header when it joins the log, over a restart too", async () => {
  await using server = WithHttp.start();
  const { started } = server;
  await publish(started, "t", "later", header({ key: Buffer.from("k") }), 50);
  await publish(started, "t", "much later", header({ key: Buffer.from("l") }), 400);
  await server.restart();
  const consumer = await started.consumer("t", "c", 10);
  expect((await messages(consumer, 2)).map(({ text }) => text)).toEqual(["later", "much later"]);
  expect((await logOf(server, "t")).map(({ key, headers }) => [key, headers])).toEqual([
    ["k", { a: "b" }],
    ["l", { a: "b" }],
  ]);
});

test("a message that is moved or copied keeps its header", async () => {
  await using server = WithHttp.start();
  const { started, origin } = server;
  await started.consumer("t", "c");
  await publish(started, "t", "body", header({ key: Buffer.from("k"), tag: Buffer.from("t") }));
  const [{ id }] = await logOf(server, "t");
  const body = JSON.stringify({ ids: [id] });
  for (const call of [`/messages/copy?topic=t&to=copies`, `/messages/move?topic=t&channel=c&to=moved`]) {
    expect((await fetch(origin + call, { method: "POST", body })).status).toBe(200);
  }
  for (const topic of ["copies", "moved"]) {
    expect(await logOf(server, topic)).toMatchObject([{ key: "k", tag: "t", headers: { a: "b" }, body: "body" }]);
  }
});

test("messages that are moved or copied go to the partition of their key", async () => {
  await using server = WithHttp.start();
  const { started, origin } = server;
  const { registry } = started.broker;
  await started.consumer("t", "c");
  for (let i = 0; i < 4; i++) await publish(started, "t", `${i}`, header({ key: Buffer.from("k") }));
  const body = JSON.stringify({ ids: (await logOf(server, "t")).map(({ id }) => id) });
  for (const topic of ["copies", "moved"]) registry.topicWith(topic, 8);
  for (const call of [`/messages/copy?topic=t&to=copies`, `/messages/move?topic=t&channel=c&to=moved`]) {
    expect((await fetch(origin + call, { method: "POST", body })).status).toBe(200);
  }
  for (const topic of ["copies", "moved"]) expect(registry.topic(topic).partitionOfKey(Buffer.from("k"))?.messageCount).toBe(4);
});

test("a batch of messages with headers is one commit, in its order", async () => {
  await using server = WithHttp.start();
  const { started } = server;
  const { publishing, turn } = started.broker as unknown as { publishing: InProcess["broker"]["publishing"]; turn: { schedule(): void } };
  const topic = publishing.topicNamed("t");
  if (topic instanceof Error) throw topic;
  const source = Buffer.from("onetwothree");
  const batch = new MessageBatch();
  batch.addEncoded(header({ key: Buffer.from("1") }), 0, 3);
  batch.addEncoded(NO_BYTES, 3, 6);
  batch.addEncoded(header({ key: Buffer.from("3") }), 6, 11);
  publishing.appendMessages(topic.nextPartition(), "", source, batch, 0, batch.count);
  turn.schedule();
  await publishing.untilCommitted();
  expect((await logOf(server, "t")).map(({ key, body }) => [key, body])).toEqual([
    ["1", "one"],
    [undefined, "two"],
    ["3", "three"],
  ]);
});

test("earlier releases refuse a data path from its first message with a header on, and open it until then", async () => {
  await using server = WithHttp.start();
  const { started } = server;
  const version = () => started.broker.metadata.formatVersion;
  await publish(started, "t", "plain", NO_BYTES);
  await publish(started, "passing#ephemeral", "with a header", header());
  expect(version()).toBe(2);
  await publish(started, "t", "with a header", header(), 60_000);
  expect(version()).toBe(3);
  await server.restart();
  expect(version()).toBe(3);
});

test("a data path whose metadata store and backup are lost may have messages with headers, and earlier releases refuse it", async () => {
  await using server = WithHttp.start();
  await publish(server.started, "t", "with a header", header());
  await server.started.close();
  const folder = join(server.started.dataPath, "bunsq-data");
  for (const name of ["catalogue.sqlite", "catalogue.sqlite-wal", "topics/catalogue.copy"]) rmSync(join(folder, name), { force: true });
  server.started.reopen();
  expect(server.broker.metadata.formatVersion).toBe(3);
});

test("a message with a header is refused if it cannot be stored that there are such", async () => {
  await using server = WithHttp.start();
  const { started } = server;
  const { metadata } = started.broker;
  const { noteHeaders } = metadata;
  metadata.noteHeaders = () => {
    throw new Error("the disk is full");
  };
  for (const deferMs of [0, 60_000]) expect(publish(started, "t", "body", header(), deferMs)).rejects.toThrow("the disk is full");
  await publish(started, "t", "plain", NO_BYTES);
  metadata.noteHeaders = noteHeaders;
  await publish(started, "t", "body", header());
  expect((await logOf(server, "t")).map(({ body }) => body)).toEqual(["plain", "body"]);
  expect(metadata.formatVersion).toBe(3);
});
