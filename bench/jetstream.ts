/**
 * A cluster of three bunsq beside NATS JetStream with three replicas: `npx bun bench/jetstream.ts`; bench/README.md says how it measures.
 *
 *     --rounds=N           default 5; the tables have medians
 *     --only=A,B           workloads by their names
 *     --messages-scale=X   multiply the number of messages
 *     --warm-up=X          default 0.1: the first messages of a run, as a part of all, are not measured
 *     --bunsq=COMMAND      the command that starts bunsq (default dist/bunsq, or the source if it is not built)
 *
 * Each workload and round gets newly started servers of both, in turns.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ClusterProcesses, type ClusterServer } from "../test/behaviour/cluster/support/cluster-processes.ts";
import { ClusterRecords } from "../test/behaviour/cluster/support/cluster-records.ts";
import { makeTopics } from "../test/behaviour/cluster/support/make-topics.ts";
import { missing } from "../test/support/needs.ts";
import { until } from "../test/support/server.ts";
import type { Job, Measurement, PublishLoad } from "./load/job.ts";
import type { NatsJob } from "./load/nats/nats-job.ts";
import { CHANNEL, TOPIC } from "./load/wire.ts";
import { findNatsServer, NatsServers } from "./support/nats-servers.ts";
import { median } from "./support/statistics.ts";

const BINARY = join(import.meta.dir, "../dist/bunsq");
const SOURCE = join(import.meta.dir, "../src/main.ts");
const BODY_BYTES = 200;
const REPLICAS = 3;
const LONGEST_RUN_MS = 50_000;
const PLACE = { host: "127.0.0.1", prefix: [] };

interface Workload {
  name: string;
  title: string;
  connections: number;
  batch: number;
  outstanding: number;
  asTrains: boolean;
  /** Whether a majority of disks must have a message before it is acknowledged. */
  syncs: boolean;
  /** Above 0: messages a second, of which the time until their delivery is measured. */
  perSecond: number;
  messages: { bunsq: number; jetstream: number };
}

const MPUB = { connections: 2, batch: 200, outstanding: 1, asTrains: false, syncs: false, perSecond: 0 };
const PUB = { ...MPUB, connections: 16, batch: 1, outstanding: 32, asTrains: true };

const WORKLOADS: readonly Workload[] = [
  { ...MPUB, name: "mpub", title: "200 × 200 B, 2 connections, 1 batch outstanding", messages: { bunsq: 1_000_000, jetstream: 100_000 } },
  {
    ...MPUB,
    name: "mpub-8",
    title: "200 × 200 B, 2 connections, 8 batches outstanding",
    outstanding: 8,
    messages: { bunsq: 1_500_000, jetstream: 150_000 },
  },
  { ...PUB, name: "pub-32", title: "single messages, 16 connections, 32 outstanding", messages: { bunsq: 500_000, jetstream: 100_000 } },
  {
    ...MPUB,
    name: "mpub-sync",
    title: "200 × 200 B, 2 connections, synced on a majority",
    syncs: true,
    messages: { bunsq: 400_000, jetstream: 40_000 },
  },
  {
    ...PUB,
    name: "pub-32-sync",
    title: "single messages, 16 connections, 32 outstanding, synced on a majority",
    syncs: true,
    messages: { bunsq: 200_000, jetstream: 40_000 },
  },
  {
    ...PUB,
    name: "latency-5k",
    title: "5,000 a second, until delivered",
    perSecond: 5_000,
    messages: { bunsq: 25_000, jetstream: 25_000 },
  },
];

type System = "bunsq" | "jetstream";

async function generate(program: string, job: Job | NatsJob): Promise<Measurement> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, program), JSON.stringify(job)], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: LONGEST_RUN_MS,
  });
  const [output, complaint, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(complaint.trim() || `the load generator ended with ${child.signalCode ?? code}`);
  return JSON.parse(output) as Measurement;
}

/** How many messages at the beginning of a run are not measured. */
function warmUpOf(messages: number): number {
  return Math.ceil(messages * warmUpPart);
}

async function measureJetStream(workload: Workload, messages: number, program: string): Promise<Measurement> {
  await using servers = await NatsServers.start(program, workload.syncs);
  const isLatency = workload.perSecond > 0;
  if (isLatency) await servers.makeConsumer();
  const [serverPid = 0, ...morePids] = servers.pids;
  return await generate("load/nats/generator.ts", {
    ...workload,
    kind: isLatency ? "latency" : "publish",
    // A train is what waits together: the next one is sent when all of it is acknowledged.
    ...(workload.asTrains && { batch: workload.outstanding, outstanding: 1 }),
    port: await servers.leaderPort(),
    serverPid,
    morePids,
    bodyBytes: BODY_BYTES,
    messages,
    warmUp: warmUpOf(messages),
  });
}

async function measureBunsq(workload: Workload, messages: number, program: string[]): Promise<Measurement> {
  const places = Array.from({ length: REPLICAS }, () => PLACE);
  await using cluster = await ClusterProcesses.start({
    etcdMembers: REPLICAS,
    lookups: [],
    brokers: places,
    program,
    brokerFlags: workload.syncs ? ["--durability=fsync"] : [],
  });
  const { ports } = await leaderOf(cluster, workload);
  const [serverPid = 0, ...morePids] = [...cluster.brokers.map(({ pid }) => pid), ...cluster.etcd.pids];
  const target = {
    ...ports,
    serverPid,
    morePids,
    messages,
    warmUp: warmUpOf(messages),
    bodyBytes: BODY_BYTES,
  };
  if (workload.perSecond > 0) return await generate("load/generator.ts", { kind: "latency", perSecond: workload.perSecond, ...target });
  const { connections, batch, outstanding, asTrains } = workload;
  const publish: PublishLoad = { command: batch > 1 ? "MPUB" : "PUB", connections, batch, outstanding, asTrains, bodyBytes: BODY_BYTES };
  return await generate("load/generator.ts", { kind: "publish", publish, ...target });
}

