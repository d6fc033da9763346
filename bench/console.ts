/**
 * Measures the console: `bun bench/console.ts`. It watches simulated brokers, 20 with 100 topics of 3 channels each and 50,000
 * clients in all, of which every figure changes with every poll; and one of bunsq's, to see what being watched costs a broker.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Figures } from "../src/admin/watch/figures.ts";
import { History } from "../src/admin/watch/history.ts";
import { startServer } from "../test/support/server.ts";
import { type Console, SITE_FLAGS, startConsole, startFakes } from "./support/console-site.ts";
import { cpuSeconds, peakRssBytes, rssBytes } from "./support/process-usage.ts";
import { quantile } from "./support/statistics.ts";

/** The console from source, with a day of history. */
const WATCHED_DAY = `${process.execPath} ${join(import.meta.dir, "load/watched-day.ts")}`;
const MB = 1e6;
const POLLS = 300;
const WIDE_CLIENTS = "/clients?sort=-in_flight&limit=100";
const TOPICS = "/topics?sort=-in_rate&limit=100";

const { values: flags } = parseArgs({
  options: {
    ...SITE_FLAGS,
    seconds: { type: "string", default: "30" },
  },
});
const phaseMs = Number(flags.seconds) * 1_000;

/** Reads streams as pages do. @returns what ends it, and says how much came */
function watch({ httpPort }: Console, pages: number, views: string[]): () => { bytes: number } {
  const aborter = new AbortController();
  let bytes = 0;
  const query = views.map((view) => `view=${encodeURIComponent(view)}`).join("&");
  const read = async () => {
    const response = await fetch(`http://127.0.0.1:${httpPort}/api/v1/stream?${query}`, { signal: aborter.signal });
    for await (const piece of response.body!) bytes += piece.length;
  };
  // It ends by being aborted.
  for (let page = 0; page < pages; page++) void read().catch(() => {});
  return () => {
    aborter.abort();
    return { bytes };
  };
}

/** The share of a core that a process uses for some seconds. */
async function busy(pid: number): Promise<number> {
  const before = cpuSeconds(pid);
  await Bun.sleep(phaseMs);
  return ((cpuSeconds(pid) - before) * 1_000) / phaseMs;
}

async function phase(name: string, server: Console, pages: number, views: string[]): Promise<void> {
  const stop = pages === 0 ? undefined : watch(server, pages, views);
  const { pid } = server.process;
  const share = await busy(pid);
  const bytes = stop?.().bytes ?? 0;
  const perPage = pages === 0 ? "-" : `${(bytes / pages / (phaseMs / 1_000) / 1_000).toFixed(0)} kB/s`;
  console.log(
    `| ${name} | ${(share * 100).toFixed(1)} % | ${(rssBytes(pid) / MB).toFixed(0)} MB | ${(peakRssBytes(pid) / MB).toFixed(0)} MB | ${perPage} |`,
  );
}

async function timeViews({ http }: Console): Promise<void> {
  console.log("\n| view | median | slowest of 30 |\n| --- | ---: | ---: |");
  for (const view of [
    "/overview",
    TOPICS,
    "/channels?sort=-depth&limit=100",
    "/channels?filter=channel-1&limit=1000",
    WIDE_CLIENTS,
    "/history",
  ]) {
    const times = new Float64Array(30);
    for (let i = 0; i < times.length; i++) {
      const startMs = performance.now();
      await (await http("GET", `/api/v1${view}`)).arrayBuffer();
      times[i] = performance.now() - startMs;
    }
    times.sort();
    console.log(`| \`${view}\` | ${quantile(times, 0.5).toFixed(1)} ms | ${quantile(times, 1).toFixed(1)} ms |`);
  }
}

