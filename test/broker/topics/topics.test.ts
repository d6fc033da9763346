import { expect, test } from "bun:test";
import { readdirSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { expectNothing, InProcess, messages, numbers } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";
import { SteppedClock } from "../../support/stepped-clock.ts";

test("the first channel gets a topic's backlog, a later one starts at its end", async () => {
  await using server = InProcess.start();
  await server.publish("t", ...numbers(5));
  expect(server.broker.registry.topic("t").depth).toBe(5);
  const first = await server.consumer("t", "first", 100);
  expect((await messages(first, 5)).map(({ text }) => text)).toEqual(numbers(5));
  const second = await server.consumer("t", "second", 100);
  await expectNothing(second);
  await server.publish("t", "new");
  expect((await first.message()).text).toBe("new");
  expect((await second.message()).text).toBe("new");
  await expectNothing(second);
});

test("the first channel gets the backlog of before a restart", async () => {
  await using server = InProcess.start();
  await server.publish("t", ...numbers(5));
  await server.restart();
  expect(server.broker.registry.topic("t").depth).toBe(5);
  const consumer = await server.consumer("t", "c", 100);
  expect((await messages(consumer, 5)).map(({ text }) => text)).toEqual(numbers(5));
});

test("a paused topic gives its channels nothing until it is unpaused, also after a restart", async () => {
  await using server = InProcess.start();
  let consumer = await server.consumer("t", "c", 100);
  server.broker.registry.topic("t").pause();
  await server.publish("t", ...numbers(3));
  await expectNothing(consumer);
  expect([server.broker.registry.topic("t").depth, server.broker.registry.topic("t").channel("c").depth]).toEqual([3, 0]);
  await server.restart();
  expect(server.broker.registry.topic("t").paused).toBeTrue();
  consumer = await server.consumer("t", "c", 100);
  await expectNothing(consumer);
  server.broker.registry.topic("t").unpause();
  expect((await messages(consumer, 3)).map(({ text }) => text)).toEqual(numbers(3));
});

test("a paused channel delivers nothing until it is unpaused, also after a restart", async () => {
  await using server = InProcess.start();
  let consumer = await server.consumer("t", "c", 100);
  const other = await server.consumer("t", "other", 100);
  server.broker.registry.topic("t").channel("c").pause();
  await server.publish("t", ...numbers(3));
  expect((await messages(other, 3)).map(({ text }) => text)).toEqual(numbers(3));
  await expectNothing(consumer);
  await server.restart();
  consumer = await server.consumer("t", "c", 100);
  await expectNothing(consumer);
  server.broker.registry.topic("t").channel("c").unpause();
  expect((await messages(consumer, 3)).map(({ text }) => text)).toEqual(numbers(3));
});

test("a message that a paused channel has in flight can be finished", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "c", 1);
  await server.publish("t", "m", "n");
  const { id } = await consumer.message();
  const channel = server.broker.registry.topic("t").channel("c");
  channel.pause();
  consumer.command(`FIN ${id}`);
  await until("it is finished", () => channel.inFlightCount === 0);
  await expectNothing(consumer);
  expect(channel.depth).toBe(1);
});

test("emptying a topic drops the messages that no channel has got, with channels and without", async () => {
  await using server = InProcess.start();
  const topic = server.broker.registry.topic("t");
  await server.publish("t", ...numbers(5));
  topic.empty();
  expect(topic.depth).toBe(0);
  const consumer = await server.consumer("t", "c", 100);
  await expectNothing(consumer);
  topic.pause();
  await server.publish("t", ...numbers(5));
  topic.empty();
  await server.publish("t", "after");
  topic.unpause();
  expect((await consumer.message()).text).toBe("after");
  await expectNothing(consumer);
});

test("emptying a channel drops messages that wait, are in flight or deferred, also after a restart", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  let consumer = await server.consumer("t", "c", 4);
  await server.publish("t", ...numbers(10));
  const [first, second, third] = await messages(consumer, 4);
  consumer.command(`REQ ${first.id} 100`);
  consumer.command(`REQ ${second.id} 600`);
  await messages(consumer, 2);
  const producer = await server.client();
  await producer.call("DPUB t 300", "deferred");
  const channel = server.broker.registry.topic("t").channel("c");
  await until("the long one is stored", () => channel.deferredCount === 3);
  channel.empty();
  expect([channel.depth, channel.inFlightCount, channel.deferredCount]).toEqual([0, 0, 0]);
  consumer.command(`FIN ${third.id}`);
  expect((await consumer.next()).text).toBe(`E_FIN_FAILED FIN ${third.id} failed ID not in flight`);
  await server.restart();
  consumer = await server.consumer("t", "c", 100);
  await clock.pass(700);
  await expectNothing(consumer);
  await server.publish("t", "after");
  expect((await consumer.message()).text).toBe("after");
});

