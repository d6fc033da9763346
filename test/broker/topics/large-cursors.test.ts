import { expect, spyOn, test } from "bun:test";
import { cpSync } from "node:fs";
import { openBroker } from "../../../src/broker/broker.ts";
import type { Channel } from "../../../src/broker/topics/channel/channel.ts";
import { ProgressPacker } from "../../../src/broker/topics/channel/packed-progress.ts";
import { decodeProgress } from "../../../src/broker/topics/channel/progress.ts";
import { defaultOptions, InProcess, MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { MemoryConsumer } from "../../support/memory-consumer.ts";
import { until } from "../../support/server.ts";

const MESSAGES = 100_000;

/** A broker with a channel that has all of 100,000 messages in flight, with a consumer of the test's. */
async function withMessagesInFlight(server: InProcess): Promise<{ channel: Channel; consumer: MemoryConsumer }> {
  const client = await server.client();
  const body = Buffer.alloc(4 + 10_000 * 5);
  body.writeUInt32BE(10_000, 0);
  for (let i = 0; i < 10_000; i++) body.writeUInt32BE(1, 4 + i * 5);
  const topic = server.broker.registry.topic("t");
  const channel = topic.channel("c");
  for (let i = 0; i < MESSAGES; i += 10_000) await client.call("MPUB t", body);
  const consumer = new MemoryConsumer(1_000_000, channel, 600_000);
  consumer.readyCount = MESSAGES;
  channel.addConsumer(consumer);
  channel.markDirty();
  await until("all messages in flight", () => channel.inFlightCount === MESSAGES);
  return { channel, consumer };
}

/** How many messages the metadata store has as finished. */
function savedAsFinished(server: InProcess, channel: Channel): number {
  const row = server.broker.metadata.channels(channel.topic.partitions[0].id).find(({ name }) => name === channel.name);
  if (row === undefined) return 0;
  return row.floor + decodeProgress(row.progress, row.floor).finished.reduce((count, { from, to }) => count + to - from, 0);
}

test("a channel with many messages in flight is saved in steps, one per turn, and a kill then loses nothing of it", async () => {
  await using server = InProcess.start({ maxRdyCount: MESSAGES });
  const { channel, consumer } = await withMessagesInFlight(server);
  const { checkpointer } = server.broker;
  using steps = spyOn(ProgressPacker.prototype, "step");
  using saves = spyOn(checkpointer, "saveCursors");
  for (let sequence = 1; sequence < MESSAGES; sequence += 2) channel.partitions[0].finish(consumer, sequence);
  await until("the saved cursor", () => savedAsFinished(server, channel) === MESSAGES / 2);
  expect(steps.mock.calls.length).toBeGreaterThanOrEqual(4);
  expect(saves.mock.calls.length).toBeGreaterThanOrEqual(steps.mock.calls.length);

  const copy = temporaryFolder();
  cpSync(server.dataPath, copy, { recursive: true });
  const killed = openBroker(defaultOptions({ dataPath: copy }), new MemoryLogger());
  const again = killed.registry.topics.get("t")?.channels.get("c");
  expect(again?.depth).toBe(MESSAGES / 2);
  await killed.close();
  removeFolder(copy);

  await server.restart();
  expect(server.broker.registry.topics.get("t")?.channels.get("c")?.depth).toBe(MESSAGES / 2);
}, 20_000);

test("a message that an operator finishes while a row is being made stays finished, and a seek makes the row void", async () => {
  await using server = InProcess.start({ maxRdyCount: MESSAGES });
  const { channel, consumer } = await withMessagesInFlight(server);
  const { checkpointer, turn } = server.broker;
  const begin = () => {
    channel.partitions[0].finish(consumer, channel.partitions[0].floor + 3);
    checkpointer.saveCursors(turn.nowMs + 1000);
    checkpointer.saveCursors(turn.nowMs + 1000);
  };
  begin();
  channel.partitions[0].forceFinish(9);
  expect(savedAsFinished(server, channel)).toBe(2);
  for (let i = 0; i < 20; i++) checkpointer.saveCursors(turn.nowMs + 1000);
  expect(savedAsFinished(server, channel)).toBe(2);

  begin();
  channel.partitions[0].seek(0);
  expect(savedAsFinished(server, channel)).toBe(0);
  for (let i = 0; i < 20; i++) checkpointer.saveCursors(turn.nowMs + 1000);
  expect(savedAsFinished(server, channel)).toBe(0);
}, 20_000);

test("a row that was begun while the progress was large does not replace the one that is saved when it is small again", async () => {
  await using server = InProcess.start({ maxRdyCount: MESSAGES });
  const { channel, consumer } = await withMessagesInFlight(server);
  const { checkpointer, turn } = server.broker;
  const [partition] = channel.partitions;
  for (let i = 0; i < 20; i++) checkpointer.saveCursors(turn.nowMs + 500);
  partition.finish(consumer, 1);
  checkpointer.saveCursors(turn.nowMs + 1000);
  checkpointer.saveCursors(turn.nowMs + 1000);
  for (let sequence = 0; sequence < MESSAGES; sequence++) if (sequence !== 1) partition.finish(consumer, sequence);
  checkpointer.saveCursors(turn.nowMs + 2000);
  expect(savedAsFinished(server, channel)).toBe(MESSAGES);
  for (let i = 0; i < 20; i++) checkpointer.saveCursors(turn.nowMs + 2000);
  expect(savedAsFinished(server, channel)).toBe(MESSAGES);
}, 20_000);

test("while no cursor can be saved, the broker is not well, also between the steps of a large one", async () => {
  await using server = InProcess.start({ maxRdyCount: MESSAGES });
  const { channel, consumer } = await withMessagesInFlight(server);
  const { checkpointer, metadata, turn } = server.broker;
  await until("the saved cursor", () => !channel.partitions[0].unsaved);
  using _ = spyOn(metadata, "updateChannel").mockImplementation(() => {
    throw Object.assign(new Error("database or disk is full"), { code: "SQLITE_FULL" });
  });
  channel.partitions[0].finish(consumer, channel.partitions[0].floor + 3);
  await until("the save that failed", () => checkpointer.failure !== undefined);
  for (let ms = 1000; ms < 20_000; ms += 1000) {
    checkpointer.saveCursors(turn.nowMs + ms);
    expect(checkpointer.failure?.message).toBe("database or disk is full");
  }
}, 20_000);
