import { expect, test } from "bun:test";
import { readdirSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { isRetained, segmentAgeMs, segmentBytes } from "../../../src/broker/storage/log/retention.ts";
import { expectNothing, messages, numbers, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { RawClient } from "../../support/raw-client.ts";
import { startServer, until } from "../../support/server.ts";
import { WithHttp } from "../../support/with-http.ts";

/** Segments of a few messages. */
const SMALL = { maxBytesPerFile: 1024 };
const BODY = "x".repeat(300);

/** Publishes in commits of one message, which a consumer finishes. */
async function publishAndFinish(server: WithHttp, count: number): Promise<void> {
  const consumer = await server.started.consumer("t", "ch", 100);
  for (let i = 0; i < count; i++) await server.call("POST", "/pub?topic=t", BODY);
  for (const { id } of await messages(consumer, count)) consumer.command(`FIN ${id}`);
  await until("all are finished", () => server.broker.registry.topic("t").channel("ch").inFlightCount === 0);
  consumer.terminate();
}

function start(server: WithHttp): number {
  return server.broker.registry.topic("t").partitions[0].log.startSequence;
}

/** Trims at once; waiting for the timers to do it would only take longer. */
function releaseNow(server: WithHttp): void {
  server.broker.registry.topic("t").partitions[0].trimLog();
}

test("a segment is kept while it is within the time and within the bytes", () => {
  const cases: [number, number, number, number, boolean][] = [
    [0, 0, 0, 0, false],
    [1000, 0, 999, 1e12, true],
    [1000, 0, 1000, 0, false],
    [0, 500, 1e12, 499, true],
    [0, 500, 0, 500, false],
    [1000, 500, 999, 499, true],
    [1000, 500, 999, 500, false],
    [1000, 500, 1000, 499, false],
  ];
  for (const [timeMs, bytes, ageMs, behind, kept] of cases) expect(isRetained({ timeMs, bytes }, ageMs, behind)).toBe(kept);
  expect(segmentBytes({ timeMs: 0, bytes: 0 }, 1e8)).toBe(1e8);
  expect(segmentBytes({ timeMs: 0, bytes: 80_000_000 }, 1e8)).toBe(10_000_000);
  expect(segmentBytes({ timeMs: 0, bytes: 1 }, 1e8)).toBe(1024 * 1024);
  expect(segmentBytes({ timeMs: 0, bytes: 1e12 }, 1e8)).toBe(1e8);
  expect(segmentAgeMs({ timeMs: 80_000, bytes: 0 })).toBe(10_000);
  expect(segmentAgeMs({ timeMs: 0, bytes: 1 })).toBe(Number.POSITIVE_INFINITY);
});

test("without retention finished messages go; with it they stay, and a channel can go back to them", async () => {
  await using server = WithHttp.start(SMALL);
  await publishAndFinish(server, 20);
  releaseNow(server);
  expect(start(server)).toBeGreaterThan(10);
  const set = await server.json("POST", "/topic/retention?topic=t&time=1h");
  expect(set).toMatchObject({ topic_name: "t", time: "1h0m0s", bytes: 0, default: false });
  const from = start(server);
  await publishAndFinish(server, 20);
  releaseNow(server);
  expect(start(server)).toBe(from);
  const { log } = await server.json("GET", "/topic/retention?topic=t");
  expect(log).toMatchObject({ beginning: from, end: 40, bytes: (40 - from) * (34 + BODY.length) });
  expect(Math.abs(Date.parse(log.oldest) - Date.now())).toBeLessThan(60_000);
  await server.json("POST", "/channel/seek?topic=t&channel=ch&to=beginning");
  const consumer = await server.started.consumer("t", "ch", 100);
  expect(await messages(consumer, 40 - from)).toHaveLength(40 - from);
});

test("retention by bytes keeps at least so much, and lets the oldest go first", async () => {
  await using server = WithHttp.start({ ...SMALL, retentionBytes: 4000 });
  expect(await server.call("POST", "/topic/create?topic=t")).toBe("200");
  await publishAndFinish(server, 40);
  releaseNow(server);
  const kept = (40 - start(server)) * (34 + BODY.length);
  expect(kept).toBeGreaterThanOrEqual(4000);
  // A segment ends behind the message that reaches its size.
  expect(kept).toBeLessThan(4000 + 1024 + 34 + BODY.length);
  await server.json("POST", "/topic/retention?topic=t&bytes=1500");
  releaseNow(server);
  const { log } = await server.json("GET", "/topic/retention?topic=t");
  expect(log.bytes).toBeLessThan(1500 + 1024 + 34 + BODY.length);
  expect(log.bytes).toBeGreaterThanOrEqual(1500);
});

test("retention by time lets go of what is too old, by itself", async () => {
  await using server = WithHttp.start({ ...SMALL, retentionTimeMs: 3_600_000 });
  await publishAndFinish(server, 20);
  releaseNow(server);
  expect(start(server)).toBe(0);
  await server.json("POST", "/topic/retention?topic=t&time=50ms");
  // The last segment goes only when it is large; all before it do.
  await until("the old ones are gone", () => start(server) > 10);
});

test("what a channel has still to get is never let go, however old and however much", async () => {
  await using server = WithHttp.start({ ...SMALL, retentionTimeMs: 1, retentionBytes: 1 });
  await server.call("POST", "/topic/create?topic=t");
  await server.call("POST", "/channel/create?topic=t&channel=slow");
  await publishAndFinish(server, 30);
  releaseNow(server);
  expect(start(server)).toBe(0);
  const slow = await server.started.consumer("t", "slow", 100);
  expect(await messages(slow, 30)).toHaveLength(30);
});

test("a topic's own retention outlives a kill, and goes back to the default", async () => {
  const dataPath = temporaryFolder();
  const options = { dataPath, args: ["--retention-time=1h", "--max-bytes-per-file=1024"] };
  let server = await startServer(options);
  await server.http("POST", "/topic/create?topic=t");
  expect(await (await server.http("GET", "/topic/retention?topic=t")).json()).toMatchObject({ time: "1h0m0s", bytes: 0, default: true });
  await server.http("POST", "/topic/retention?topic=t&time=30m&bytes=5000000");
  await server.http("POST", "/mpub?topic=t", numbers(10).join("\n"));
  await server.stop("SIGKILL");
  server = await startServer(options);
  const retention = await (await server.http("GET", "/topic/retention?topic=t")).json();
  expect(retention).toMatchObject({ time: "30m0s", bytes: 5_000_000, default: false });
  expect(await (await server.http("POST", "/topic/retention?topic=t&default=true")).json()).toMatchObject({
    time: "1h0m0s",
    default: true,
  });
  // Messages that were finished before a restart are there after it.
  const consumer = await RawClient.connect(server.tcpPort);
  await consumer.call("SUB t ch");
  consumer.command("RDY 100");
  for (const { id } of await messages(consumer, 10)) consumer.command(`FIN ${id}`);
  await expectNothing(consumer);
  await server.stop();
  server = await startServer(options);
  const moved = await server.http("POST", "/channel/seek?topic=t&channel=ch&to=beginning");
  expect(await moved.json()).toMatchObject({ sequence: 0, depth: 10 });
  await server.stop();
  removeFolder(dataPath);
});

test("bad arguments are refused", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", "a");
  await server.started.consumer("e#ephemeral", "ch");
  for (const [query, answer] of [
    ["topic=t", "400 MISSING_ARG_TIME"],
    ["topic=t&time=x", "400 INVALID_ARG_TIME"],
    ["topic=t&time=-1s", "400 INVALID_ARG_TIME"],
    ["topic=t&time=1000000h", "400 INVALID_ARG_TIME"],
    ["topic=t&bytes=-1", "400 INVALID_ARG_BYTES"],
    ["topic=t&bytes=1e3", "400 INVALID_ARG_BYTES"],
    ["topic=t&bytes=9999999999999999", "400 INVALID_ARG_BYTES"],
    ["topic=t&default=true&time=1h", "400 INVALID_ARG_DEFAULT"],
    ["topic=none&time=1h", "404 TOPIC_NOT_FOUND"],
    ["time=1h", "400 MISSING_ARG_TOPIC"],
    ["topic=e%23ephemeral&time=1h", "400 EPHEMERAL_TOPIC"],
  ]) {
    const [status, code] = answer.split(" ");
    expect([query, await server.call("POST", `/topic/retention?${query}`)]).toEqual([query, `${status} {"message":"${code}"}`]);
  }
});

test("a retained segment whose index is lost comes back from its records", async () => {
  await using server = WithHttp.start({ ...SMALL, retentionTimeMs: 3_600_000 });
  await publishAndFinish(server, 20);
  const topics = join(server.started.dataPath, "bunsq-data/topics");
  const folder = join(topics, readdirSync(topics).find((name) => name.endsWith("-t")) ?? "");
  const indexes = readdirSync(folder)
    .filter((name) => name.endsWith(".idx"))
    .toSorted();
  expect(indexes.length).toBeGreaterThan(3);
  await server.restart({ ...SMALL, retentionTimeMs: 3_600_000 }, () => unlinkSync(join(folder, indexes[0])));
  expect(start(server)).toBe(0);
  await server.json("POST", "/channel/seek?topic=t&channel=ch&to=beginning");
  const consumer = await server.started.consumer("t", "ch", 100);
  expect(await messages(consumer, 20)).toHaveLength(20);
});
