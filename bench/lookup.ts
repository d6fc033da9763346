/**
 * Compares bunsq's lookup server with Go's nsqlookupd: `bun bench/lookup.ts`.
 *
 * Hundreds of simulated brokers register hundreds of topics with channels, clients send /lookup requests, and brokers disconnect
 * during such requests. Each server runs alone, newly started, with its default flags and its log in a file.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { findNsqlookupd } from "../test/support/lookup.ts";
import { registrations, SimulatedBroker } from "./load/lookup-brokers.ts";
import { LookupClient, lookupRequest } from "./load/lookup-clients.ts";
import { cpuSeconds, machineCpuSeconds, peakRssBytes } from "./support/process-usage.ts";
import { quantile } from "./support/statistics.ts";

const SOURCE = join(import.meta.dir, "../src/main.ts");
const BINARY = join(import.meta.dir, "../dist/bunsq");

const CLIENTS = 16;
/** A topic that few brokers have. */
const SMALL_TOPIC = "small";
const SMALL_TOPIC_BROKERS = 3;
/** The rate of requests while brokers disconnect. It is far below the capacity of both servers, so that waiting shows. */
const PACED_PER_SECOND = 300;
/** The time between two disconnects. */
const DISCONNECT_INTERVAL_MS = 100;
const SETTLE_MS = 1500;

const { values: flags } = parseArgs({
  options: {
    brokers: { type: "string", default: "300" },
    topics: { type: "string", default: "500" },
    channels: { type: "string", default: "2" },
    seconds: { type: "string", default: "4" },
    distinct: { type: "boolean", default: false },
    servers: { type: "string", default: "nsqlookupd,bunsq" },
    rounds: { type: "string", default: "1" },
    bunsq: { type: "string", default: existsSync(BINARY) ? BINARY : `${process.execPath} ${SOURCE}` },
    help: { type: "boolean", default: false },
  },
});
const brokerCount = Number(flags.brokers);
const topicCount = Number(flags.topics);
const channelCount = Number(flags.channels);
const loadMs = Number(flags.seconds) * 1000;

interface Server {
  pid: number;
  tcpPort: number;
  httpPort: number;
  stop(): Promise<void>;
}

interface Figures {
  registersPerSecond: number;
  registerCpuUs: number;
  rssMb: number;
  peakMb: number;
  lookupsPerSecond: number;
  lookupCpuUs: number;
  smallLookupsPerSecond: number;
  smallLookupCpuUs: number;
  quietP99Ms: number;
  disconnectP99Ms: number;
  disconnectMaxMs: number;
}

async function start(program: string): Promise<Server> {
  const folder = mkdtempSync(join(tmpdir(), "bunsq-bench-lookup-"));
  const logFile = join(folder, "log");
  const command = program === "bunsq" ? [...flags.bunsq.split(" "), "lookup"] : [findNsqlookupd() ?? "nsqlookupd"];
  const child = Bun.spawn([...command, "-tcp-address=127.0.0.1:0", "-http-address=127.0.0.1:0"], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: Bun.file(logFile),
  });
  const port = (kind: string) => Number(new RegExp(`${kind}: listening on \\S*:(\\d+)`).exec(readFileSync(logFile, "latin1"))?.[1] ?? 0);
  while (port("TCP") === 0 || port("HTTP") === 0) {
    if (child.exitCode !== null) throw new Error(readFileSync(logFile, "utf8"));
    await Bun.sleep(20);
  }
  return {
    pid: child.pid,
    tcpPort: port("TCP"),
    httpPort: port("HTTP"),
    stop: async () => {
      child.kill("SIGKILL");
      await child.exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Runs `load`, and measures its time and the CPU time of the server. @param load returns the number of its operations */
async function measured(server: Server, load: () => Promise<number>): Promise<{ perSecond: number; cpuUs: number; othersBusy: number }> {
  const own = () => cpuSeconds(process.pid) + cpuSeconds(server.pid);
  const [startMs, startCpu, startOwn, startMachine] = [performance.now(), cpuSeconds(server.pid), own(), machineCpuSeconds()];
  const count = await load();
  const seconds = (performance.now() - startMs) / 1000;
  const othersBusy = (machineCpuSeconds() - startMachine - (own() - startOwn)) / seconds;
  return { perSecond: count / seconds, cpuUs: ((cpuSeconds(server.pid) - startCpu) / count) * 1e6, othersBusy };
}

/** Sends requests as fast as they are answered. @returns how many */
async function askFast(server: Server, requests: readonly Buffer[]): Promise<number> {
  const clients = await Promise.all(Array.from({ length: CLIENTS }, () => LookupClient.connect(server.httpPort)));
  const endMs = performance.now() + loadMs;
  let asked = 0;
  await Promise.all(
    clients.map(async (client) => {
      while (performance.now() < endMs) await client.ask(requests[asked++ % requests.length] as Buffer);
      client.close();
    }),
  );
  return asked;
}

/**
 * Sends requests at a fixed rate, whether earlier ones have been answered or not. Sleeps between them: a busy loop would take
 * CPU from the server on a small machine.
 *
 * @returns the times until the answers in ms, ascending
 */
async function askPaced(server: Server, requests: readonly Buffer[], disconnect: () => void): Promise<Float64Array> {
  const clients: LookupClient[] = [];
  const idle: LookupClient[] = [];
  const startMs = performance.now();
  const latencies: number[] = [];
  const underWay = new Set<Promise<void>>();
  let nextDisconnectMs = startMs + DISCONNECT_INTERVAL_MS;
  for (let asked = 0; performance.now() < startMs + loadMs; await Bun.sleep(1)) {
    if (performance.now() >= nextDisconnectMs) {
      nextDisconnectMs += DISCONNECT_INTERVAL_MS;
      disconnect();
    }
    for (const due = ((performance.now() - startMs) * PACED_PER_SECOND) / 1000; asked < due; asked++) {
      const client = idle.pop() ?? (await LookupClient.connect(server.httpPort));
      if (!clients.includes(client)) clients.push(client);
      const sentMs = performance.now();
      const answer = client.ask(requests[asked % requests.length] as Buffer).then(() => {
        latencies.push(performance.now() - sentMs);
        idle.push(client);
        underWay.delete(answer);
      });
      underWay.add(answer);
    }
  }
  await Promise.all(underWay);
  for (const client of clients) client.close();
  return Float64Array.from(latencies).sort();
}

function rssMb(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]) / 1000;
}

