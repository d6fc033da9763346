import { expect, test } from "bun:test";
import { PublishError } from "../../../src/broker/acks/pending-publish.ts";
import { InProcess, messages, numbers } from "../../support/in-process.ts";

const BODY = Buffer.from("message");

test("a publish whose key repeats is not appended again, and waits for what the first one waits for", async () => {
  await using server = InProcess.start();
  const { publishing, registry } = server.broker;
  const topic = registry.topic("t");
  const first = publishing.append(topic.partitions[0], "key", BODY, 0, BODY.length);
  expect([first, publishing.appended]).toEqual([topic.partitions[0].pendingPub, 1]);
  const repeated = publishing.append(topic.partitions[0], "key", BODY, 0, BODY.length);
  expect([repeated, publishing.appended]).toEqual([topic.partitions[0].pendingPub, 0]);
  await publishing.untilCommitted();
  expect(publishing.append(topic.partitions[0], "key", BODY, 0, BODY.length)).toBe(topic.partitions[0].pendingRepeat);
  expect(publishing.append(topic.partitions[0], "", BODY, 0, BODY.length)).toBe(topic.partitions[0].pendingPub);
  await publishing.untilCommitted();
  expect(topic.messageCount).toBe(2);
});

test("messages are appended singly, in batches, with a delay, and for callers that wait", async () => {
  await using server = InProcess.start();
  const { publishing, registry } = server.broker;
  const topic = registry.topic("t");
  const consumer = await server.consumer("t", "c", 100);
  const batch = Buffer.from("\0\0\0\x02\0\0\0\x011\0\0\0\x012", "latin1");
  await publishing.publish(topic.partitions[0], "", Buffer.from("0"), 0);
  await publishing.publishBatch(topic.partitions[0], "", batch);
  expect(publishing.appended).toBe(2);
  await publishing.publish(topic.partitions[0], "", Buffer.from("3"), 30);
  expect(topic.partitions[0].deferredPublishes.count).toBe(1);
  expect((await messages(consumer, 4)).map(({ text }) => text)).toEqual(numbers(4));
  const atOnce = publishing.defer(topic.partitions[0], "", BODY, 0, BODY.length, 0);
  expect([atOnce, publishing.appended]).toEqual([topic.partitions[0].pendingDpub, 1]);
  expect((await consumer.message()).text).toBe("message");
});

test("while publishes are refused, ephemeral topics accept them until the broker shuts down", async () => {
  await using server = InProcess.start();
  const { publishing, registry } = server.broker;
  const topic = registry.topic("t");
  const ephemeral = registry.topic("t#ephemeral");
  publishing.refusal = new PublishError("the disk is nearly full");
  expect(publishing.refusalFor(topic)?.message).toBe("the disk is nearly full");
  expect(publishing.topicNamed("new")).toBeInstanceOf(PublishError);
  expect(registry.topics.has("new")).toBeFalse();
  expect(publishing.refusalFor(ephemeral)).toBeUndefined();
  expect(publishing.topicAt(ephemeral.nameBytes, 0, ephemeral.nameBytes.length)).toBe(ephemeral);
  await expect(publishing.publish(topic.partitions[0], "", BODY, 0)).rejects.toThrow("the disk is nearly full");
  publishing.refusal = undefined;
  expect(publishing.topicAt(topic.nameBytes, 0, topic.nameBytes.length)).toBe(topic);
  publishing.close();
  for (const one of [topic, ephemeral]) expect(publishing.refusalFor(one)?.message).toBe("exiting");
  expect(publishing.topicNamed("new#ephemeral")).toBeInstanceOf(PublishError);
});
