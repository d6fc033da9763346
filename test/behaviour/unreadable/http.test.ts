import { expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { systemDisk } from "../../../src/broker/storage/disk/disk.ts";
import { FlakyDisk } from "../../support/flaky-disk.ts";
import { messages, numbers } from "../../support/in-process.ts";
import { Random } from "../../support/random.ts";
import { until } from "../../support/server.ts";
import { WithHttp } from "../../support/with-http.ts";

test("calls that read messages answer 503 when the disk fails, not that there are none", async () => {
  const disk = new FlakyDisk(systemDisk, systemClock, new Random(1));
  await using server = WithHttp.start({}, {}, { disk });
  await server.started.publish("t", ...numbers(5));
  await server.call("POST", "/channel/create?topic=t&channel=c");
  await server.call("POST", "/pub?topic=t&defer=600000", "deferred");
  const topic = server.broker.registry.topic("t");
  const id = `${topic.partitions[0].log.prefix.toString(16).padStart(6, "0")}0000000002`;
  expect(await server.call("GET", `/message?topic=t&id=${id}`)).toStartWith("200");
  topic.partitions[0].log.shrink();
  disk.script.push({ path: /\.(log|idx|msg)$/, calls: ["open", "read"], code: "EIO", times: Number.POSITIVE_INFINITY });
  const failed = '503 {"message":"FILE_UNREADABLE"}';
  for (const target of [
    `/message?topic=t&id=${id}`,
    "/topic/messages?topic=t",
    "/topic/messages?topic=t&from=time:2020-01-01T00:00:00Z",
    "/channel/messages?topic=t&channel=c&state=waiting",
    "/channel/messages?topic=t&channel=c&state=deferred",
  ])
    expect([target, await server.call("GET", target)]).toEqual([target, failed]);
  for (const target of [
    "/channel/seek?topic=t&channel=c&to=sequence:2",
    "/channel/seek?topic=t&channel=c&to=time:2020-01-01T00:00:00Z",
    "/channel/create?topic=t&channel=d&start=sequence:2",
    `/message/requeue?topic=t&channel=c&id=${id}&defer=60000`,
  ])
    expect([target, await server.call("POST", target)]).toEqual([target, failed]);
  // Nothing has moved.
  const channel = topic.channel("c");
  expect([channel.depth, channel.partitions[0].floor, topic.channels.size]).toEqual([5, 0, 1]);
  disk.script.length = 0;
  expect(await server.call("GET", `/message?topic=t&id=${id}`)).toStartWith("200");
});

test("a topic that cannot be opened is there: it is not made anew, and says why it refuses", async () => {
  const disk = new FlakyDisk(systemDisk, systemClock, new Random(1));
  await using server = WithHttp.start({}, {}, { disk });
  await server.started.publish("t", ...numbers(5));
  await server.call("POST", "/channel/create?topic=t&channel=c");
  await server.restart(undefined, () => {
    disk.script.push({ path: /-t\/.*\.idx$/, calls: ["read"], code: "EIO", times: Number.POSITIVE_INFINITY });
  });
  for (const [method, target] of [
    ["POST", "/pub?topic=t"],
    ["POST", "/topic/create?topic=t"],
    ["POST", "/topic/delete?topic=t"],
    ["POST", "/channel/create?topic=t&channel=d"],
    ["GET", "/topic/messages?topic=t"],
  ] as const)
    expect([target, await server.call(method, target, method === "POST" ? "body" : undefined)]).toEqual([
      target,
      '503 {"message":"TOPIC_NOT_OPEN"}',
    ]);
  expect(await server.call("GET", "/ping")).toMatch(/^500 NOK - cannot read .*-t\/.*\.idx: EIO/);
  const stats = (await (await server.fetch("GET", "/stats?format=json")).json()) as { read_failures: { waiting: string }[] };
  expect(stats.read_failures.map(({ waiting }) => waiting)).toEqual(["TOPIC(t)"]);
  const client = await server.started.client();
  client.command("PUB t", "body");
  expect((await client.next()).text).toStartWith("E_PUB_FAILED PUB failed topic t is not open: cannot read ");
  disk.script.length = 0;
  await until("the broker is healthy", async () => (await server.call("GET", "/ping")) === "200 OK");
  const consumer = await server.started.consumer("t", "c", 5);
  expect((await messages(consumer, 5)).map(({ text }) => text)).toEqual(numbers(5));
});

test("a topic that is opened late has its settings, and its channels have theirs before a message is delivered", async () => {
  const disk = new FlakyDisk(systemDisk, systemClock, new Random(1));
  await using server = WithHttp.start({}, {}, { disk });
  server.broker.registry
    .topicWith("t", 4, { held: [1, 3], extended: true })
    .channel("c")
    .changeSettings({ order: "partition" });
  server.broker.registry.topic("other").channel("c");
  await server.started.publish("t", ...numbers(6));
  await server.restart(undefined, () => {
    disk.script.push({ path: /-t@3\/.*\.idx$/, calls: ["read"], code: "EIO", times: Number.POSITIVE_INFINITY });
  });
  expect(await server.call("POST", "/pub?topic=t", "x")).toBe('503 {"message":"TOPIC_NOT_OPEN"}');
  disk.script.length = 0;
  await until("the broker is healthy", async () => (await server.call("GET", "/ping")) === "200 OK");
  const topic = server.broker.registry.topic("t");
  expect(topic.settings).toEqual({ partitions: 4, held: [1, 3], extended: true });
  const consumer = await server.started.consumer("t", "c", 100);
  const received = await messages(consumer, 2);
  expect(received.map(({ text }) => text).toSorted()).toEqual(["0", "1"]);
  expect([topic.channel("c").inFlightCount, topic.channel("c").depth]).toEqual([2, 4]);
  expect([server.started.log.matching(/settings/), server.broker.registry.corruptRegions]).toEqual([[], 0]);
});
