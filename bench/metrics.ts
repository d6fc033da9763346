/**
 * Measures answers of /metrics and /stats, and publishing meanwhile: `bun bench/metrics.ts`.
 *
 *     --topics=N         topics (default 2,000)
 *     --channels=N       channels of each topic (default 3)
 *     --consumers=N      consumers, for detail=client (default 1,000)
 *     --rounds=N         answers of each kind (default 9); 0: none
 *     --only=TEXT        only the kinds whose names have this text
 *     --turns=N          turns of publishing without and with a scrape every second (default 5); 0: none
 *     --seconds=N        of each turn (default 5)
 *     --scraped=QUERY    what is scraped meanwhile (default detail=channel)
 *     --flags=FLAGS      further flags of the broker that is published to, separated by spaces
 *     --bunsq=COMMAND    its program (default dist/bunsq, or the source if there is no binary)
 *
 * For the answers it runs a broker in this process, and asks as its HTTP server does. A second loop, which has its turn whenever the
 * event loop gets to it, sees for how long a slice holds everybody else. Other processes add to that, so the least disturbed
 * round is told, too.
 *
 * For publishing, broker and publisher are processes of their own. The turns alternate, so that a slow minute of the machine hits both.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Broker, openBroker } from "../src/broker/broker.ts";
import { HttpCall } from "../src/broker/http/call.ts";
import { metrics } from "../src/broker/http/metrics.ts";
import { stats } from "../src/broker/http/stats.ts";
import type { Incoming } from "../src/http/server/call.ts";
import { HttpLoad, httpLimits } from "../src/http/server/load.ts";
import { defaultOptions, MemoryLogger } from "../test/support/in-process.ts";
import { startServer } from "../test/support/server.ts";
import type { Measurement, ProbeJob } from "./load/job.ts";
import { handshake } from "./load/wire.ts";
import { median } from "./support/statistics.ts";

const SOURCE = join(import.meta.dir, "../src/main.ts");
const BINARY = join(import.meta.dir, "../dist/bunsq");
const PUBLISH_INTERVAL_MS = 2;
const SCRAPE_INTERVAL_MS = 1000;
const NEW_LINE = 0x0a;

const { values: flags } = parseArgs({
  options: {
    topics: { type: "string", default: "2000" },
    channels: { type: "string", default: "3" },
    consumers: { type: "string", default: "1000" },
    rounds: { type: "string", default: "9" },
    only: { type: "string", default: "" },
    turns: { type: "string", default: "5" },
    seconds: { type: "string", default: "5" },
    scraped: { type: "string", default: "detail=channel" },
    flags: { type: "string", default: "" },
    bunsq: { type: "string", default: existsSync(BINARY) ? BINARY : `${process.execPath} ${SOURCE}` },
  },
});
const [topics, channels, rounds, turns] = [Number(flags.topics), Number(flags.channels), Number(flags.rounds), Number(flags.turns)];

interface Kind {
  what: string;
  handle: (call: HttpCall) => Response;
  query: string;
  accept: string;
  names: string[];
}

const TEXT = "text/plain";
const OPEN_METRICS = "application/openmetrics-text";
const NAMES = [[], ["mixin"], ["lovoo"], ["mixin", "lovoo"]];
const KINDS: Kind[] = [
  ...NAMES.flatMap((names) =>
    ["none", "topic", "channel", "client"].flatMap((detail) =>
      [TEXT, OPEN_METRICS].map((accept) => ({
        what: `/metrics?detail=${detail}${names.map((name) => ` ${name}`).join("")}${accept === TEXT ? "" : ", OpenMetrics"}`,
        ...{ handle: metrics, query: `detail=${detail}`, accept, names },
      })),
    ),
  ),
  ...["", "format=json", "format=json&include_mem=false", "format=json&include_mem=false&bunsq=true"].map((query) => ({
    ...{ what: `/stats?${query}`, handle: stats, query, accept: TEXT, names: [] },
  })),
];

/** Sees how long the event loop is held by others. */
class HoldWatch {
  /** The longest time between two turns, ms. */
  longestMs = 0;
  private isStopped = false;

  constructor() {
    let lastMs = performance.now();
    const turn = (): void => {
      const nowMs = performance.now();
      this.longestMs = Math.max(this.longestMs, nowMs - lastMs);
      lastMs = nowMs;
      if (!this.isStopped) setImmediate(turn);
    };
    setImmediate(turn);
  }

  stop(): void {
    this.isStopped = true;
  }
}

/** In most systems in steps of some ms. */
function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

function ask(broker: Broker, { handle, query, accept, names }: Kind): Response {
  const incoming: Incoming = {
    request: new Request(`http://localhost/?${query}`, { headers: { Accept: accept } }),
    rawQuery: query,
    parameters: [],
    clients: { clientOf: () => undefined },
    load: new HttpLoad(httpLimits({})),
    complete: undefined,
    logger: broker.logger,
  };
  return handle(new HttpCall({ ...broker, options: { ...broker.options, metricsNames: names } }, incoming));
}