test("a deferred publish still reaches the other channels after one channel was emptied", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  const emptied = await server.consumer("t", "emptied", 10);
  const other = await server.consumer("t", "other", 10);
  const producer = await server.client();
  await producer.call("DPUB t 200", "deferred");
  server.broker.registry.topic("t").channel("emptied").empty();
  await clock.pass(205);
  expect((await other.message()).text).toBe("deferred");
  await expectNothing(emptied);
});

test("deleting a channel closes its consumers' connections and drops its messages", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "c", 1);
  await server.publish("t", "m", "n");
  await consumer.message();
  const topic = server.broker.registry.topic("t");
  expect(topic.deleteChannel("c")).toBeTrue();
  expect(topic.deleteChannel("c")).toBeFalse();
  await consumer.untilClosed();
  expect(topic.channels.size).toBe(0);
  const again = await server.consumer("t", "c", 100);
  await expectNothing(again);
});

test("deleting a topic closes its consumers' connections and drops its messages, and a new topic of that name is empty", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "c", 1);
  await server.publish("t", "m", "n");
  const { id } = await consumer.message();
  expect(server.broker.registry.deleteTopic("t")).toBeTrue();
  expect(server.broker.registry.deleteTopic("t")).toBeFalse();
  await consumer.untilClosed();
  await server.publish("t", "new");
  await server.restart();
  const again = await server.consumer("t", "c", 100);
  const message = await again.message();
  expect(message.text).toBe("new");
  expect(message.id).not.toBe(id);
  await expectNothing(again);
});

test("a deleted topic leaves no folder", async () => {
  await using server = InProcess.start();
  await server.publish("t", "m");
  const topics = `${server.dataPath}/bunsq-data/topics`;
  expect(readdirSync(topics)).toHaveLength(1);
  server.broker.registry.deleteTopic("t");
  expect(readdirSync(topics)).toBeEmpty();
});

test("a publish to a topic that was deleted creates the topic again", async () => {
  await using server = InProcess.start();
  const producer = await server.client();
  await producer.call("PUB t", "old");
  server.broker.registry.deleteTopic("t");
  await producer.call("PUB t", "new");
  const consumer = await server.consumer("t", "c", 100);
  expect((await consumer.message()).text).toBe("new");
  await expectNothing(consumer);
});

test("an ephemeral channel is deleted with its last consumer", async () => {
  await using server = InProcess.start();
  const first = await server.consumer("t", "c#ephemeral", 1);
  const second = await server.consumer("t", "c#ephemeral", 1);
  const { channels } = server.broker.registry.topic("t");
  first.close();
  await until("the first is gone", () => channels.get("c#ephemeral")?.consumers.length === 1);
  second.close();
  await until("the channel is gone", () => channels.size === 0);
  expect(server.broker.registry.topics.has("t")).toBeTrue();
});

test("an ephemeral topic is deleted with its last channel, and leaves nothing on disk", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t#ephemeral", "c#ephemeral", 10);
  await server.publish("t#ephemeral", "m");
  await consumer.message();
  expect(readdirSync(`${server.dataPath}/bunsq-data/topics`)).toBeEmpty();
  consumer.close();
  await until("the topic is gone", () => server.broker.registry.topics.size === 0);
  expect(server.broker.chunks.usedBytes).toBe(0);
});

test("an ephemeral topic without a channel keeps its newest messages, up to --mem-queue-size", async () => {
  await using server = InProcess.start({ memQueueSize: 10 });
  await server.publish("t#ephemeral", ...numbers(30));
  const consumer = await server.consumer("t#ephemeral", "c", 100);
  expect((await messages(consumer, 10)).map(({ text }) => text)).toEqual(numbers(10, 20));
  await expectNothing(consumer);
});

test("an ephemeral channel keeps its newest messages, up to --mem-queue-size", async () => {
  await using server = InProcess.start({ memQueueSize: 10 });
  const consumer = await server.consumer("t", "c#ephemeral");
  await server.publish("t", ...numbers(30));
  consumer.command("RDY 100");
  expect((await messages(consumer, 10)).map(({ text }) => text)).toEqual(numbers(10, 20));
  await expectNothing(consumer);
});

