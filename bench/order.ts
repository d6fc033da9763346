/**
 * What the order of keys is worth: `bun bench/order.ts`. 4 partitions have messages of 10,000 keys, and 8 consumers work 1 ms on each
 * message, on all that they have at once. The channel delivers in the order of partitions, in that of keys, and in that of keys with a
 * message that is never finished. They take turns, each with a newly started broker; the table shows medians.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { startServer } from "../test/support/server.ts";
import { LoadConnection } from "./load/connection.ts";
import { HoldingConsumer } from "./load/holding-consumer.ts";
import { CHANNEL, SUBSCRIBE, sized, TOPIC } from "./load/wire.ts";
import { createChannel, createTopic, untilFilled } from "./support/broker-stats.ts";
import { median } from "./support/statistics.ts";

const BINARY = join(import.meta.dir, "../dist/bunsq");
const SOURCE = join(import.meta.dir, "../src/main.ts");

const PARTITIONS = 4;
const KEYS = 10_000;
const CONSUMERS = 8;
const RDY = 250;
const HOLD_MS = 1;
const BATCH = 200;
/** A run ends after this long, or earlier when all are finished. */
const LONGEST_MS = 5_000;
/** The part of a run that is not measured. */
const WARM_UP_MS = 1_000;
/** The key whose first message is never finished, where one hangs. */
const HANGING = "customer-0";

interface Way {
  name: string;
  order: "key" | "partition";
  messages: number;
  hangs: boolean;
}

const WAYS: readonly Way[] = [
  { name: "order of partitions", order: "partition", messages: 60_000, hangs: false },
  { name: "order of keys", order: "key", messages: 1_500_000, hangs: false },
  { name: "order of keys, one hangs", order: "key", messages: 1_500_000, hangs: true },
];

/** @returns finished messages per second */
async function measure({ order, messages, hangs }: Way, command: string[]): Promise<number> {
  const server = await startServer({ program: "bunsq", command, args: [] });
  try {
    await createTopic(server.httpPort, `partition_num=${PARTITIONS}`);
    await createChannel(server.httpPort, `ordered=${order}`);
    await fill(server.tcpPort, messages);
    await untilFilled(server.httpPort, messages);
    return await consume(server.tcpPort, messages, hangs);
  } finally {
    await server.stop("SIGKILL");
  }
}

/** Publishes messages whose bodies are their keys. */
async function fill(tcpPort: number, messages: number): Promise<void> {
  const connection = await LoadConnection.identify(tcpPort);
  for (let from = 0; from < messages; from += BATCH) await connection.greet(batchOf(from));
  connection.end();
}

function batchOf(from: number): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(BATCH);
  const messages = Array.from({ length: BATCH }, (_, n) => {
    const key = `customer-${(from + n) % KEYS}`;
    const header = Buffer.from(JSON.stringify({ "##key": key }));
    const length = Buffer.alloc(2);
    length.writeUInt16BE(header.length);
    return sized(Buffer.concat([length, header, Buffer.from(key)]));
  });
  return Buffer.concat([Buffer.from(`MPUB_EXT ${TOPIC}\n`), sized(Buffer.concat([count, ...messages]))]);
}

async function consume(tcpPort: number, messages: number, hangs: boolean): Promise<number> {
  let finished = 0;
  let measured = 0;
  let startedAtMs = performance.now();
  let isWarm = false;
  const connections = await Promise.all(Array.from({ length: CONSUMERS }, () => LoadConnection.subscribe(tcpPort, SUBSCRIBE)));
  await new Promise<void>((resolve) => {
    const onFinished = (count: number) => {
      finished += count;
      if (isWarm) measured += count;
      // Those behind a message that hangs never come.
      if (finished >= messages * (1 - 1 / KEYS) - 1) resolve();
    };
    const takes = (body: Buffer) => !hangs || body.toString("latin1") !== HANGING;
    for (const connection of connections) new HoldingConsumer(connection, HOLD_MS, takes, onFinished).ready(RDY);
    setTimeout(() => {
      isWarm = true;
      startedAtMs = performance.now();
    }, WARM_UP_MS);
    setTimeout(resolve, WARM_UP_MS + LONGEST_MS);
  });
  const seconds = (performance.now() - startedAtMs) / 1000;
  for (const connection of connections) connection.end();
  return measured / seconds;
}

const { values } = parseArgs({ options: { rounds: { type: "string", default: "3" }, bunsq: { type: "string" } } });
const command = values.bunsq?.split(" ") ?? (existsSync(BINARY) ? [BINARY, "--mode=broker"] : [process.execPath, SOURCE, "--mode=broker"]);
const rates = new Map(WAYS.map(({ name }) => [name, [] as number[]]));
for (let round = 1; round <= Number(values.rounds); round++) {
  for (const way of round % 2 === 1 ? WAYS : WAYS.toReversed()) {
    const rate = await measure(way, command);
    rates.get(way.name)?.push(rate);
    console.log(`round ${round}, ${way.name}: ${Math.round(rate).toLocaleString("en-US")} messages a second`);
  }
}
const [partitions = 1] = WAYS.map(({ name }) => median(rates.get(name) ?? []));
console.log(`\nchannel ${CHANNEL}, ${PARTITIONS} partitions, ${KEYS} keys, ${CONSUMERS} consumers, ${HOLD_MS} ms a message\n`);
console.log("| | messages a second | times |\n| --- | ---: | ---: |");
for (const { name } of WAYS) {
  const rate = median(rates.get(name) ?? []);
  console.log(`| ${name} | ${Math.round(rate).toLocaleString("en-US")} | ${(rate / partitions).toFixed(1)} |`);
}
