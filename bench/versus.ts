/**
 * bunsq beside Go's nsqd under sustained load: `bun run bench`; bench/README.md says how it measures.
 *
 * Each workload and round gets newly started servers with their own ports and data paths. The servers run one after the other,
 * in an order that changes from round to round. Exits with 1 if a round failed.
 */
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { findNsqd } from "../test/support/server.ts";
import type { IdleCost, Job, Measurement, PublishLoad, Target } from "./load/job.ts";
import { createChannel, createTopic, untilDeferred, untilDrained, untilFilled, untilPublished } from "./support/broker-stats.ts";
import { peakRssBytes } from "./support/process-usage.ts";
import { isDisturbed, makeReport, type Result, type Run, toMarkdown } from "./support/report.ts";
import { type BenchServer, type BrokerCommands, startBenchServer } from "./support/servers.ts";
import { FILL, type Load, messagesFor, SERVER_KINDS, type ServerKind, WORKLOADS, type Workload } from "./workloads.ts";

const GENERATOR = join(import.meta.dir, "load/generator.ts");
const SOURCE = join(import.meta.dir, "../src/main.ts");
const BINARY = join(import.meta.dir, "../dist/bunsq");

/** The part at the beginning of each run that is not measured, while compilers warm up and buffers grow. */
const WARM_UP_FRACTION = 0.1;
/** No run takes nearly this long. It is less than the heartbeat interval, because the loads do not answer heartbeats. */
const LONGEST_RUN_MS = 50_000;
/** Lines of a server's log that are shown after a failed run. */
const LOG_LINES_SHOWN = 10;

/** Bytes that are written to the page cache before the first round: as many as the largest backlog has. */
const TOUCHED_BYTES = 2 ** 31;

/** These are measured only if they are asked for. */
const OPTIONAL_SERVERS: readonly ServerKind[] = ["nsqd-0", "traced", "baseline"];

const HELP = `usage: bun run bench [flags]

  --rounds=N            rounds per workload (default 5)
  --set=core|all        the core workloads (the default), or all of them (about forty minutes)
  --only=A,B            only these workloads, of either set: ${WORKLOADS.map(({ name }) => name).join(", ")}
  --servers=A,B         only these servers: ${SERVER_KINDS.join(", ")} (default: all but nsqd-0, which is
                        nsqd with --mem-queue-size=0, traced, which is bunsq with all messages traced, and baseline)
  --messages-scale=X    multiply the number of messages (default 1, which is about two seconds per run)
  --bunsq=COMMAND       the command that starts bunsq (default dist/bunsq, or the source if it is not built)
  --baseline=COMMAND    another build of bunsq to measure in turns with this one, for --servers=bunsq,baseline
  --bunsq-args=FLAGS    flags for bunsq, beside addresses and data path (default none)
  --nsqd=PATH           Go's nsqd (default NSQD_BIN, or nsqd on PATH)
  --nsqd-args=FLAGS     flags for nsqd, e.g. --nsqd-args=--mem-queue-size=0
  --json=FILE           write all rounds and the medians as JSON
  --markdown=FILE       write the tables as Markdown
`;

interface Options {
  rounds: number;
  messagesScale: number;
  workloads: Workload[];
  servers: ServerKind[];
  commands: BrokerCommands;
  jsonFile: string | undefined;
  markdownFile: string | undefined;
}

/** @returns undefined if help was asked for @throws Error for an invalid flag */
function parseOptions(args: string[]): Options | undefined {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args,
    options: {
      help: { type: "boolean" },
      rounds: { ...text, default: "5" },
      set: { ...text, default: "core" },
      only: text,
      servers: { ...text, default: SERVER_KINDS.filter((kind) => !OPTIONAL_SERVERS.includes(kind)).join(",") },
      "messages-scale": { ...text, default: "1" },
      bunsq: text,
      baseline: text,
      "bunsq-args": { ...text, default: "" },
      nsqd: text,
      "nsqd-args": { ...text, default: "" },
      json: text,
      markdown: text,
    },
  });
  if (values.help) return undefined;
  const positive = (name: "rounds" | "messages-scale") => {
    const value = Number(values[name]);
    if (!(value > 0)) throw new Error(`--${name} must be a number above 0`);
    return value;
  };
  if (values.set !== "core" && values.set !== "all") throw new Error(`--set must be core or all, not ${values.set}`);
  const names = values.only?.split(",");
  for (const name of names ?? []) {
    if (!WORKLOADS.some((workload) => workload.name === name)) throw new Error(`unknown workload ${name}`);
  }
  const nsqd = values.nsqd ?? (findNsqd() || undefined);
  return {
    rounds: positive("rounds"),
    messagesScale: positive("messages-scale"),
    workloads: WORKLOADS.filter(({ name, set }) => names?.includes(name) ?? (values.set === "all" || set !== "all")),
    servers: values.servers.split(",").map(serverKind),
    commands: {
      bunsq: values.bunsq?.split(" ") ?? (existsSync(BINARY) ? [BINARY, "--mode=broker"] : [process.execPath, SOURCE, "--mode=broker"]),
      baseline: values.baseline?.split(" "),
      bunsqArgs: words(values["bunsq-args"]),
      nsqd: nsqd === undefined ? undefined : [nsqd],
      nsqdArgs: words(values["nsqd-args"]),
    },
    jsonFile: values.json,
    markdownFile: values.markdown,
  };
}