async function run(program: string): Promise<Figures> {
  const server = await start(program);
  try {
    const topicsOf = (broker: number) =>
      Array.from({ length: topicCount }, (_, i) => (flags.distinct ? `topic_${broker}_${i}` : `topic_${i}`));
    const brokers: SimulatedBroker[] = [];
    for (let i = 0; i < brokerCount; i++) brokers.push(await SimulatedBroker.connect(server.tcpPort, `broker-${i}`));
    const shared = registrations(topicsOf(0), channelCount);
    const commands = brokers.map((_, i) => (flags.distinct ? registrations(topicsOf(i), channelCount) : shared));
    const register = await measured(server, async () => {
      await Promise.all(brokers.map((broker, i) => broker.register(commands[i] as Buffer[])));
      return brokerCount * topicCount * channelCount;
    });
    for (const broker of brokers.slice(0, SMALL_TOPIC_BROKERS)) await broker.register(registrations([SMALL_TOPIC], channelCount));
    await Bun.sleep(SETTLE_MS);
    const settledMb = rssMb(server.pid);

    const everywhere = Array.from({ length: topicCount }, (_, i) => lookupRequest(topicsOf(i % brokerCount)[i] as string));
    const lookup = await measured(server, () => askFast(server, everywhere));
    const small = await measured(server, () => askFast(server, [lookupRequest(SMALL_TOPIC)]));
    const quiet = await askPaced(server, everywhere, () => {});
    const disconnecting = await askPaced(server, everywhere, () => brokers.pop()?.close());
    const others = [register, lookup, small].map(({ othersBusy }) => othersBusy.toFixed(2));
    console.log(`${program}: other processes kept ${others.join(", ")} cores busy`);
    return {
      registersPerSecond: register.perSecond,
      registerCpuUs: register.cpuUs,
      rssMb: settledMb,
      peakMb: peakRssBytes(server.pid) / 1e6,
      lookupsPerSecond: lookup.perSecond,
      lookupCpuUs: lookup.cpuUs,
      smallLookupsPerSecond: small.perSecond,
      smallLookupCpuUs: small.cpuUs,
      quietP99Ms: quantile(quiet, 0.99),
      disconnectP99Ms: quantile(disconnecting, 0.99),
      disconnectMaxMs: disconnecting.at(-1) ?? Number.NaN,
    };
  } finally {
    await server.stop();
  }
}

const TITLES: Record<keyof Figures, string> = {
  registersPerSecond: "REGISTER/s",
  registerCpuUs: "CPU µs per REGISTER",
  rssMb: "memory after all registrations, MB",
  peakMb: "peak memory, MB",
  lookupsPerSecond: "/lookup per second, topics of all brokers",
  lookupCpuUs: "CPU µs per /lookup",
  smallLookupsPerSecond: `/lookup per second, a topic of ${SMALL_TOPIC_BROKERS} brokers`,
  smallLookupCpuUs: "CPU µs per /lookup",
  quietP99Ms: `p99 at ${PACED_PER_SECOND} /lookup per second, ms`,
  disconnectP99Ms: `p99 while a broker disconnects every ${DISCONNECT_INTERVAL_MS} ms, ms`,
  disconnectMaxMs: "longest time while brokers disconnect, ms",
};

if (flags.help) {
  console.log(
    "usage: bun bench/lookup.ts [--brokers=300] [--topics=500] [--channels=2] [--seconds=4] [--distinct] [--rounds=1] [--servers=nsqlookupd,bunsq] [--bunsq=COMMAND]",
  );
} else {
  const registered = brokerCount * topicCount * (1 + channelCount);
  console.log(
    `${brokerCount} brokers with ${topicCount} topics ${flags.distinct ? "of their own " : ""}and ${channelCount} channels each: ${registered} registrations`,
  );
  for (let round = 0; round < Number(flags.rounds); round++) {
    const results: [string, Figures][] = [];
    for (const program of flags.servers.split(",")) results.push([program, await run(program)]);
    console.log(`\n| | ${results.map(([program]) => program).join(" | ")} |\n| --- | ${results.map(() => "---: |").join(" ")}`);
    for (const [key, title] of Object.entries(TITLES)) {
      const cells = results.map(([, figures]) => {
        const value = figures[key as keyof Figures];
        return value >= 1000 ? Math.round(value).toLocaleString("en-US") : value.toFixed(value < 10 ? 2 : 1);
      });
      console.log(`| ${title} | ${cells.join(" | ")} |`);
    }
  }
}
