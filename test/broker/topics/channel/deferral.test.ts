import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { messageAfter } from "../../../support/due.ts";
import { expectNothing, InProcess, messages } from "../../../support/in-process.ts";
import { until } from "../../../support/server.ts";
import { SteppedClock } from "../../../support/stepped-clock.ts";

/** After a start a broker has looked for what is due within this time. */
const LOOKED_MS = 260;

test("a message that is requeued with a short or long delay is delivered again when it is due", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  const consumer = await server.consumer("t", "c", 1);
  const channel = server.broker.registry.topic("t").channel("c");
  for (const delayMs of [50, 260, 400]) {
    await server.publish("t", "m");
    const { id } = await consumer.message();
    consumer.command(`REQ ${id} ${delayMs}`);
    await until("it is deferred", () => channel.deferredCount === 1);
    expect(channel.inFlightCount).toBe(0);
    const again = await messageAfter(clock, delayMs, consumer);
    expect([again.id, again.attempts, channel.deferredCount]).toEqual([id, 2, 0]);
    consumer.command(`FIN ${id}`);
  }
});

test("a straggler that is requeued while the store writes it is delivered again when the requeue is due", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  const consumer = await server.consumer("t", "c", 1);
  const channel = server.broker.registry.topic("t").channel("c");
  await server.publish("t", "m");
  const { id } = await consumer.message();
  const connection = channel.consumers[0];
  server.broker.turn.readClock();
  // Normally this happens in a full window. Here it happens in the same turn as the requeue.
  channel.partitions[0].deferrals.moveStragglers();
  expect(channel.partitions[0].requeue(connection, channel.partitions[0].floor, 400)).toBeUndefined();
  const again = await messageAfter(clock, 400, consumer);
  expect([again.id, again.attempts, channel.deferredCount]).toEqual([id, 2, 0]);
});

test("a deferred publish reaches every channel when it is due, and counts as deferred until then", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  const first = await server.consumer("t", "first", 10);
  const second = await server.consumer("t", "second", 10);
  const producer = await server.client();
  for (const delayMs of [30, 300]) {
    await producer.call(`DPUB t ${delayMs}`, "m");
    expect(server.broker.registry.topic("t").channel("first").deferredCount).toBe(1);
    expect([(await messageAfter(clock, delayMs, first)).attempts, (await second.message()).attempts]).toEqual([1, 1]);
    expect(server.broker.registry.topic("t").channel("first").deferredCount).toBe(0);
  }
});

test("a deferred publish with no delay is delivered at once", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "c", 1);
  const producer = await server.client();
  await producer.call("DPUB t 0", "m");
  expect((await consumer.message()).text).toBe("m");
});

test("a deferred publish that falls due before there is a channel waits for the first one", async () => {
  await using server = InProcess.start();
  const producer = await server.client();
  await producer.call("DPUB t 50", "m");
  await until("it joined", () => server.broker.registry.topic("t").depth === 1);
  const consumer = await server.consumer("t", "c", 1);
  expect((await consumer.message()).text).toBe("m");
});

test("after a restart deferred publishes are delivered once, when they are due or at once if they were", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  server.broker.registry.topic("t").channel("c");
  const producer = await server.client();
  await producer.call("DPUB t 150", "passed");
  await producer.call("DPUB t 700", "to come");
  await server.close();
  await clock.pass(300);
  server.reopen();
  const consumer = await server.consumer("t", "c", 10);
  await clock.pass(LOOKED_MS);
  expect((await consumer.message()).text).toBe("passed");
  expect(server.broker.registry.topic("t").channel("c").deferredCount).toBe(1);
  expect((await messageAfter(clock, 400 - LOOKED_MS, consumer)).text).toBe("to come");
  await expectNothing(consumer);
  await server.restart();
  const again = await server.consumer("t", "c", 10);
  expect((await messages(again, 2)).map(({ text, attempts }) => `${text}:${attempts}`).toSorted()).toEqual(["passed:2", "to come:2"]);
  await expectNothing(again);
});

test("requeued messages are delivered when they are due after a restart, and their attempts go on", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  let consumer = await server.consumer("t", "c", 2);
  await server.publish("t", "short", "long");
  const [short, long] = await messages(consumer, 2);
  consumer.command("RDY 0");
  consumer.command(`REQ ${short.id} 200`);
  consumer.command(`REQ ${long.id} 600`);
  await until("both are deferred", () => server.broker.registry.topic("t").channel("c").deferredCount === 2);
  await server.restart();
  consumer = await server.consumer("t", "c", 10);
  expect(server.broker.registry.topic("t").channel("c").deferredCount).toBe(2);
  const began = clock.steadyMs();
  await clock.pass(199);
  await expectNothing(consumer);
  await clock.pass(LOOKED_MS - 199);
  const first = await consumer.message();
  const second = await messageAfter(clock, began + 600 - clock.steadyMs(), consumer);
  expect([first, second].map(({ text, attempts }) => `${text}:${attempts}`)).toEqual(["short:2", "long:2"]);
  consumer.command(`FIN ${first.id}`);
  consumer.command(`FIN ${second.id}`);
  await expectNothing(consumer);
  await server.restart();
  await expectNothing(await server.consumer("t", "c", 10));
});