function serverKind(name: string): ServerKind {
  const kind = SERVER_KINDS.find((known) => known === name);
  if (kind === undefined) throw new Error(`unknown server ${name}`);
  return kind;
}

function words(flags: string): string[] {
  return flags.split(" ").filter((word) => word !== "");
}

/** Runs a job in a load generator. @returns its measurement; rejects with its error */
async function generate(job: Job, longestMs = LONGEST_RUN_MS): Promise<Measurement> {
  const child = Bun.spawn([process.execPath, GENERATOR, JSON.stringify(job)], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: longestMs,
  });
  const [output, complaint, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(complaint.trim() || `the load generator ended with ${child.signalCode ?? code}`);
  return JSON.parse(output);
}

/** Runs a workload against a newly started server. */
async function measure(
  kind: ServerKind,
  { load, flags, topic, channel }: Workload,
  wanted: number,
  commands: BrokerCommands,
): Promise<Run> {
  const messages = wholeBatches(load, wanted);
  const server = await startBenchServer(kind, load, messages, withFlags(commands, flags));
  try {
    const target = { tcpPort: server.tcpPort, httpPort: server.httpPort, serverPid: server.pid };
    if (topic !== undefined) await createTopic(server.httpPort, topic);
    const measurement = await run(server, target, load, messages, channel);
    if (measurement.redelivered > 0) throw new Error(`${measurement.redelivered} messages were redelivered`);
    return { ...measurement, peakRssBytes: peakRssBytes(server.pid) };
  } catch (error) {
    console.log(server.log().split("\n").slice(-LOG_LINES_SHOWN).join("\n"));
    return { error: error instanceof Error ? error.message : String(error) };
  } finally {
    await server.stop();
  }
}

/** Adds the flags of a workload. They are last, so they override others. */
function withFlags(commands: BrokerCommands, flags: Workload["flags"]): BrokerCommands {
  if (flags === undefined) return commands;
  return {
    ...commands,
    bunsqArgs: [...commands.bunsqArgs, ...flags.bunsq],
    nsqdArgs: [...commands.nsqdArgs, ...flags.nsqd],
  };
}

/** Runs a load against a server, and checks the state of a broker afterwards. */
async function run(server: BenchServer, target: Target, load: Load, messages: number, channel = ""): Promise<Measurement> {
  if (load.kind === "stall") return stall(target, load, messages);
  if (load.kind === "idle") return generate({ ...load, ...target, consumers: messages });
  if (load.kind === "waves") {
    const measurement = await generate({ ...load, ...target, messages });
    await untilDrained(server.httpPort);
    return measurement;
  }
  if (load.kind === "publish" && load.publish.command === "DPUB") await createChannel(server.httpPort);
  if (load.kind === "drain" && server.isBroker) {
    await createChannel(server.httpPort, channel);
    await fill(server, { ...(load.fill ?? FILL), bodyBytes: load.bodyBytes, json: load.json === true }, messages);
  }
  const measurement = await generate({ ...load, ...target, messages, warmUp: Math.ceil(messages * WARM_UP_FRACTION) });
  if (server.isBroker) await untilSettled(server.httpPort, load, messages);
  return measurement;
}

/** Waits until the broker has the state that it must have after a load. */
async function untilSettled(httpPort: number, load: Load, messages: number): Promise<void> {
  const deferred = (load.kind === "publish" && load.publish.command === "DPUB") || (load.kind === "drain" && load.drain.requeue);
  if (deferred) await untilDeferred(httpPort, messages);
  else if (load.kind === "publish") await untilPublished(httpPort, messages);
  else await untilDrained(httpPort);
}

/** Runs the flood and the client beside it in two processes, so that the client's times do not include the flood's work. */
async function stall(target: Target, load: Load & { kind: "stall" }, seconds: number): Promise<Measurement> {
  const longestMs = LONGEST_RUN_MS + seconds * 1000;
  const [flood, probe] = await Promise.all([
    generate({ kind: "flood", publish: load.publish, seconds, ...target }, longestMs),
    generate({ kind: "probe", intervalMs: load.intervalMs, bodyBytes: load.bodyBytes, seconds, ...target }, longestMs),
  ]);
  await untilPublished(target.httpPort, flood.messages + probe.messages);
  return { ...flood, ...(probe.latencyMs === undefined ? {} : { latencyMs: probe.latencyMs }) };
}

