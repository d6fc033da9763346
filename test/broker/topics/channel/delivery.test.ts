import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { messageAfter } from "../../../support/due.ts";
import { expectNothing, InProcess, messages, numbers } from "../../../support/in-process.ts";
import type { Frame, RawClient } from "../../../support/raw-client.ts";
import { until } from "../../../support/server.ts";
import { SteppedClock } from "../../../support/stepped-clock.ts";

/** Publishes messages in batches of 1,000. */
async function publishMany(server: InProcess, topic: string, count: number, body: (i: number) => string): Promise<void> {
  const producer = await server.client();
  for (let from = 0; from < count; from += 1000) {
    producer.mpub(
      topic,
      Array.from({ length: Math.min(1000, count - from) }, (_, i) => body(from + i)),
    );
    await producer.response();
  }
  producer.close();
}

test("no more than RDY messages are in flight, and finishing one makes room for another", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "c", 2);
  await server.publish("t", ...numbers(5));
  const [first, second] = await messages(consumer, 2);
  await expectNothing(consumer);
  consumer.command(`FIN ${first.id}`);
  expect((await consumer.message()).text).toBe("2");
  consumer.command("RDY 0");
  consumer.command(`FIN ${second.id}`);
  await expectNothing(consumer);
  consumer.command("RDY 10");
  expect((await messages(consumer, 2)).map(({ text }) => text)).toEqual(["3", "4"]);
});

test("after CLS no message is delivered, and those in flight can be finished", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "c", 1);
  await server.publish("t", "m", "n");
  const { id } = await consumer.message();
  expect(await consumer.call("CLS")).toBe("CLOSE_WAIT");
  consumer.command(`FIN ${id}`);
  consumer.command("RDY 5");
  await expectNothing(consumer);
  expect(server.broker.registry.topic("t").channel("c").depth).toBe(1);
});

test("requeued messages are delivered again in the order in which they were requeued", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "c", 5);
  await server.publish("t", ...numbers(5));
  const frames = await messages(consumer, 5);
  for (const i of [3, 0, 4, 1, 2]) consumer.command(`REQ ${frames[i].id} 0`);
  const again = await messages(consumer, 5);
  expect(again.map(({ text, attempts }) => `${text}:${attempts}`)).toEqual(["3:2", "0:2", "4:2", "1:2", "2:2"]);
  expect(again.map(({ id, timestampNs }) => `${id} ${timestampNs}`).toSorted()).toEqual(
    frames.map(({ id, timestampNs }) => `${id} ${timestampNs}`).toSorted(),
  );
});

test("a few messages are spread over the consumers that are ready", async () => {
  await using server = InProcess.start();
  const consumers = await Promise.all([1, 2, 3].map(() => server.consumer("t", "c", 100)));
  const producer = await server.client();
  producer.mpub("t", numbers(9));
  await producer.response();
  for (const consumer of consumers) {
    await messages(consumer, 3);
    await expectNothing(consumer);
  }
});

test("messages that are published one at a time go to the ready consumers in turn", async () => {
  await using server = InProcess.start();
  const consumers = await Promise.all([1, 2, 3].map(() => server.consumer("t", "c", 100)));
  const producer = await server.client();
  for (let i = 0; i < 9; i++) await producer.call("PUB t", `${i}`);
  for (const consumer of consumers) await messages(consumer, 3);
});

test("a message that keeps being requeued does not keep others from being delivered, nor they it", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "c", 1);
  await server.publish("t", "poison", ...numbers(50));
  const seen: string[] = [];
  let poisoned = 0;
  while (seen.length < 50 && poisoned < 200) {
    const { id, text } = await consumer.message();
    if (text === "poison") {
      poisoned++;
      consumer.command(`REQ ${id} 0`);
    } else {
      seen.push(text);
      consumer.command(`FIN ${id}`);
    }
  }
  expect(seen).toEqual(numbers(50));
  expect(poisoned).toBeGreaterThan(10);
});

