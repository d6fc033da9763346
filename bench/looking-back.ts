/**
 * Measures replay and inspection: `bun bench/looking-back.ts`.
 *
 *     --messages=N       messages in the log (default 10,000,000)
 *     --replay=N         how many of them are replayed to a new channel from a timestamp on (default 5,000,000)
 *     --rounds=N         drains without and with a peek per second (default 5)
 *     --peeks=N          timed peeks at random depths (default 300)
 *     --bunsq=COMMAND    the command that starts bunsq (default dist/bunsq, or the source if it is not built)
 *
 * Runs one broker with --retention-time. A first channel drains the full log; replays are compared with this drain. On the same
 * log follow a replay from a timestamp, peeks at random depths of the full backlog, and drains of it, alternately with and
 * without a peek per second.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { startServer } from "../test/support/server.ts";
import type { Job, Measurement } from "./load/job.ts";
import { CHANNEL, TOPIC } from "./load/wire.ts";
import { createChannel, untilDrained, untilFilled } from "./support/broker-stats.ts";
import { peakRssBytes } from "./support/process-usage.ts";
import { median, quantile } from "./support/statistics.ts";
import { FILL } from "./workloads.ts";

const GENERATOR = join(import.meta.dir, "load/generator.ts");
const SOURCE = join(import.meta.dir, "../src/main.ts");
const BINARY = join(import.meta.dir, "../dist/bunsq");
const DRAIN = { consumers: 2, rdy: 2500 };

const { values: flags } = parseArgs({
  options: {
    messages: { type: "string", default: "10000000" },
    replay: { type: "string", default: "5000000" },
    rounds: { type: "string", default: "5" },
    peeks: { type: "string", default: "300" },
    bunsq: { type: "string", default: existsSync(BINARY) ? BINARY : `${process.execPath} ${SOURCE}` },
  },
});
const total = wholeBatches(Number(flags.messages));
const replayed = Math.min(wholeBatches(Number(flags.replay)), total);

function wholeBatches(messages: number): number {
  return Math.ceil(messages / FILL.batch) * FILL.batch;
}

async function generate(job: Job): Promise<Measurement> {
  const child = Bun.spawn([process.execPath, GENERATOR, JSON.stringify(job)], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [output, complaint, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(complaint.trim());
  return JSON.parse(output);
}

const server = await startServer({ command: [...flags.bunsq.split(" "), "--mode=broker"], args: ["--retention-time=24h"] });
const target = { tcpPort: server.tcpPort, httpPort: server.httpPort, serverPid: server.process.pid };

async function call(method: string, path: string): Promise<string> {
  const response = await server.http(method, path);
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text;
}

async function fill(messages: number): Promise<void> {
  if (messages > 0) await generate({ kind: "publish", publish: FILL, messages, warmUp: 0, ...target, httpPort: 0 });
}

/** @returns messages per second, without the first tenth */
async function drain(messages: number): Promise<{ perSecond: number; cpuUs: number }> {
  const measured = await generate({ kind: "drain", drain: DRAIN, messages, warmUp: Math.ceil(messages / 10), ...target });
  await untilDrained(server.httpPort);
  if (measured.redelivered > 0) throw new Error(`${measured.redelivered} messages were redelivered`);
  return { perSecond: measured.messages / measured.seconds, cpuUs: (measured.serverCpuSeconds / measured.messages) * 1e6 };
}

/** Requests a page at a random depth. @returns the time until its answer, ms */
async function peek(beginning: number): Promise<number> {
  const from = beginning + Math.floor(Math.random() * total);
  const startMs = performance.now();
  const page = JSON.parse(await call("GET", `/topic/messages?topic=${TOPIC}&from=${from}&limit=10`));
  const tookMs = performance.now() - startMs;
  if (page.messages[0]?.sequence !== from) throw new Error(`asked for ${from}, got ${page.messages[0]?.sequence}`);
  return tookMs;
}

function show(name: string, { perSecond, cpuUs }: { perSecond: number; cpuUs: number }): void {
  console.log(
    `${name.padEnd(44)} ${Math.round(perSecond).toLocaleString("en-US").padStart(10)} msg/s   ${cpuUs.toFixed(2)} µs CPU a message`,
  );
}

const newChannel = (start: string) => call("POST", `/channel/create?topic=${TOPIC}&channel=${CHANNEL}&start=${start}`);
const dropChannel = () => call("POST", `/channel/delete?topic=${TOPIC}&channel=${CHANNEL}`);

try {
  await createChannel(server.httpPort);
  await fill(total - replayed);
  await Bun.sleep(5);
  const timestamp = new Date().toISOString();
  await Bun.sleep(5);
  await fill(replayed);
  await untilFilled(server.httpPort, total);
  show(`SUB drain of ${total.toLocaleString("en-US")}`, await drain(total));

  await dropChannel();
  await newChannel(timestamp);
  // The channel has exactly the messages that were published after the timestamp.
  await untilFilled(server.httpPort, replayed);
  show(`replay of ${replayed.toLocaleString("en-US")} from a timestamp`, await drain(replayed));

  const beginning = JSON.parse(await call("GET", `/topic/retention?topic=${TOPIC}`)).log.beginning as number;
  await call("POST", `/channel/seek?topic=${TOPIC}&channel=${CHANNEL}&to=beginning`);
  const times = new Float64Array(Number(flags.peeks));
  for (let i = 0; i < 20; i++) await peek(beginning);
  for (let i = 0; i < times.length; i++) times[i] = await peek(beginning);
  times.sort();
  const ms = (fraction: number) => `${quantile(times, fraction).toFixed(2)} ms`;
  console.log(`peek at random depths of ${total.toLocaleString("en-US")}`.padEnd(44), `p50 ${ms(0.5)}, p99 ${ms(0.99)}, longest ${ms(1)}`);

  const rates: Record<"without" | "with", number[]> = { without: [], with: [] };
  const during: number[] = [];
  for (let round = 0; round < Number(flags.rounds); round++) {
    for (const kind of round % 2 === 0 ? (["without", "with"] as const) : (["with", "without"] as const)) {
      await call("POST", `/channel/seek?topic=${TOPIC}&channel=${CHANNEL}&to=beginning`);
      const timer = kind === "with" ? setInterval(() => void peek(beginning).then((tookMs) => during.push(tookMs)), 1000) : undefined;
      const measured = await drain(total);
      clearInterval(timer);
      show(`drain ${kind} a peek per second`, measured);
      rates[kind].push(measured.perSecond);
    }
  }
  const change = (median(rates.with) / median(rates.without) - 1) * 100;
  console.log(`medians: a peek per second changes the rate by ${change.toFixed(1)} %`);
  if (during.length > 0)
    console.log(`these peeks, under full load: median ${median(during).toFixed(2)} ms, longest ${Math.max(...during).toFixed(2)} ms`);
  console.log(`peak memory ${Math.round(peakRssBytes(server.process.pid) / 1e6)} MB`);
} finally {
  // Its data is deleted anyway, so a clean stop would only take time.
  await server.stop("SIGKILL");
}
process.exit(0);
