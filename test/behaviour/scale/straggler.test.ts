import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { diskBytes, inMib, MIB, memoryBytes } from "../../support/process-watch.ts";
import { RawClient } from "../../support/raw-client.ts";
import { type Program, type Server, startServer, until } from "../../support/server.ts";
import { LeanClient } from "./lean-client.ts";
import { NumberedPublisher, numberOf } from "./numbered.ts";

const PROGRAM = (process.env.BUNSQ_TEST_PROGRAM ?? "bunsq") as Program;
const PASSING = Number(process.env.BUNSQ_SCALE_PASSING ?? 3_000_000);
/**
 * Up to here memory may rise to its level. Half of them: at millions a second the pools, the recycler and the
 * compiled code are not all there after less, and a level read too early makes steady memory look like growth.
 */
const WARM = PASSING / 2;

const MSG_TIMEOUT_MS = 5_000;
const TOUCH_EVERY_MS = 1_000;
/** Published and not yet finished, at most: what may fairly lie on the disk is this and the segment around it. */
const BACKLOG_LIMIT = 50_000;
/** Over the level of the first half: allocator noise and a garbage collector's mood, not growth per message. */
const RSS_MARGIN_BYTES = 40 * MIB;
/** 3 million records are 700 MB; with 8 MiB segments, what is live and a bounded pool of recycled files is far less. */
const DISK_LIMIT_BYTES = 200 * MIB;

const ARGS = [`--msg-timeout=${MSG_TIMEOUT_MS}ms`, "--max-msg-timeout=1h", "--max-bytes-per-file=8388608"];

let server: Server | undefined;
let dataPath = "";

async function start(): Promise<Server> {
  if (dataPath === "") dataPath = mkdtempSync(join(tmpdir(), "bunsq-test-"));
  server = await startServer({ program: PROGRAM, dataPath, args: ARGS });
  return server;
}

afterEach(async () => {
  await server?.stop("SIGKILL");
  rmSync(dataPath, { recursive: true, force: true });
  server = undefined;
  dataPath = "";
});

interface Holder {
  client: RawClient;
  id: string;
}

/** Publishes the first message, numbered 0xffffffff, and takes it without finishing it. */
async function holdOne(broker: Server): Promise<Holder> {
  const client = await RawClient.connect(broker.tcpPort);
  expect(await client.call("SUB stream readers")).toBe("OK");
  client.command("RDY 1");
  client.command("PUB stream", HELD_BODY);
  // nsqd may send the message before the OK.
  const frames = [await client.next(), await client.next()];
  const message = frames.find((frame) => frame.type === "message");
  if (!message) throw new Error(`no message among ${frames.map((frame) => frame.text)}`);
  expect(message.text).toBe(HELD_BODY);
  client.command("RDY 0");
  return { client, id: message.id };
}

const HELD_BODY = "the one that is held";

/** Lets `count` numbered messages through the channel beside the held one, each once and in order. */
async function passBy(broker: Server, count: number, onProgress: (finished: number) => void): Promise<void> {
  let expected = 0;
  let failure: Error | undefined;
  let publisher: NumberedPublisher | undefined;
  const consumer = await LeanClient.connect(broker.tcpPort, {
    message: (buffer, start, end) => {
      try {
        const number = numberOf(buffer, start, end);
        if (PROGRAM === "bunsq" && number !== expected) throw new Error(`expected message ${expected}, got ${number}`);
      } catch (error) {
        failure ??= error as Error;
      }
      expected++;
      return true;
    },
    response: () => {},
  });
  consumer.write(Buffer.from("SUB stream readers\nRDY 2500\n"));
  publisher = await NumberedPublisher.start(broker.tcpPort, "stream", count, (next) => next - expected < BACKLOG_LIMIT);
  await until(
    `${count} messages passed`,
    () => {
      if (failure ?? consumer.failure) throw failure ?? consumer.failure;
      publisher.check();
      publisher.pump();
      onProgress(expected);
      return expected >= count;
    },
    240_000,
  );
  await publisher.done(10_000);
  expect(expected).toBe(count);
  consumer.close();
}

interface ChannelStats {
  depth: number;
  in_flight_count: number;
  deferred_count: number;
  timeout_count: number;
  requeue_count: number;
}

async function channelStats(broker: Server): Promise<ChannelStats> {
  const stats = (await (await broker.http("GET", "/stats?format=json&topic=stream&channel=readers")).json()) as {
    topics: { channels: ChannelStats[] }[];
  };
  const channel = stats.topics[0]?.channels[0];
  if (!channel) throw new Error("the channel is not in /stats");
  return channel;
}