async function measureAnswers(): Promise<void> {
  const dataPath = mkdtempSync(join(tmpdir(), "bunsq-bench-"));
  const broker = openBroker(defaultOptions({ dataPath }), new MemoryLogger());
  broker.listen();
  try {
    for (let t = 0; t < topics; t++) {
      const topic = broker.registry.topic(topicName(t));
      for (let c = 0; c < channels; c++) topic.channel(`channel-${c}`);
      await broker.publishing.publish(topic.partitions[0], "", Buffer.from("message"), 0);
    }
    await subscribe(broker, Number(flags.consumers));
    console.log(`${topics} topics × ${channels} channels, ${flags.consumers} consumers, medians of ${rounds} answers\n`);
    console.log("| answer | lines | MB | ms | least ms | CPU ms | longest hold ms | least |");
    console.log(`| --- |${" ---: |".repeat(7)}`);
    for (const kind of KINDS.filter(({ what }) => what.includes(flags.only))) await measureKind(broker, kind);
  } finally {
    await broker.close();
    rmSync(dataPath, { recursive: true, force: true });
  }
}

async function measureKind(broker: Broker, kind: Kind): Promise<void> {
  const tookMs: number[] = [];
  const cpuMs: number[] = [];
  const longestMs: number[] = [];
  let lines = 0;
  let bytes = 0;
  for (let round = 0; round < rounds; round++) {
    const watch = new HoldWatch();
    await new Promise(setImmediate);
    const startMs = performance.now();
    const startCpuMs = threadCpuMs();
    const chunks: Uint8Array[] = [];
    for await (const chunk of ask(broker, kind).body ?? []) chunks.push(chunk);
    tookMs.push(performance.now() - startMs);
    cpuMs.push(threadCpuMs() - startCpuMs);
    await new Promise(setImmediate);
    watch.stop();
    longestMs.push(watch.longestMs);
    // Counted without strings, whose collection would disturb the next round.
    lines = chunks.reduce((sum, chunk) => sum + count(chunk, NEW_LINE), 0);
    bytes = chunks.reduce((sum, { length }) => sum + length, 0);
  }
  const times = [median(tookMs), Math.min(...tookMs), median(cpuMs), median(longestMs), Math.min(...longestMs)];
  const cells = [kind.what, lines.toLocaleString("en"), (bytes / 1e6).toFixed(2), ...times.map((ms) => ms.toFixed(1))];
  console.log(`| ${cells.join(" | ")} |`);
}

function count(bytes: Uint8Array, wanted: number): number {
  let found = 0;
  for (const byte of bytes) if (byte === wanted) found++;
  return found;
}

/** Publishes at a steady rate, in turns without and with a scrape every second. */
async function measurePublishing(): Promise<void> {
  const program = flags.bunsq.split(" ");
  const args = flags.flags.split(" ").filter((flag) => flag !== "");
  const server = await startServer({ command: [...program, "--mode=broker"], args });
  try {
    for (let t = 0; t < topics; t++) {
      await server.http("POST", `/topic/create?topic=${topicName(t)}`);
      const create = (c: number) => server.http("POST", `/channel/create?topic=${topicName(t)}&channel=channel-${c}`);
      await Promise.all(Array.from({ length: channels }, (_, c) => create(c)));
    }
    const job: ProbeJob = {
      ...{ kind: "probe", tcpPort: server.tcpPort, httpPort: server.httpPort, serverPid: server.process.pid },
      ...{ intervalMs: PUBLISH_INTERVAL_MS, bodyBytes: 200, seconds: Number(flags.seconds) },
    };
    const scrape = async () => (await fetch(`http://127.0.0.1:${server.httpPort}/metrics?${flags.scraped}`)).arrayBuffer();
    for (let i = 0; i < 5; i++) await scrape();
    await probe({ ...job, seconds: 1 });
    const quiet: Measurement[] = [];
    const scraped: Measurement[] = [];
    for (let turn = 0; turn < turns; turn++) {
      quiet.push(await probe(job));
      const timer = setInterval(scrape, SCRAPE_INTERVAL_MS);
      scraped.push(await probe(job));
      clearInterval(timer);
    }
    console.log(`\nPUB to OK, one every ${PUBLISH_INTERVAL_MS} ms, medians of ${turns} turns of ${flags.seconds} s\n`);
    console.log(`| | without | /metrics?${flags.scraped} ${flags.flags} every second | ratio |`);
    console.log("| --- | ---: | ---: | ---: |");
    for (const name of ["p50", "p99", "p999"] as const) {
      const [without, during] = [quiet, scraped].map((all) => median(all.map(({ latencyMs }) => latencyMs?.[name] ?? Number.NaN)));
      console.log(`| ${name} ms | ${without?.toFixed(3)} | ${during?.toFixed(3)} | ${((during ?? 0) / (without ?? 1)).toFixed(2)} |`);
    }
  } finally {
    await server.stop();
  }
}

async function probe(job: ProbeJob): Promise<Measurement> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "load/generator.ts"), JSON.stringify(job)], { stderr: "inherit" });
  const printed = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error("the publisher failed");
  return JSON.parse(printed);
}

/** Subscribes consumers, and waits for them. */
async function subscribe({ listener, tcpPort, registry }: Broker, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const data = (client: Bun.Socket) => void client.write("NOP\n");
    const socket = await Bun.connect({ hostname: "127.0.0.1", port: tcpPort, socket: { data } });
    socket.write(Buffer.concat([handshake(30_000), Buffer.from(`SUB ${topicName(i % topics)} channel-0\n`)]));
  }
  const subscribed = () =>
    [...registry.topics.values()].reduce((sum, topic) => sum + (topic.channels.get("channel-0")?.consumers.length ?? 0), 0);
  while (listener.connections.size < count || subscribed() < count) await Bun.sleep(10);
}

function topicName(t: number): string {
  return `topic-of-a-usual-length-${t}`;
}

if (rounds > 0) await measureAnswers();
if (turns > 0) await measurePublishing();