test("messages time out at their deadline, also in a channel that was created just before", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({ msgTimeoutMs: 400 }, { clock });
  for (const channel of ["first", "second"]) {
    const consumer = await server.consumer("t", channel, 1);
    await server.publish("t", "m");
    expect((await consumer.message()).attempts).toBe(1);
    expect((await messageAfter(clock, 400, consumer)).attempts).toBe(2);
    expect(server.broker.registry.topic("t").channel(channel).timeoutCount).toBe(1);
    consumer.close();
    if (channel === "first") server.broker.registry.topic("t").deleteChannel("first");
  }
});

test("a consumer can ask for a message timeout of its own", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({ msgTimeoutMs: 100 }, { clock });
  const consumer = await server.consumer("t", "c", 1, { msg_timeout: 1000 });
  await server.publish("t", "m");
  await consumer.message();
  expect((await messageAfter(clock, 1000, consumer)).attempts).toBe(2);
});

test("a message that timed out can no longer be finished", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({ msgTimeoutMs: 100 }, { clock });
  const consumer = await server.consumer("t", "c", 1);
  await server.publish("t", "m");
  const { id } = await consumer.message();
  consumer.command("RDY 0");
  await expectNothing(consumer);
  await clock.pass(100 + 5);
  await until("it timed out", () => server.broker.registry.topic("t").channel("c").timeoutCount === 1);
  consumer.command(`FIN ${id}`);
  expect((await consumer.next()).text).toBe(`E_FIN_FAILED FIN ${id} failed ID not in flight`);
});

test("TOUCH gives a message more time, up to --max-msg-timeout from its delivery", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({ msgTimeoutMs: 300, maxMsgTimeoutMs: 700 }, { clock });
  const consumer = await server.consumer("t", "c", 1);
  await server.publish("t", "m");
  const { id } = await consumer.message();
  for (let touches = 0; touches < 6; touches++) {
    await clock.pass(100);
    consumer.command(`TOUCH ${id}`);
    await expectNothing(consumer);
  }
  expect((await messageAfter(clock, 100, consumer)).attempts).toBe(2);
});

test("messages in flight go to another consumer at once when their consumer disconnects", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  const first = await server.consumer("t", "c", 10);
  await server.publish("t", ...numbers(3));
  await messages(first, 3);
  const second = await server.consumer("t", "c", 10);
  await expectNothing(second);
  first.terminate();
  // Time stands still: no timeout brings them.
  const again = await messages(second, 3);
  expect(again.map(({ text, attempts }) => `${text}:${attempts}`)).toEqual(["0:2", "1:2", "2:2"]);
});

test("a message of another consumer cannot be finished, requeued or touched", async () => {
  await using server = InProcess.start();
  const first = await server.consumer("t", "c", 1);
  await server.publish("t", "m");
  const { id } = await first.message();
  const second = await server.consumer("t", "c", 1);
  for (const [line, text] of [
    [`FIN ${id}`, `E_FIN_FAILED FIN ${id} failed client does not own message`],
    [`REQ ${id} 0`, `E_REQ_FAILED REQ ${id} failed client does not own message`],
    [`TOUCH ${id}`, `E_TOUCH_FAILED TOUCH ${id} failed client does not own message`],
  ]) {
    second.command(line);
    expect((await second.next()).text).toBe(text);
  }
  first.command(`FIN ${id}`);
  await until("it is finished", () => server.broker.registry.topic("t").channel("c").inFlightCount === 0);
});

test("a channel takes no more consumers than --max-channel-consumers", async () => {
  await using server = InProcess.start({ maxChannelConsumers: 2 });
  await server.consumer("t", "c");
  await server.consumer("t", "c");
  const third = await server.client();
  third.command("SUB t c");
  expect((await third.next()).text).toBe("E_SUB_FAILED SUB failed consumers for t:c exceeds limit of 2");
  await server.consumer("t", "other");
});