test(`while ${PASSING.toLocaleString("en")} messages pass a held one, memory stays flat, the disk is released, and the held one can be finished`, async () => {
  let broker = await start();
  const pid = broker.process.pid;
  const held = await holdOne(broker);
  const toucher = setInterval(() => held.client.command(`TOUCH ${held.id}`), TOUCH_EVERY_MS);
  let warmBytes = 0;
  let highestAfterBytes = 0;
  let highestDiskBytes = 0;
  let nextLook = 0;
  try {
    await passBy(broker, PASSING, (finished) => {
      if (performance.now() < nextLook) return;
      nextLook = performance.now() + 100;
      const rss = memoryBytes(pid, "VmRSS");
      if (finished <= WARM) warmBytes = Math.max(warmBytes, rss);
      else highestAfterBytes = Math.max(highestAfterBytes, rss);
      highestDiskBytes = Math.max(highestDiskBytes, diskBytes(dataPath));
    });
    await until("only the held message is left", async () => {
      const now = await channelStats(broker);
      return now.in_flight_count === 1 && now.depth === 0 && now.deferred_count === 0;
    });
    const endBytes = memoryBytes(pid, "VmRSS");
    console.log(
      `RSS in the first half: ${inMib(warmBytes)}, in the second: ${inMib(highestAfterBytes)}, at the end: ${inMib(endBytes)}; ` +
        `disk at most ${inMib(highestDiskBytes)}, at the end ${inMib(diskBytes(dataPath))}`,
    );
    expect(warmBytes).toBeGreaterThan(0);
    expect(Math.max(highestAfterBytes, endBytes)).toBeLessThanOrEqual(warmBytes + RSS_MARGIN_BYTES);
    expect(highestDiskBytes).toBeLessThanOrEqual(DISK_LIMIT_BYTES);
  } finally {
    clearInterval(toucher);
  }

  // A PUB's OK behind the FIN proves that the FIN was taken; an error frame would come before it.
  held.client.command(`FIN ${held.id}`);
  expect(await held.client.call("PUB elsewhere", "barrier")).toBe("OK");
  const after = await channelStats(broker);
  expect(after).toMatchObject({ depth: 0, in_flight_count: 0, deferred_count: 0, timeout_count: 0, requeue_count: 0 });
  held.client.close();
  expect(await broker.stop()).toBe(0);

  broker = await start();
  expect(await channelStats(broker)).toMatchObject({ depth: 0, in_flight_count: 0, deferred_count: 0 });
  await expectOnly(broker, []);
}, 500_000);

/** Subscribes and checks that exactly these come, and then, behind them, a message published now. */
async function expectOnly(broker: Server, bodies: string[]): Promise<void> {
  const client = await RawClient.connect(broker.tcpPort);
  expect(await client.call("SUB stream readers")).toBe("OK");
  expect(await client.call("PUB stream", "the last")).toBe("OK");
  // RDY only now: nothing but messages follows.
  client.command("RDY 10");
  const came: string[] = [];
  for (;;) {
    const message = await client.message();
    client.command(`FIN ${message.id}`);
    came.push(message.text);
    if (came.includes("the last") && came.length > bodies.length) break;
  }
  expect(came.sort()).toEqual([...bodies, "the last"].sort());
  client.close();
}

test("a held message comes back whole after a crash although every segment around it is long released", async () => {
  const passing = Math.min(400_000, PASSING);
  let broker = await start();
  const held = await holdOne(broker);
  const toucher = setInterval(() => held.client.command(`TOUCH ${held.id}`), TOUCH_EVERY_MS);
  try {
    await passBy(broker, passing, () => {});
    await until("only the held message is left", async () => {
      const now = await channelStats(broker);
      return now.in_flight_count === 1 && now.depth === 0;
    });
    // What was finished less than 300 ms before a kill may come again by contract: stay clear of it.
    const finishedAt = performance.now();
    await until("the last FINs are 500 ms old", () => performance.now() - finishedAt > 500);
  } finally {
    clearInterval(toucher);
  }
  await broker.stop("SIGKILL");
  if (PROGRAM === "nsqd") return; // nsqd keeps in-flight messages in memory only
  broker = await start();
  await expectOnly(broker, [HELD_BODY]);
  expect(await broker.stop()).toBe(0);
  broker = await start();
  await expectOnly(broker, []);
}, 300_000);