/** Makes the topic, with a channel. @returns the broker that leads it, once all replicas are in sync */
async function leaderOf(cluster: ClusterProcesses, { syncs }: Workload): Promise<ClusterServer> {
  const records = new ClusterRecords(cluster.etcd.endpoints);
  await makeTopics(cluster.etcd.endpoints, REPLICAS, [{ topic: TOPIC, partitions: 1 }], syncs ? "fsync" : "write");
  let leader: ClusterServer | undefined;
  await until("all replicas are in sync", async () => {
    const [placed] = await records.partitions([TOPIC]);
    leader = cluster.brokers.find(({ tcp }) => tcp === records.addressOf(placed?.record.leader ?? ""));
    return leader !== undefined && placed?.record.inSync.length === REPLICAS;
  });
  const found = leader as ClusterServer;
  await until("the channel is made", async () => {
    return (await found.call("POST", `/channel/create?topic=${TOPIC}&channel=${CHANNEL}`)).status === 200;
  });
  return found;
}

function describe({ messages, seconds, serverCpuSeconds, latencyMs, othersBusy }: Measurement): string {
  const rate = Math.round(messages / seconds).toLocaleString("en-US");
  const cpu = ((serverCpuSeconds / messages) * 1e6).toFixed(2);
  const age = latencyMs === undefined ? "" : `, p50 ${latencyMs.p50.toFixed(2)} ms, p99 ${latencyMs.p99.toFixed(2)} ms`;
  return `${rate} msg/s, CPU of all servers ${cpu} µs/msg${age}; others busy ${othersBusy.toFixed(2)}`;
}

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    only: { type: "string" },
    "messages-scale": { type: "string", default: "1" },
    "warm-up": { type: "string", default: "0.1" },
    bunsq: { type: "string" },
  },
});
const warmUpPart = Number(values["warm-up"]);
if (!(warmUpPart >= 0 && warmUpPart < 1))
  throw new Error("--warm-up must be from 0 to below 1: a run without measured messages has no rate");
const bunsq = values.bunsq?.split(" ") ?? (existsSync(BINARY) ? [BINARY] : [process.execPath, SOURCE]);
const nats = findNatsServer();
const lacks = missing("etcd");
if (lacks !== undefined) throw new Error(`${lacks}: a cluster needs it`);
if ("missing" in nats) console.log(`skipped: ${nats.missing}; measuring bunsq alone`);
const systems: System[] = "missing" in nats ? ["bunsq"] : ["bunsq", "jetstream"];
const workloads = WORKLOADS.filter(({ name }) => values.only?.split(",").includes(name) ?? true);
const runs = new Map<string, Measurement[]>();
let failed = false;
for (let round = 1; round <= Number(values.rounds); round++) {
  for (const workload of workloads) {
    console.log(`\nround ${round} of ${values.rounds}: ${workload.title}`);
    for (const system of round % 2 === 1 ? systems : systems.toReversed()) {
      const batch = workload.asTrains ? workload.connections * workload.outstanding : workload.batch;
      const messages = Math.ceil((workload.messages[system] * Number(values["messages-scale"])) / batch) * batch;
      try {
        const measured =
          system === "bunsq"
            ? await measureBunsq(workload, messages, bunsq)
            : await measureJetStream(workload, messages, "program" in nats ? nats.program : "");
        console.log(`  ${system.padEnd(9)} ${describe(measured)}`);
        const key = `${workload.name} ${system}`;
        runs.set(key, [...(runs.get(key) ?? []), measured]);
      } catch (error) {
        failed = true;
        console.log(`  ${system.padEnd(9)} FAILED: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }
}

/** The median of a figure over the rounds. */
function of(name: string, system: System, figure: (measured: Measurement) => number): number {
  return median((runs.get(`${name} ${system}`) ?? []).map(figure));
}

const rate = ({ messages, seconds }: Measurement) => messages / seconds;
const cpu = ({ messages, serverCpuSeconds }: Measurement) => (serverCpuSeconds / messages) * 1e6;
const whole = (value: number) => Math.round(value).toLocaleString("en-US");
console.log("\n| | bunsq msg/s | JetStream msg/s | ratio | bunsq CPU µs/msg | JetStream CPU µs/msg | ratio |");
console.log("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
for (const { name, title } of workloads) {
  const [ourRate, theirRate] = [of(name, "bunsq", rate), of(name, "jetstream", rate)];
  const [ourCpu, theirCpu] = [of(name, "bunsq", cpu), of(name, "jetstream", cpu)];
  console.log(
    `| ${title} | ${whole(ourRate)} | ${whole(theirRate)} | ${(ourRate / theirRate).toFixed(1)} | ` +
      `${ourCpu.toFixed(2)} | ${theirCpu.toFixed(2)} | 1/${(theirCpu / ourCpu).toFixed(1)} |`,
  );
}
for (const { name, title } of workloads.filter(({ perSecond }) => perSecond > 0)) {
  console.log(`\n| ${title} | p50 ms | p99 ms | p99.9 ms |\n| --- | ---: | ---: | ---: |`);
  for (const system of systems) {
    const age = (which: "p50" | "p99" | "p999") => of(name, system, ({ latencyMs }) => latencyMs?.[which] ?? Number.NaN).toFixed(2);
    console.log(`| ${system} | ${age("p50")} | ${age("p99")} | ${age("p999")} |`);
  }
}
process.exitCode = failed ? 1 : 0;