test("after a clean restart finished messages are not delivered again, and attempts go on", async () => {
  await using server = InProcess.start();
  let consumer = await server.consumer("t", "c", 10);
  await server.publish("t", ...numbers(20));
  const frames = await messages(consumer, 10);
  for (const i of [1, 3, 4, 9]) consumer.command(`FIN ${frames[i].id}`);
  await messages(consumer, 4);
  consumer.command(`REQ ${frames[0].id} 0`);
  await until("it is requeued", () => server.broker.registry.topic("t").channel("c").requeueCount === 1);
  const [again] = await messages(consumer, 1);
  expect(again.text).toBe("14");
  await server.restart();
  consumer = await server.consumer("t", "c", 100);
  const rest = await messages(consumer, 16);
  await expectNothing(consumer);
  const tries = new Map(rest.map(({ text, attempts }) => [text, attempts]));
  expect([...tries.keys()].toSorted()).toEqual(
    numbers(20)
      .filter((number) => !["1", "3", "4", "9"].includes(number))
      .toSorted(),
  );
  expect(numbers(20).map((number) => tries.get(number))).toEqual(
    numbers(20).map((number, i) => (["1", "3", "4", "9"].includes(number) ? undefined : i < 15 ? 2 : 1)),
  );
});

test("a message's attempts go on over several restarts, wherever the message was", async () => {
  await using server = InProcess.start();
  await server.publish("t", "m");
  for (let attempt = 1; attempt <= 6; attempt++) {
    const consumer = await server.consumer("t", "c", 1);
    const frame = await consumer.message();
    expect(frame.attempts).toBe(attempt);
    if (attempt % 3 === 1) consumer.command(`REQ ${frame.id} 0`);
    if (attempt % 3 === 2) consumer.command(`REQ ${frame.id} 260`);
    consumer.command("RDY 0");
    await until("it is requeued", () => attempt % 3 === 0 || server.broker.registry.topic("t").channel("c").requeueCount === 1);
    await server.restart();
  }
}, 60_000);

test("a window grows for several consumers with thousands of messages in flight, and these can be finished in any order", async () => {
  await using server = InProcess.start();
  const count = 20_000;
  const consumers = await Promise.all(Array.from({ length: 8 }, () => server.consumer("t", "c")));
  const got: [RawClient, string][] = [];
  const bodies = new Set<string>();
  for (const consumer of consumers) {
    consumer.onFrame = (frame: Frame) => {
      if (frame.type !== "message") throw new Error(frame.text);
      got.push([consumer, frame.id]);
      bodies.add(frame.text);
    };
    consumer.command("RDY 2500");
  }
  await publishMany(server, "t", count, (i) => `${i}`);
  const channel = server.broker.registry.topic("t").channel("c");
  await until("all are in flight", () => got.length === count);
  expect([bodies.size, channel.inFlightCount, channel.depth]).toEqual([count, count, 0]);
  for (const [consumer, id] of got.toReversed()) consumer.write(`FIN ${id}\n`);
  await until("all are finished", () => channel.inFlightCount === 0);
  expect(channel.partitions[0].floor).toBe(server.broker.registry.topic("t").partitions[0].log.next);
});

