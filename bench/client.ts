/**
 * Compares client libraries at one broker: ours on Bun and on Node, nsqjs, and go-nsq: `bun run bench:client`.
 *
 * One broker serves the whole run. Each run of a client is a process of its own with one connection and a new topic. The clients
 * take turns in each round, and another one begins in the next round. A ratio is the median of the rounds' ratios. Exits with 1
 * if a run failed. bench/README.md says more.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BrokerClient, Producer } from "../src/client/bun.ts";
import { cleanEnvironment, findNsqd, type Server, startServer } from "../test/support/server.ts";
import { type BenchClient, CLIENT_NAMES, type ClientName, findClients } from "./client/clients.ts";
import type { Act, ClientJob, ClientMeasurement } from "./client/job.ts";
import { type ClientRun, toTables } from "./client/report.ts";
import { CHANNEL, TOPIC } from "./load/wire.ts";
import { createChannel, untilDrained, untilFilled, untilPublished } from "./support/broker-stats.ts";
import { cpuSeconds, machineCpuSeconds } from "./support/process-usage.ts";

const BINARY = join(import.meta.dir, "../dist/bunsq");

const ACTS: readonly Act[] = ["batches", "consume", "singles"];
const BODY_BYTES = 200;
const BATCH = 200;
const MAX_IN_FLIGHT = 2500;
/** Batches that are unanswered at a time. */
const OUTSTANDING_BATCHES = 8;
/** Single messages that are published and then awaited together. */
const AWAITED_SINGLES = 1000;
/** Numbers of messages are multiples of this, so that batches and groups of awaited messages are full. */
const UNIT = OUTSTANDING_BATCHES * 1000;
/** The part of a run's messages that is not measured, while compilers warm up. */
const WARM_UP_FRACTION = 0.25;
const LONGEST_RUN_MS = 120_000;

const HELP = `usage: bun bench/client.ts [flags]

  --rounds=N           rounds (default 5)
  --only=A,B           only these acts: ${ACTS.join(", ")}
  --clients=A,B        only these clients: ${CLIENT_NAMES.join(", ")}
  --messages-scale=X   multiply the numbers of messages (default 1, which is one to two seconds per run)
  --broker=NAME        bunsq or nsqd, Go's (default bunsq)
  --bunsq=COMMAND      the command that starts bunsq (default dist/bunsq, or the source if it is not built)
`;

interface Options {
  rounds: number;
  messagesScale: number;
  acts: Act[];
  clients: ClientName[];
  broker: "bunsq" | "nsqd";
  bunsq: string[] | undefined;
}

/** @returns undefined if help was asked for @throws Error for an invalid flag */
function parseOptions(args: string[]): Options | undefined {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args,
    options: {
      help: { type: "boolean" },
      rounds: { ...text, default: "5" },
      only: { ...text, default: ACTS.join(",") },
      clients: { ...text, default: CLIENT_NAMES.join(",") },
      "messages-scale": { ...text, default: "1" },
      broker: { ...text, default: "bunsq" },
      bunsq: text,
    },
  });
  if (values.help) return undefined;
  const positive = (name: "rounds" | "messages-scale") => {
    const value = Number(values[name]);
    if (!(value > 0)) throw new Error(`--${name} must be a number above 0`);
    return value;
  };
  const [broker] = namesIn(["bunsq", "nsqd"] as const, values.broker, "broker");
  return {
    rounds: positive("rounds"),
    messagesScale: positive("messages-scale"),
    acts: namesIn(ACTS, values.only, "act"),
    clients: namesIn(CLIENT_NAMES, values.clients, "client"),
    broker: broker ?? "bunsq",
    bunsq: values.bunsq?.split(" ") ?? (existsSync(BINARY) ? [BINARY, "--mode=broker"] : undefined),
  };
}

function namesIn<Name extends string>(known: readonly Name[], list: string, what: string): Name[] {
  return list.split(",").map((given) => {
    const name = known.find((one) => one === given);
    if (name === undefined) throw new Error(`unknown ${what} ${given}`);
    return name;
  });
}

async function startBroker({ broker, bunsq }: Options): Promise<Server> {
  if (broker === "bunsq") return startServer(bunsq === undefined ? {} : { command: bunsq });
  const nsqd = findNsqd();
  if (nsqd === undefined) throw new Error("no nsqd: set NSQD_BIN or put it on PATH");
  return startServer({ program: "nsqd", command: [nsqd] });
}

