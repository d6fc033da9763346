import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { diskBytes, inMib, MIB, memoryBytes } from "../../support/process-watch.ts";
import { type Server, startServer, until } from "../../support/server.ts";
import { LeanClient } from "./lean-client.ts";

/** BUNSQ_SCALE_DEFERRED=10000000 for the large run, about four minutes. */
const COUNT = Number(process.env.BUNSQ_SCALE_DEFERRED ?? 100_000);
/** So many fall due in a second. */
const PER_SECOND = Number(process.env.BUNSQ_SCALE_DUE_PER_SECOND ?? (COUNT > 1_000_000 ? 100_000 : 40_000));
/** Prime, and so coprime to the count: messages come in another order than that in which they fall due. */
const STRIDE = 7_368_787;
const BODY_BYTES = 200;
const COMMAND_BYTES = 256;
const TRAIN = 256;
const OUTSTANDING_TRAINS = 8;
const TOPIC = "timers";
/** Before the first falls due, for publishing and a restart after a kill. */
const LEAD_MS = 4_000 + COUNT / 130;
/** However many wait: what is in memory is what falls due in the next seconds, and the loaded code. */
const RSS_LIMIT_BYTES = 500 * MIB;

let server: Server | undefined;
let dataPath = "";

afterEach(async () => {
  await server?.stop("SIGKILL");
  if (dataPath !== "") rmSync(dataPath, { recursive: true, force: true });
  server = undefined;
});

async function start(): Promise<Server> {
  if (dataPath === "") dataPath = mkdtempSync(join(tmpdir(), "bunsq-test-"));
  server = await startServer({ dataPath });
  return server;
}

function wallMs(): number {
  return performance.timeOrigin + performance.now();
}

/** When message `n` falls due, after the first. */
function dueAfterMs(n: number): number {
  return (((n * STRIDE) % COUNT) / PER_SECOND) * 1000;
}

/** Publishes all messages; each body holds its number and when it is to come, not before. */
async function publishAll(port: number, firstDueMs: number): Promise<void> {
  let next = 0;
  let acknowledged = 0;
  const trains: Buffer[] = [];
  const client = await LeanClient.connect(port, {
    message: () => false,
    response: () => {
      acknowledged++;
      if (next - acknowledged <= (OUTSTANDING_TRAINS - 1) * TRAIN) pump();
    },
  });
  const pump = () => {
    while (client.idle && next < COUNT && next - acknowledged <= (OUTSTANDING_TRAINS - 1) * TRAIN) {
      const train = trains[0] ?? Buffer.alloc(TRAIN * COMMAND_BYTES, 0x2e);
      trains[0] = train;
      let at = 0;
      for (let i = 0; i < TRAIN && next < COUNT; i++, next++) {
        const dueMs = firstDueMs + dueAfterMs(next);
        const deferMs = Math.max(1, Math.ceil(dueMs - wallMs()));
        at += train.write(`DPUB ${TOPIC} ${deferMs}\n`, at, "latin1");
        train.writeUInt32BE(BODY_BYTES, at);
        train.writeUInt32BE(next, at + 4);
        train.writeDoubleBE(dueMs, at + 8);
        at += 4 + BODY_BYTES;
      }
      // One buffer for all trains: the next may be laid out only once the socket holds nothing of this one.
      client.write(train.subarray(0, at));
    }
  };
  pump();
  await until(
    "all are acknowledged",
    () => {
      if (client.failure !== undefined) throw client.failure;
      pump();
      return acknowledged === COUNT;
    },
    60_000 + COUNT / 20,
  );
  client.close();
}

test(`${COUNT.toLocaleString("en")} deferred messages come once each when they are due, after a kill, and memory stays bounded`, async () => {
  let broker = await start();
  await broker.http("POST", `/topic/create?topic=${TOPIC}`);
  await broker.http("POST", `/channel/create?topic=${TOPIC}&channel=c`);
  const began = performance.now();
  const firstDueMs = wallMs() + LEAD_MS;
  await publishAll(broker.tcpPort, firstDueMs);
  const publishedS = (performance.now() - began) / 1000;
  const rssPublished = memoryBytes(broker.process.pid, "VmHWM");
  await broker.stop("SIGKILL");
  const restarted = performance.now();
  broker = await start();
  const restartMs = performance.now() - restarted;
  const rssRestarted = memoryBytes(broker.process.pid, "VmHWM");
  const stats = (await (await broker.http("GET", "/stats?format=json")).json()) as {
    topics: { channels: { deferred_count: number }[] }[];
  };
  expect(stats.topics[0]?.channels[0]?.deferred_count).toBe(COUNT);
  const disk = diskBytes(dataPath);
  const firstDueInMs = firstDueMs - wallMs();

  const seen = new Uint8Array(COUNT);
  // Lateness in whole ms; the last place is for all beyond.
  const lateness = new Uint32Array(10_001);
  let received = 0;
  let twice = 0;
  let early = 0;
  const consumer = await LeanClient.connect(broker.tcpPort, {
    message: (buffer, start) => {
      const number = buffer.readUInt32BE(start);
      const lateMs = wallMs() - buffer.readDoubleBE(start + 4);
      if (seen[number] !== 0) twice++;
      seen[number] = 1;
      // Clocks are read in two processes, and rounded to a millisecond in one.
      if (lateMs < -5) early++;
      lateness[Math.min(lateness.length - 1, Math.max(0, Math.floor(lateMs)))]++;
      received++;
      return true;
    },
    response: () => {},
  });
  consumer.write(Buffer.from(`SUB ${TOPIC} c\nRDY 2500\n`));
  let highestRss = 0;
  await until(
    "all have come",
    () => {
      if (consumer.failure !== undefined) throw consumer.failure;
      highestRss = Math.max(highestRss, memoryBytes(broker.process.pid, "VmRSS"));
      return received >= COUNT;
    },
    60_000 + LEAD_MS + (COUNT / PER_SECOND) * 4_000,
  );
  const percentile = (share: number) => {
    let left = COUNT * share;
    return lateness.findIndex((count) => {
      left -= count;
      return left <= 0;
    });
  };
  console.log(
    `published at ${Math.round(COUNT / publishedS).toLocaleString("en")}/s, RSS at most ${inMib(rssPublished)}; disk ${inMib(disk)}; ` +
      `up again after ${restartMs.toFixed(0)} ms (${firstDueInMs.toFixed(0)} ms before the first was due), RSS ${inMib(rssRestarted)}; ` +
      `due at ${PER_SECOND.toLocaleString("en")}/s: late by ${percentile(0.5)} ms (p50), ${percentile(0.99)} (p99), ` +
      `${percentile(0.9999)} (p99.99), at most ${lateness.findLastIndex((count) => count > 0)}; RSS at most ${inMib(highestRss)}`,
  );
  expect({ received, twice, early }).toEqual({ received: COUNT, twice: 0, early: 0 });
  expect(Math.max(rssPublished, rssRestarted, highestRss)).toBeLessThanOrEqual(RSS_LIMIT_BYTES);
  consumer.close();
  await until("no bucket is left", async () => diskBytes(join(dataPath, "bunsq-data/deferred")) === 0);
  expect(await broker.stop()).toBe(0);
  server = undefined;
}, 600_000);
