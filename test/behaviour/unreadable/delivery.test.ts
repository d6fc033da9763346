import { expect, test } from "bun:test";
import { HeaderFilter } from "../../../src/broker/topics/channel/selective/header-filter.ts";
import { numbers } from "../../support/in-process.ts";
import { MemoryConsumer } from "../../support/memory-consumer.ts";
import { Site } from "../../support/site.ts";

/** More than the block that a start has in memory. */
const LONG = numbers(80).map((number) => `${number} ${"x".repeat(150)}`);
const LOGS = /[0-9a-f]{16}\.(log|idx)$/;

/** A channel that owes 0, 6, 7, 8 and 9: the others are finished. */
async function withFinishedBetween(): Promise<Site> {
  await using first = Site.empty();
  const { channel, consumer } = first.subscribe("t", 10);
  for (const body of numbers(10)) await first.publish("t", body);
  await first.until(() => consumer.deliveries.length === 10);
  for (const { sequence } of consumer.deliveries.splice(1, 5)) channel.partitions[0].finish(consumer, sequence);
  await first.pass(500);
  return first.killed();
}

for (const call of ["open", "read"] as const) {
  test(`a channel that passes over finished messages goes on where it was after any ${call} fails`, async () => {
    let failed = 0;
    for (let after = 0; after < 12; after++) {
      await using site = await withFinishedBetween();
      site.open();
      site.fail({ path: LOGS, calls: [call], code: "EMFILE", times: 2, after });
      site.consume("t");
      await site.until(() => site.delivered.get("t")?.length === 5);
      await site.pass(1000);
      expect(site.delivered.get("t")?.sort()).toEqual(["0", "6", "7", "8", "9"]);
      const channel = site.broker.registry.topic("t").channel("c");
      expect([channel.partitions[0].floor, channel.depth, channel.inFlightCount]).toEqual([10, 0, 0]);
      failed += site.disk.scripted;
    }
    expect(failed).toBeGreaterThan(0);
  });

  test(`a message that is delivered again is not lost when its ${call} fails`, async () => {
    await using site = Site.empty();
    const { channel, consumer } = site.subscribe("t", 3);
    for (const body of numbers(3)) await site.publish("t", body);
    await site.until(() => consumer.deliveries.length === 3);
    const [zero, one, two] = consumer.deliveries.splice(0);
    for (const taken of [zero, two]) channel.partitions[0].finish(consumer, taken?.sequence ?? -1);
    // Its bytes are in the file only.
    site.broker.registry.topic("t").partitions[0].log.shrink();
    await site.pass(100);
    site.fail({ path: LOGS, calls: [call], code: "ENFILE", times: 4 });
    channel.partitions[0].requeue(consumer, one?.sequence ?? -1, 0);
    await site.until(() => channel.readFailure !== undefined);
    expect(channel.depth).toBe(1);
    expect(site.health).toContain("ENFILE");
    await site.until(() => consumer.deliveries.length === 1);
    expect(channel.partitions[0].finish(consumer, consumer.deliveries[0]?.sequence ?? -1)).toBeUndefined();
    await site.pass(200);
    expect([channel.partitions[0].floor, channel.depth, channel.inFlightCount, site.health]).toEqual([3, 0, 0, "OK"]);
  });
}

test("a due message whose frame is in a bucket waits in its channel, and is not lost", async () => {
  await using site = Site.empty();
  const { channel, consumer } = site.subscribe("t", 1);
  await site.publish("t", "a");
  await site.until(() => consumer.deliveries.length === 1);
  channel.partitions[0].requeue(consumer, consumer.deliveries.splice(0)[0]?.sequence ?? -1, 2000);
  await site.pass(500);
  site.fail({ path: /\.msg$/, calls: ["read", "open"], code: "EIO", times: 6 });
  await site.until(() => site.health.includes(".msg"));
  await site.until(() => consumer.deliveries.length === 1);
  expect(channel.partitions[0].finish(consumer, consumer.deliveries[0]?.sequence ?? -1)).toBeUndefined();
  await site.until(() => site.health === "OK");
  expect([channel.depth, channel.deferredCount, channel.inFlightCount]).toEqual([0, 0, 0]);
});