/** Publishes what a consumer is to receive. */
async function fill(server: Server, messages: number): Promise<void> {
  await using producer = new Producer({ brokers: [`127.0.0.1:${server.tcpPort}`], idempotency: false });
  const bodies = Array.from({ length: BATCH }, () => Buffer.alloc(BODY_BYTES, "x"));
  for (let left = messages; left > 0; left -= BATCH) await producer.publishBatch(TOPIC, bodies);
}

/** Runs one client, and checks what the broker has afterwards. */
async function measure(client: BenchClient, act: Act, server: Server, scale: number): Promise<ClientRun> {
  const messages = Math.ceil((client.messages[act] * scale) / UNIT) * UNIT;
  const warmUp = Math.ceil((messages * WARM_UP_FRACTION) / UNIT) * UNIT;
  const job: ClientJob = {
    act,
    address: `127.0.0.1:${server.tcpPort}`,
    topic: TOPIC,
    channel: CHANNEL,
    messages,
    warmUp,
    bodyBytes: BODY_BYTES,
    batch: BATCH,
    outstanding: act === "batches" ? OUTSTANDING_BATCHES : AWAITED_SINGLES,
    maxInFlight: MAX_IN_FLIGHT,
  };
  if (act === "consume") {
    await createChannel(server.httpPort);
    await fill(server, messages + warmUp);
    await untilFilled(server.httpPort, messages + warmUp);
  }
  const { measured, othersBusy } = await runProgram(client, job, server);
  if (act === "consume") await untilDrained(server.httpPort);
  else await untilPublished(server.httpPort, messages + warmUp);
  await new BrokerClient(`127.0.0.1:${server.httpPort}`).deleteTopic(TOPIC);
  return { ...measured, messages, othersBusy };
}

async function runProgram(client: BenchClient, job: ClientJob, server: Server) {
  const before = { timeMs: performance.now(), ours: ourCpuSeconds(server), machine: machineCpuSeconds() };
  const child = Bun.spawn([...client.command, JSON.stringify(job)], {
    env: cleanEnvironment(),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: LONGEST_RUN_MS,
  });
  const [output, complaint, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`${client.name}, ${job.act}: ${complaint.trim() || `ended with ${child.signalCode ?? code}`}`);
  const measured: ClientMeasurement = JSON.parse(output);
  const childSeconds = Number(child.resourceUsage()?.cpuTime.total ?? 0n) / 1e6;
  const ours = ourCpuSeconds(server) - before.ours + childSeconds;
  const seconds = (performance.now() - before.timeMs) / 1000;
  return { measured, othersBusy: Math.max(0, (machineCpuSeconds() - before.machine - ours) / seconds) };
}

function ourCpuSeconds(server: Server): number {
  return cpuSeconds(process.pid) + cpuSeconds(server.process.pid);
}

function describe(run: ClientRun): string {
  const rate = Math.round(run.messages / run.seconds).toLocaleString("en-US");
  const cpu = ((run.cpuSeconds / run.messages) * 1e6).toFixed(2);
  return `${rate} msg/s in ${run.seconds.toFixed(2)} s, CPU ${cpu} µs/msg; others kept ${run.othersBusy.toFixed(2)} cores busy`;
}

/** Begins with another one in each round. */
function turns<One>(all: readonly One[], round: number): One[] {
  const first = round % all.length;
  return [...all.slice(first), ...all.slice(0, first)];
}

async function main(options: Options): Promise<void> {
  using found = await findClients(options.clients);
  for (const reason of found.missing) console.log(`skipped ${reason}`);
  await using server = await startBroker(options);
  const results = options.acts.map((act) => ({ act, runs: new Map<ClientName, ClientRun[]>() }));
  for (let round = 0; round < options.rounds; round++) {
    for (const { act, runs } of results) {
      console.log(`\nround ${round + 1} of ${options.rounds}: ${act}`);
      for (const client of turns(found.clients, round)) {
        const run = await measure(client, act, server, options.messagesScale);
        console.log(`  ${client.name.padEnd(11)}${describe(run)}`);
        runs.set(client.name, [...(runs.get(client.name) ?? []), run]);
      }
    }
  }
  console.log(`\nAt ${options.broker}, medians of ${options.rounds} rounds, Bun ${Bun.version}.\n\n${toTables(results)}`);
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options === undefined) console.log(HELP);
  else await main(options);
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