test("a paused ephemeral topic drops messages beyond --mem-queue-size, and delivers none of them", async () => {
  await using server = InProcess.start({ memQueueSize: 10 });
  const consumer = await server.consumer("t#ephemeral", "c", 100);
  const topic = server.broker.registry.topic("t#ephemeral");
  topic.pause();
  await server.publish("t#ephemeral", ...numbers(30));
  consumer.command("RDY 50");
  await expectNothing(consumer);
  topic.unpause();
  expect((await messages(consumer, 10)).map(({ text }) => text)).toEqual(numbers(10, 20));
});

test("a paused channel of an ephemeral topic keeps no more in memory than --mem-queue-size messages", async () => {
  await using server = InProcess.start({ memQueueSize: 10 });
  server.broker.registry.topic("t#ephemeral").channel("c").pause();
  const producer = await server.client();
  const bodies = Array.from({ length: 10 }, () => Buffer.alloc(100_000));
  for (let i = 0; i < 30; i++) {
    producer.mpub("t#ephemeral", bodies);
    await producer.response();
  }
  await until("memory is freed", () => server.broker.chunks.usedBytes < 8 * 1024 * 1024);
});

test("a topic that could not be created can be created once the cause is gone", async () => {
  await using server = InProcess.start();
  const path = `${server.dataPath}/bunsq-data/topics`;
  rmSync(path, { recursive: true, force: true });
  writeFileSync(path, "in the way");
  const client = await server.client();
  client.command("PUB t", "m");
  expect((await client.next()).text).toStartWith("E_PUB_FAILED");
  unlinkSync(path);
  await server.publish("t", "m");
});

test("each of many topics goes on where it was after a restart", async () => {
  await using server = InProcess.start();
  const names = numbers(30).map((number) => `topic-${number}`);
  for (const name of names) {
    server.broker.registry.topic(name).channel("c");
    await server.publish(name, `${name} 1`, `${name} 2`);
  }
  const first = await server.consumer("topic-7", "c", 1);
  first.command(`FIN ${(await first.message()).id}`);
  await until("it is finished", () => server.broker.registry.topic("topic-7").channel("c").partitions[0].floor > 0);
  await server.restart();
  for (const name of names) {
    const consumer = await server.consumer(name, "c", 10);
    const expected = name === "topic-7" ? [`${name} 2`] : [`${name} 1`, `${name} 2`];
    expect((await messages(consumer, expected.length)).map(({ text }) => text)).toEqual(expected);
    await expectNothing(consumer);
  }
});

test("no id is used twice, over topics, deletions and restarts", async () => {
  await using server = InProcess.start();
  const ids = new Set<string>();
  let delivered = 0;
  for (let round = 0; round < 3; round++) {
    for (const name of ["a", "b", "c#ephemeral"]) {
      const consumer = await server.consumer(name, "c", 100);
      await server.publish(name, ...numbers(5));
      for (const { id } of await messages(consumer, 5)) {
        ids.add(id);
        consumer.command(`FIN ${id}`);
        delivered++;
      }
      await expectNothing(consumer);
    }
    server.broker.registry.deleteTopic("b");
    server.broker.registry.deleteTopic("c#ephemeral");
    await server.restart();
  }
  expect(ids.size).toBe(delivered);
}, 60_000);

for (const [topic, channel] of [
  ["t", "c#ephemeral"],
  ["t#ephemeral", "c"],
]) {
  for (const memQueueSize of [0, 1, 10]) {
    test(`consumers of ${topic}/${channel} that are ready get a batch of 50 with --mem-queue-size=${memQueueSize}`, async () => {
      await using server = InProcess.start({ memQueueSize });
      const consumers = [await server.consumer(topic, channel, 30), await server.consumer(topic, channel, 30)];
      for (const consumer of consumers) await expectNothing(consumer);
      const producer = await server.client();
      producer.mpub(topic, numbers(50));
      await producer.response();
      await until("all are in flight", () => server.broker.registry.topic(topic).channel(channel).inFlightCount === 50);
      for (const consumer of consumers) await messages(consumer, 25);
    });

    test(`${topic}/${channel} lets ${memQueueSize} of a batch of 50 wait beyond what its consumer takes`, async () => {
      await using server = InProcess.start({ memQueueSize });
      const consumer = await server.consumer(topic, channel, 3);
      await expectNothing(consumer);
      const producer = await server.client();
      producer.mpub(topic, numbers(50));
      await producer.response();
      const taken = await messages(consumer, 3);
      expect(taken.map(({ text }) => text)).toEqual(numbers(3));
      await expectNothing(consumer);
      for (const { id } of taken) consumer.command(`FIN ${id}`);
      consumer.command("RDY 100");
      expect((await messages(consumer, memQueueSize)).map(({ text }) => text)).toEqual(numbers(memQueueSize, 50 - memQueueSize));
      await expectNothing(consumer);
    });
  }
}