test("a channel whose messages are in memory goes on while another one of the topic waits for the disk", async () => {
  await using first = Site.empty();
  first.broker.registry.topic("t").channel("c");
  for (const body of LONG) await first.publish("t", body);
  await using site = first.killed();
  site.open();
  const topic = site.broker.registry.topic("t");
  const atEnd = topic.channel("at the end");
  site.fail({ path: LOGS, calls: ["open", "read"], code: "EIO", times: Number.POSITIVE_INFINITY });
  site.consume("t");
  await site.until(() => topic.channel("c").readFailure !== undefined);
  site.disk.script.length = 0;
  site.fail({ path: /\.log$/, calls: ["read"], code: "EIO", times: Number.POSITIVE_INFINITY });
  await site.publish("t", "new");
  expect(atEnd.depth).toBe(1);
  const { consumer } = site.subscribeTo(atEnd, 1);
  await site.until(() => consumer.deliveries.length === 1);
  expect(topic.channel("c").readFailure?.message).toContain(".log");
  expect(atEnd.readFailure).toBeUndefined();
  expect(site.delivered.get("t")?.length).toBeLessThan(LONG.length);
  site.heal();
  await site.until(() => site.delivered.get("t")?.length === LONG.length + 1);
  expect(site.delivered.get("t")).toEqual([...LONG, "new"]);
});

const TAKES_ALL = { type: 1, filter_ext_key: "k", filter_data: "v", inverse: true };

for (const filter of [undefined, TAKES_ALL]) {
  const whose = filter === undefined ? "a channel that chooses" : "consumers with filters";
  test(`new messages for ${whose} do not wait behind one that is delivered again and cannot be read`, async () => {
    await using site = Site.empty();
    const channel = site.broker.registry.topic("t").channel("c");
    channel.changeSettings({ max_attempts: 5, dead_letter_topic: "dead" });
    const consumer = new MemoryConsumer(1, channel, 3_600_000);
    consumer.readyCount = 100;
    if (filter !== undefined) consumer.wishes = { filter: HeaderFilter.fromJson(filter) };
    channel.addConsumer(consumer);
    await site.publish("t", "old");
    await site.until(() => consumer.deliveries.length === 1);
    const [{ sequence }] = consumer.deliveries.splice(0);
    site.broker.registry.topic("t").partitions[0].log.shrink();
    await site.pass(100);
    site.fail({ path: /\.log$/, calls: ["read"], code: "EIO", times: Number.POSITIVE_INFINITY });
    channel.partitions[0].requeue(consumer, sequence, 0);
    await site.until(() => channel.readFailure !== undefined);
    // From here on it is tried again every five seconds.
    await site.pass(20_000);
    for (const body of numbers(10)) {
      await site.publish("t", body);
      await site.pass(100);
      expect(consumer.deliveries.splice(0).map((delivery) => delivery.body)).toEqual([body]);
    }
    expect(site.disk.scripted).toBeLessThan(20);
    site.heal();
    await site.until(() => consumer.deliveries.length === 1);
    expect([consumer.deliveries[0].body, channel.depth]).toEqual(["old", 0]);
  });
}

test("a file that cannot be read is tried again at growing intervals, and logged now and then", async () => {
  await using first = Site.empty();
  first.broker.registry.topic("t").channel("c");
  for (const body of LONG) await first.publish("t", body);
  await using site = first.killed();
  site.open();
  // Not "open": syncs open the file, too, and try again at their own pace.
  site.fail({ path: /t\/(?!0{16})[0-9a-f]{16}\.log$/, calls: ["read"], code: "EIO", times: Number.POSITIVE_INFINITY });
  site.consume("t");
  const tries: number[] = [];
  let before = 0;
  await site.until(() => {
    if (site.disk.scripted > before) tries.push(site.clock.steadyMs());
    before = site.disk.scripted;
    return site.clock.steadyMs() > 30_000;
  }, 10);
  const pauses = tries.slice(1).map((at, i) => Math.round((at - (tries[i] ?? 0)) / 100) * 100);
  expect(pauses.slice(0, 7)).toEqual([100, 200, 400, 800, 1600, 3200, 5000]);
  expect(site.log.matching(/EIO/)).toHaveLength(1);
});