/** Fills the channel with all messages before its drain begins. */
async function fill(server: BenchServer, publish: PublishLoad, messages: number): Promise<void> {
  await generate({ kind: "publish", publish, messages, warmUp: 0, tcpPort: server.tcpPort, httpPort: 0, serverPid: server.pid });
  await untilFilled(server.httpPort, messages);
}

/** Rounds up to a whole number of batches. */
function wholeBatches(load: Load, messages: number): number {
  const batch = load.kind === "drain" ? FILL.batch : "publish" in load && load.kind !== "stall" ? load.publish.batch : 1;
  return Math.ceil(messages / batch) * batch;
}

function describe(run: Run): string {
  if ("error" in run) return `FAILED: ${run.error}`;
  const rate = Math.round(run.messages / run.seconds).toLocaleString("en-US");
  const cpu = ((run.serverCpuSeconds / run.messages) * 1e6).toFixed(2);
  if (run.idle !== undefined) return describeIdle(run.idle);
  const latency = run.latencyMs === undefined ? "" : `, p99 ${run.latencyMs.p99.toFixed(2)} ms`;
  const others = isDisturbed(run) ? `; DISTURBED: other processes kept ${run.othersBusy.toFixed(2)} cores busy` : "";
  return `${rate} msg/s in ${run.seconds.toFixed(1)} s, CPU ${cpu} µs/msg, peak ${Math.round(run.peakRssBytes / 1e6)} MB${latency}${others}`;
}

function describeIdle({ connections, rssBefore, rssWith, openingCpuUs, cpuUsPerSecond }: IdleCost): string {
  const bytes = (rssWith - rssBefore) / connections;
  return `${(bytes / 1024).toFixed(1)} KiB per connection, ${openingCpuUs.toFixed(0)} µs CPU to open one, ${cpuUsPerSecond.toFixed(2)} µs CPU per second for each`;
}

function versions(commands: BrokerCommands): string[] {
  const answers = [commands.bunsq, commands.nsqd].map((command) => {
    if (command === undefined) return "no nsqd";
    return Bun.spawnSync([...command, "--version"])
      .stdout.toString()
      .trim();
  });
  return [...answers, `load generator on Bun ${Bun.version}`];
}

/**
 * Fills the page cache once and empties it. A virtual machine gets each page of its memory from the host at the first touch,
 * which made file writes in the first run after a boot up to five times slower than in later runs.
 */
function touchMemory(): void {
  const folder = mkdtempSync(join(tmpdir(), "bunsq-touch-"));
  try {
    const file = openSync(join(folder, "touched"), "w");
    const block = Buffer.alloc(2 ** 20);
    for (let bytes = 0; bytes < TOUCHED_BYTES; bytes += block.length) writeSync(file, block);
    closeSync(file);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function main(options: Options): Promise<number> {
  const { commands } = options;
  let servers = options.servers;
  if (commands.nsqd === undefined && servers.some((kind) => kind.startsWith("nsqd"))) {
    console.log("skipped: no nsqd (set NSQD_BIN or put it on PATH); measuring the others");
    servers = servers.filter((kind) => kind !== "nsqd" && kind !== "nsqd-0");
  }
  console.log(`bunsq: ${commands.bunsq.join(" ")}`);
  touchMemory();
  const results: Result[] = options.workloads.map((workload) => ({ workload, runs: {} }));
  let failed = false;
  for (let round = 1; round <= options.rounds; round++) {
    for (const { workload, runs } of results) {
      console.log(`\nround ${round} of ${options.rounds}: ${workload.title}`);
      for (const kind of round % 2 === 1 ? servers : servers.toReversed()) {
        const messages = messagesFor(workload, kind);
        if (messages === undefined) continue;
        const run = await measure(kind, workload, messages * options.messagesScale, commands);
        runs[kind] = [...(runs[kind] ?? []), run];
        if ("error" in run) failed = true;
        console.log(`  ${kind.padEnd(9)} ${describe(run)}`);
      }
    }
  }
  const report = makeReport(versions(commands), options.rounds, results);
  const markdown = toMarkdown(report);
  console.log(`\n${markdown}`);
  if (options.jsonFile !== undefined) writeFileSync(options.jsonFile, `${JSON.stringify(report, undefined, 2)}\n`);
  if (options.markdownFile !== undefined) writeFileSync(options.markdownFile, markdown);
  return failed ? 1 : 0;
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options === undefined) console.log(HELP);
  process.exitCode = options === undefined ? 0 : await main(options);
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 2;
}