test("a message that came out of the store can be touched, requeued and finished, and times out, like any other", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({ msgTimeoutMs: 200 }, { clock });
  const consumer = await server.consumer("t", "c", 1);
  await server.publish("t", "m");
  let { id } = await consumer.message();
  const channel = server.broker.registry.topic("t").channel("c");
  const stored = () => until("it is stored", () => channel.partitions[0].deferrals.storedCount === 1);
  consumer.command(`REQ ${id} 300`);
  await stored();
  expect((await messageAfter(clock, 300, consumer)).attempts).toBe(2);
  await clock.pass(100);
  consumer.command(`TOUCH ${id}`);
  await expectNothing(consumer);
  expect((await messageAfter(clock, 200, consumer)).attempts).toBe(3);
  expect(channel.timeoutCount).toBe(1);
  consumer.command(`REQ ${id} 0`);
  expect((await consumer.message()).attempts).toBe(4);
  consumer.command(`REQ ${id} 300`);
  await stored();
  const last = await messageAfter(clock, 300, consumer);
  expect([last.id, last.attempts]).toEqual([id, 5]);
  id = last.id;
  consumer.command(`FIN ${id}`);
  await until("it is finished", () => channel.inFlightCount === 0);
  expect([channel.depth, channel.deferredCount]).toEqual([0, 0]);
  consumer.command(`FIN ${id}`);
  expect((await consumer.next()).text).toBe(`E_FIN_FAILED FIN ${id} failed ID not in flight`);
});

test("a message that came out of the store goes to another consumer at once when its consumer disconnects", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  const first = await server.consumer("t", "c", 1);
  await server.publish("t", "m");
  const { id } = await first.message();
  first.command(`REQ ${id} 300`);
  await until("it is stored", () => server.broker.registry.topic("t").channel("c").partitions[0].deferrals.storedCount === 1);
  await messageAfter(clock, 300, first);
  // From here on time stands still: no timeout brings it.
  const second = await server.consumer("t", "c", 1);
  first.terminate();
  const again = await second.message();
  expect([again.id, again.attempts]).toEqual([id, 3]);
});

test("deferred messages of a deleted topic are never delivered", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  const consumer = await server.consumer("t", "c", 1);
  const producer = await server.client();
  await producer.call("DPUB t 200", "m");
  await producer.call("DPUB other 200", "kept");
  server.broker.registry.deleteTopic("t");
  await consumer.untilClosed();
  const again = await server.consumer("t", "c", 10);
  const other = await server.consumer("other", "c", 10);
  expect((await messageAfter(clock, 200, other)).text).toBe("kept");
  await expectNothing(again);
});

test("thousands of deferred publishes that are due at once are each delivered once", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "c", 2500);
  const seen = new Map<string, number>();
  consumer.onFrame = (frame) => {
    seen.set(frame.text, (seen.get(frame.text) ?? 0) + 1);
    consumer.write(`FIN ${frame.id}\n`);
  };
  const producer = await server.client();
  let oks = 0;
  producer.onFrame = () => oks++;
  for (let i = 0; i < 6000; i++) producer.command("DPUB t 300", `${i}`);
  await until("all are taken", () => oks === 6000);
  await until("all came", () => seen.size === 6000);
  expect(new Set(seen.values())).toEqual(new Set([1]));
});

test("a message that is requeued with a delay in an ephemeral channel is delivered again when it is due", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  const consumer = await server.consumer("t#ephemeral", "c#ephemeral", 1);
  await server.publish("t#ephemeral", "m");
  const { id } = await consumer.message();
  consumer.command(`REQ ${id} 400`);
  await expectNothing(consumer);
  expect((await messageAfter(clock, 400, consumer)).attempts).toBe(2);
});

test("deferred publishes to an ephemeral topic are delivered when they are due, and are in memory only", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  const consumer = await server.consumer("t#ephemeral", "c", 10);
  const producer = await server.client();
  for (const delayMs of [400, 60, 200]) await producer.call(`DPUB t#ephemeral ${delayMs}`, `after ${delayMs}`);
  const began = clock.steadyMs();
  for (const delayMs of [60, 200, 400]) {
    expect((await messageAfter(clock, began + delayMs - clock.steadyMs(), consumer)).text).toBe(`after ${delayMs}`);
  }
  expect(readdirSync(`${server.dataPath}/bunsq-data/deferred`)).toBeEmpty();
});

test("a broker that had nothing deferred for a while delivers a publish that is deferred for seconds when it is due", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  const consumer = await server.consumer("t", "c", 1);
  const client = await server.client();
  // By then the broker has looked for deferred messages and found none.
  await clock.pass(600);
  expect(await client.call("DPUB t 2700", "m")).toBe("OK");
  expect((await messageAfter(clock, 2700, consumer)).text).toBe("m");
});