test("a straggler does not keep old segments, can still be touched, requeued and finished, and outlives a restart", async () => {
  await using server = InProcess.start({ maxBytesPerFile: 256 * 1024 });
  let consumer = await server.consumer("t", "c", 500);
  await server.publish("t", "held");
  const held = await consumer.message();
  let passed = 0;
  consumer.onFrame = (frame) => {
    if (frame.type !== "message") throw new Error(frame.text);
    passed++;
    consumer.write(`FIN ${frame.id}\n`);
  };
  const topic = server.broker.registry.topic("t");
  const channel = topic.channel("c");
  await publishMany(server, "t", 40_000, (i) => `${i}`.padEnd(50, "."));
  await until("they passed", () => passed === 40_000 && channel.inFlightCount === 1);
  expect(channel.partitions[0].floor).toBeGreaterThan(20_000);
  const segments = (): number => readdirSync(`${server.dataPath}/bunsq-data/topics/00000-t`).filter((name) => name.endsWith(".log")).length;
  await until("old segments are gone", () => segments() < 12);
  consumer.onFrame = undefined;
  consumer.command(`TOUCH ${held.id}`);
  await expectNothing(consumer);
  consumer.command(`REQ ${held.id} 0`);
  const again = await consumer.message();
  expect([again.id, again.text, again.attempts]).toEqual([held.id, "held", 2]);
  await server.restart();
  consumer = await server.consumer("t", "c", 500);
  const third = await consumer.message();
  expect([third.id, third.text, third.attempts]).toEqual([held.id, "held", 3]);
  await expectNothing(consumer);
  consumer.command(`FIN ${held.id}`);
  await expectNothing(consumer);
  await server.restart();
  await expectNothing(await server.consumer("t", "c", 500));
}, 60_000);

test("a consumer that does not read delays no other, memory stays bounded, and it gets everything once it reads again", async () => {
  await using server = InProcess.start();
  const producer = await server.client();
  let received = 0;
  const slow = await Bun.connect({
    hostname: "127.0.0.1",
    port: server.broker.tcpPort,
    socket: {
      data: (_socket, data) => {
        received += data.length;
      },
    },
  });
  slow.write("  V2SUB t slow\nRDY 2500\n");
  await until("it has joined", () => server.broker.registry.topics.get("t")?.channels.has("slow") === true);
  await until("it has its OK", () => received === 10);
  slow.pause();
  const fast = await server.consumer("t", "fast", 100);
  let passed = 0;
  fast.onFrame = (frame) => {
    passed++;
    fast.write(`FIN ${frame.id}\n`);
  };
  const bodies = Array.from({ length: 40 }, () => Buffer.alloc(100_000));
  for (let i = 0; i < 30; i++) {
    producer.mpub("t", bodies);
    await producer.response();
  }
  await until("the fast one has all", () => passed === 1200);
  expect(server.broker.chunks.usedBytes).toBeLessThan(64 * 1024 * 1024);
  slow.resume();
  await until("the slow one has all", () => received === 10 + 1200 * 100_034);
  slow.terminate();
}, 60_000);

test("a sampling consumer gets a part of the messages, and the rest is finished", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "c", 2500, { sample_rate: 20 });
  let got = 0;
  consumer.onFrame = (frame) => {
    got++;
    consumer.write(`FIN ${frame.id}\n`);
  };
  await publishMany(server, "t", 5000, (i) => `${i}`);
  const channel = server.broker.registry.topic("t").channel("c");
  await until(
    "all are through",
    () => channel.partitions[0].floor === server.broker.registry.topic("t").partitions[0].log.next && channel.inFlightCount === 0,
  );
  expect(got).toBeGreaterThan(700);
  expect(got).toBeLessThan(1400);
});

test("a straggler in an ephemeral topic does not keep the messages that pass it in memory", async () => {
  await using server = InProcess.start({ memQueueSize: 100 });
  const consumer = await server.consumer("t#ephemeral", "c", 100);
  await server.publish("t#ephemeral", "held");
  await consumer.message();
  consumer.onFrame = (frame) => consumer.write(`FIN ${frame.id}\n`);
  const producer = await server.client();
  const bodies = Array.from({ length: 10 }, () => Buffer.alloc(100_000));
  const channel = server.broker.registry.topic("t#ephemeral").channel("c");
  for (let i = 0; i < 100; i++) {
    producer.mpub("t#ephemeral", bodies);
    await producer.response();
    await until("they passed", () => channel.depth === 0 && channel.inFlightCount === 1);
  }
  expect(server.broker.chunks.usedBytes).toBeLessThan(64 * 1024 * 1024);
}, 60_000);