async function measureConsole(): Promise<void> {
  const fakes = await startFakes(flags);
  const server = await startConsole(flags.bunsq, fakes.addresses);
  console.log("| the console | of a core | memory | peak so far | to each page |\n| --- | ---: | ---: | ---: | ---: |");
  // What is looked at is asked for every 2 s, at the start too; after 30 s nobody looks.
  await Bun.sleep(32_000);
  await phase("nobody looks", server, 0, []);
  await phase("one page: overview", server, 1, ["/overview"]);
  await phase("one page: 100 topics of all", server, 1, [TOPICS]);
  await phase("20 pages: overview and 100 topics", server, 20, ["/overview", TOPICS]);
  await phase(`one page: 100 of ${flags.clients} clients`, server, 1, [WIDE_CLIENTS]);
  await timeViews(server);
  await server.stop();
  fakes.stop();
}

/** All at once: a day of history in memory, and pages that look at everything. */
async function measureDay(): Promise<void> {
  const fakes = await startFakes(flags);
  const server = await startConsole(WATCHED_DAY, fakes.addresses);
  console.log("\n| with a day of history | of a core | memory | peak so far | to each page |\n| --- | ---: | ---: | ---: | ---: |");
  // It has found the brokers by then, and fills its history while it does nothing else.
  do await Bun.sleep(10_000);
  while ((await busy(server.process.pid)) > 0.5);
  await phase("nobody looks", server, 0, []);
  await phase(`20 pages: overview, 100 topics, and 100 of ${flags.clients} clients`, server, 20, ["/overview", TOPICS, WIDE_CLIENTS]);
  await server.stop();
  fakes.stop();
}

/** What the history takes after a day in which all figures of all topics and channels changed all the time. */
function measureHistory(): void {
  const topics = Number(flags.brokers) * Number(flags.topics);
  const channels = topics * Number(flags.channels);
  const history = new History(48 * 1024 * 1024);
  const entries = Array.from({ length: topics + channels }, () => history.add());
  const figures = new Figures();
  let slowestMs = 0;
  let timeMs = 1_700_000_000_000;
  for (let step = 0; step < 24 * 360; step++, timeMs += 10_000) {
    const before = process.cpuUsage();
    history.advance();
    for (const [i, entry] of entries.entries()) {
      figures.depth = 1 + ((i + step * 7) % 1_000);
      figures.inFlight = 1 + ((i + step * 3) % 100);
      figures.inRate = 1 + ((i + step * 11) % 5_000);
      figures.outRate = figures.inRate + 1;
      history.record(entry, figures, timeMs, i < topics ? "topic" : "channel");
    }
    const { user, system } = process.cpuUsage(before);
    slowestMs = Math.max(slowestMs, (user + system) / 1_000);
  }
  const day = history.read(entries.at(-1)!, "depth", "24h", timeMs - 10_000).values;
  const kept = day.filter((value) => !Number.isNaN(value)).length / 60;
  console.log(
    `\nhistory of ${topics} topics and ${channels} channels, all busy for a day: ${(history.bytes / MB).toFixed(0)} MB, ` +
      `${kept.toFixed(1)} h of the day are kept, longest record of all ${slowestMs.toFixed(0)} ms of CPU`,
  );
}

/** What being watched costs one of bunsq's brokers. */
async function measureBroker(): Promise<void> {
  const broker = await startServer({ command: [...flags.bunsq.split(" "), "--mode=broker"] });
  for (let topic = 0; topic < Number(flags.topics); topic++) {
    await broker.http("POST", `/topic/create?topic=t${topic}`);
    for (let channel = 0; channel < Number(flags.channels); channel++) {
      await broker.http("POST", `/channel/create?topic=t${topic}&channel=c${channel}`);
    }
  }
  const poll = "/stats?format=json&include_clients=false&include_mem=false&bunsq=true";
  const askAll = async () => {
    for (let i = 0; i < POLLS; i++) await (await broker.http("GET", poll)).arrayBuffer();
  };
  await askAll();
  const before = cpuSeconds(broker.process.pid);
  await askAll();
  const pollMs = ((cpuSeconds(broker.process.pid) - before) * 1_000) / POLLS;
  await broker.stop();
  console.log(
    `a broker with ${flags.topics} topics of ${flags.channels} channels needs ${pollMs.toFixed(1)} ms of CPU for a poll, ` +
      `${(pollMs / 20).toFixed(2)} % of a core with one every 2 s\n`,
  );
}

await measureBroker();
await measureConsole();
await measureDay();
measureHistory();
