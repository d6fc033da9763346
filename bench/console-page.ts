/**
 * Measures the console's page in chromium: `bun bench/console-page.ts`. The console watches simulated brokers, 20 with 100 topics of 3
 * channels each and 50,000 clients in all, of which every figure changes with every poll. For each view: when something and when
 * the first figures are painted, what the main thread does for one poll, and its longest task.
 */
import { parseArgs } from "node:util";
import type { Browser, CDPSession } from "playwright-core";
import { launchBrowser } from "../test/admin/page/support/browser.ts";
import { SITE_FLAGS, startConsole, startFakes } from "./support/console-site.ts";
import { quantile } from "./support/statistics.ts";

const POLL_MS = 2_000;
const OPENINGS = 5;

const { values: flags } = parseArgs({
  options: {
    ...SITE_FLAGS,
    seconds: { type: "string", default: "20" },
  },
});

const VIEWS = ["/", "/topics?sort=-in_rate", "/topics/topic-0-0", "/topics/topic-0-0/channel-0", "/nodes", "/clients?sort=-in_flight"];

/** Notes in the page when the first row of figures has been painted. */
const NOTE_FIGURES = `
  const look = () => {
    if (document.querySelector("tbody tr:not(.space):not(.loading) td") === null) return requestAnimationFrame(look);
    requestAnimationFrame(() => setTimeout(() => { globalThis.figuresAt = performance.now(); }));
  };
  requestAnimationFrame(look);
`;

interface Opening {
  paintMs: number;
  figuresMs: number;
}

/** Opens a view in a browser that has nothing of it in its cache. */
async function open(browser: Browser, url: string): Promise<Opening> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, bypassCSP: true });
  const page = await context.newPage();
  await page.addInitScript(NOTE_FIGURES);
  await page.goto(url);
  await page.waitForFunction("globalThis.figuresAt !== undefined");
  const opening = await page.evaluate<Opening>(
    `({ paintMs: performance.getEntriesByName("first-contentful-paint")[0].startTime, figuresMs: globalThis.figuresAt })`,
  );
  await context.close();
  return opening;
}

/** An event of chromium's trace. `dur` is its time, and `tdur` what of it the thread was running, in us. */
interface TraceEvent {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  dur?: number;
  tdur?: number;
  args?: { name?: string };
}

/** A task of the page's main thread, ms. */
interface Task {
  wallMs: number;
  cpuMs: number;
}

/** The tasks of the page's main thread over some seconds. */
async function tasksOf(browser: Browser, url: string): Promise<Task[]> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, bypassCSP: true });
  const page = await context.newPage();
  await page.addInitScript(NOTE_FIGURES);
  await page.goto(url);
  await page.waitForFunction("globalThis.figuresAt !== undefined");
  await Bun.sleep(3 * POLL_MS);
  const session = await browser.newBrowserCDPSession();
  const events = await traced(session, Number(flags.seconds) * 1_000);
  await session.detach();
  await context.close();
  const mains = events.filter(({ name, args }) => name === "thread_name" && args?.name === "CrRendererMain");
  const isMain = new Set(mains.map(({ pid, tid }) => `${pid} ${tid}`));
  const tasks = events.filter(({ name, ph, pid, tid }) => name === "RunTask" && ph === "X" && isMain.has(`${pid} ${tid}`));
  return tasks.map(({ dur = 0, tdur = dur }) => ({ wallMs: dur / 1_000, cpuMs: tdur / 1_000 }));
}

async function traced(session: CDPSession, ms: number): Promise<TraceEvent[]> {
  const events: TraceEvent[] = [];
  session.on("Tracing.dataCollected", ({ value }) => {
    for (const event of value as unknown[]) events.push(event as TraceEvent);
  });
  await session.send("Tracing.start", {
    transferMode: "ReportEvents",
    traceConfig: { includedCategories: ["devtools.timeline", "disabled-by-default-devtools.timeline"] },
  });
  await Bun.sleep(ms);
  const complete = new Promise<void>((resolve) => session.once("Tracing.tracingComplete", () => resolve()));
  await session.send("Tracing.end");
  await complete;
  return events;
}

function most(tasks: readonly Task[], time: keyof Task): number {
  return tasks.reduce((largest, task) => Math.max(largest, task[time]), 0);
}

const fakes = await startFakes(flags);
const server = await startConsole(flags.bunsq, fakes.addresses);
// Until every broker has been asked twice, there are no rates.
await Bun.sleep(25_000);
const browser = await launchBrowser();
console.log("| view | first paint | first figures | main thread for a poll | longest task, CPU | by the clock |");
console.log("| --- | ---: | ---: | ---: | ---: | ---: |");
for (const view of VIEWS) {
  const url = `http://127.0.0.1:${server.httpPort}${view}`;
  const openings: Opening[] = [];
  for (let i = 0; i < OPENINGS; i++) openings.push(await open(browser, url));
  const [paint, figures] = [openings.map(({ paintMs }) => paintMs), openings.map(({ figuresMs }) => figuresMs)].map((times) => {
    const sorted = Float64Array.from(times).sort();
    return `${quantile(sorted, 0.5).toFixed(0)} (${quantile(sorted, 1).toFixed(0)}) ms`;
  });
  const tasks = await tasksOf(browser, url);
  const pollMs = (tasks.reduce((sum, { cpuMs }) => sum + cpuMs, 0) / Number(flags.seconds)) * (POLL_MS / 1_000);
  const longest = `${most(tasks, "cpuMs").toFixed(1)} ms | ${most(tasks, "wallMs").toFixed(1)} ms`;
  console.log(`| \`${view}\` | ${paint} | ${figures} | ${pollMs.toFixed(1)} ms | ${longest} |`);
}
await browser.close();
await server.stop();
fakes.stop();
