import { cpus, release } from "node:os";
import type { IdleCost, Measurement } from "../load/job.ts";
import type { ServerKind, Workload } from "../workloads.ts";
import { median } from "./statistics.ts";

/** A run in which other processes kept more cores busy than this counts as disturbed. The kernel's own threads stay below. */
const DISTURBED_BUSY = 0.2;

/** The result of one round of a workload against one server. */
export type Run = (Measurement & { peakRssBytes: number }) | { error: string };

/** Whether other processes used so much CPU that the run's rate says little. */
export function isDisturbed(run: Measurement): boolean {
  return run.othersBusy > DISTURBED_BUSY;
}

/** The medians of the rounds without an error; NaN if there are none. */
export interface Summary {
  rounds: number;
  errors: string[];
  disturbedRounds: number;
  messagesPerSecond: number;
  /** The slowest and the fastest round. */
  range: [number, number];
  serverCpuUsPerMessage: number;
  generatorCpuUsPerMessage: number;
  /** CPU time divided by wall time: 1 means that one core was busy all the time. */
  serverBusy: number;
  generatorBusy: number;
  /** Cores that other processes kept busy. */
  othersBusy: number;
  /** The highest of all rounds. */
  peakRssBytes: number;
  latencyMs?: NonNullable<Measurement["latencyMs"]>;
  idle?: IdleCost;
}

export interface Result {
  workload: Workload;
  runs: Partial<Record<ServerKind, Run[]>>;
}

/** The contents of the JSON file, with every round, so that other statistics can be computed later. */
export interface Report {
  machine: string;
  versions: string[];
  rounds: number;
  results: (Result & { summaries: Partial<Record<ServerKind, Summary>> })[];
}

export function makeReport(versions: string[], rounds: number, results: Result[]): Report {
  const machine = `${cpus().length} × ${cpus()[0]?.model.trim() ?? "unknown"}, Linux ${release()}`;
  return {
    machine,
    versions,
    rounds,
    results: results.map((result) => {
      const summaries: Report["results"][number]["summaries"] = {};
      for (const [kind, runs] of Object.entries(result.runs)) summaries[kind as ServerKind] = summarize(runs);
      return { ...result, summaries };
    }),
  };
}

export function summarize(runs: Run[]): Summary {
  const good = runs.filter((run) => "seconds" in run);
  const of = (value: (run: (typeof good)[number]) => number) => median(good.map(value));
  const rates = good.map((run) => run.messages / run.seconds);
  const idles = good.flatMap(({ idle }) => idle ?? []);
  const latencies = good.flatMap(({ latencyMs }) => latencyMs ?? []);
  return {
    rounds: runs.length,
    errors: runs.flatMap((run) => ("error" in run ? run.error : [])),
    disturbedRounds: good.filter(isDisturbed).length,
    messagesPerSecond: median(rates),
    range: [Math.min(...rates), Math.max(...rates)],
    serverCpuUsPerMessage: of((run) => (run.serverCpuSeconds / run.messages) * 1e6),
    generatorCpuUsPerMessage: of((run) => (run.generatorCpuSeconds / run.messages) * 1e6),
    serverBusy: of((run) => run.serverCpuSeconds / run.seconds),
    generatorBusy: of((run) => run.generatorCpuSeconds / run.seconds),
    othersBusy: of((run) => run.othersBusy),
    peakRssBytes: Math.max(...good.map((run) => run.peakRssBytes)),
    ...(idles.length === 0 ? {} : { idle: medianCost(idles) }),
    ...(latencies.length === 0
      ? {}
      : {
          latencyMs: {
            p50: median(latencies.map(({ p50 }) => p50)),
            p99: median(latencies.map(({ p99 }) => p99)),
            p999: median(latencies.map(({ p999 }) => p999)),
          },
        }),
  };
}

function medianCost(costs: IdleCost[]): IdleCost {
  const of = (key: keyof IdleCost) => median(costs.map((cost) => cost[key]));
  return {
    connections: of("connections"),
    rssBefore: of("rssBefore"),
    rssWith: of("rssWith"),
    openingCpuUs: of("openingCpuUs"),
    cpuUsPerSecond: of("cpuUsPerSecond"),
  };
}

/** The report in the form of docs/performance.md. */
export function toMarkdown(report: Report): string {
  const throughput = report.results.filter(({ workload }) => !["latency", "idle"].includes(workload.load.kind));
  const latency = report.results.filter(({ workload }) => ["latency", "stall"].includes(workload.load.kind));
  const durable = throughput.filter(({ summaries }) => summaries["nsqd-0"] !== undefined);
  const idle = report.results.filter(({ workload }) => workload.load.kind === "idle");
  const sections = [`${report.machine}; ${report.versions.join("; ")}; medians of ${report.rounds} rounds.`];
  if (throughput.length > 0) {
    sections.push(
      table(
        ["workload", "bunsq msg/s", "nsqd msg/s", "ratio", "bunsq CPU µs/msg", "nsqd CPU µs/msg", "ratio", "bunsq peak MB", "nsqd peak MB"],
        throughput.map(({ workload, summaries: { bunsq, nsqd } }) => [
          workload.title,
          count(bunsq?.messagesPerSecond),
          count(nsqd?.messagesPerSecond),
          times(bunsq?.messagesPerSecond, nsqd?.messagesPerSecond),
          micros(bunsq?.serverCpuUsPerMessage),
          micros(nsqd?.serverCpuUsPerMessage),
          times(bunsq?.serverCpuUsPerMessage, nsqd?.serverCpuUsPerMessage),
          megabytes(bunsq?.peakRssBytes),
          megabytes(nsqd?.peakRssBytes),
        ]),
      ),
      "Bottlenecks: the cores that the server, the load generator and all other processes kept busy; the generator's CPU per message; and the results of the bare peers, which only move the same bytes.",
      table(
        [
          "workload",
          "bunsq + generator + others",
          "nsqd + generator + others",
          "generator µs/msg",
          "bare msg/s",
          "bare with file msg/s",
          "bunsq of bare",
          "of bare with file",
        ],
        throughput.map(({ workload, summaries }) => [
          workload.title,
          busy(summaries.bunsq),
          busy(summaries.nsqd),
          micros((summaries.bunsq ?? summaries.nsqd)?.generatorCpuUsPerMessage),
          count(summaries.bare?.messagesPerSecond),
          count(summaries["bare-file"]?.messagesPerSecond),
          percent(summaries.bunsq?.messagesPerSecond, summaries.bare?.messagesPerSecond),
          percent(summaries.bunsq?.messagesPerSecond, summaries["bare-file"]?.messagesPerSecond),
        ]),
      ),
    );
  }
  for (const [kind, heading] of [
    ["baseline", "Beside another build of bunsq:"],
    ["traced", "Beside bunsq with all messages traced:"],
  ] as const) {
    const compared = throughput.filter(({ summaries }) => summaries[kind] !== undefined);
    if (compared.length === 0) continue;
    sections.push(
      heading,
      table(
        ["workload", "msg/s", `${kind} msg/s`, "ratio", "CPU µs/msg", `${kind} CPU µs/msg`, "ratio", "peak MB", `${kind} peak MB`],
        compared.map(({ workload, summaries: { bunsq, [kind]: other } }) => [
          workload.title,
          count(bunsq?.messagesPerSecond),
          count(other?.messagesPerSecond),
          times(bunsq?.messagesPerSecond, other?.messagesPerSecond),
          micros(bunsq?.serverCpuUsPerMessage),
          micros(other?.serverCpuUsPerMessage),
          times(bunsq?.serverCpuUsPerMessage, other?.serverCpuUsPerMessage),
          megabytes(bunsq?.peakRssBytes),
          megabytes(other?.peakRssBytes),
        ]),
      ),
    );
  }
  if (durable.length > 0) {
    sections.push(
      "Beside nsqd with `--mem-queue-size=0`: without a queue in memory, what it cannot pass on at once goes to its files before the OK.",
      table(
        ["workload", "bunsq msg/s", "nsqd msg/s", "ratio", "bunsq CPU µs/msg", "nsqd CPU µs/msg", "ratio"],
        durable.map(({ workload, summaries: { bunsq, "nsqd-0": nsqd } }) => [
          workload.title,
          count(bunsq?.messagesPerSecond),
          count(nsqd?.messagesPerSecond),
          times(bunsq?.messagesPerSecond, nsqd?.messagesPerSecond),
          micros(bunsq?.serverCpuUsPerMessage),
          micros(nsqd?.serverCpuUsPerMessage),
          times(bunsq?.serverCpuUsPerMessage, nsqd?.serverCpuUsPerMessage),
        ]),
      ),
    );
  }
  if (idle.length > 0) {
    sections.push(
      table(
        ["workload", "server", "MB before", "MB with all", "KiB a connection", "CPU µs to open one", "CPU µs a second each"],
        idle.flatMap(({ workload, summaries }) =>
          (["bunsq", "nsqd"] as const).flatMap((kind) => {
            const cost = summaries[kind]?.idle;
            if (cost === undefined) return [];
            return [
              [
                workload.title,
                kind,
                megabytes(cost.rssBefore),
                megabytes(cost.rssWith),
                micros((cost.rssWith - cost.rssBefore) / cost.connections / 1024),
                micros(cost.openingCpuUs),
                micros(cost.cpuUsPerSecond),
              ],
            ];
          }),
        ),
      ),
    );
  }
  if (latency.length > 0) {
    sections.push(
      table(
        ["workload", "server", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs/msg"],
        latency.flatMap(({ workload, summaries }) =>
          (["bunsq", "nsqd", "nsqd-0"] as const).flatMap((kind) => {
            const summary = summaries[kind];
            if (summary === undefined) return [];
            const { p50, p99, p999 } = summary.latencyMs ?? { p50: Number.NaN, p99: Number.NaN, p999: Number.NaN };
            return [[workload.title, kind, micros(p50), micros(p99), micros(p999), micros(summary.serverCpuUsPerMessage)]];
          }),
        ),
      ),
    );
  }
  const disturbed = report.results.flatMap(({ workload, summaries }) =>
    Object.entries(summaries).flatMap(([kind, { disturbedRounds, rounds }]) =>
      disturbedRounds === 0 ? [] : `${workload.name} of ${kind}: ${disturbedRounds} of ${rounds}`,
    ),
  );
  if (disturbed.length > 0) sections.push(`Rounds that other work on the machine disturbed: ${disturbed.join("; ")}.`);
  const errors = report.results.flatMap(({ workload, summaries }) =>
    Object.entries(summaries).flatMap(([kind, { errors }]) => errors.map((error) => `- ${workload.name}, ${kind}: ${error}`)),
  );
  if (errors.length > 0) sections.push(`Rounds that failed and are in no median:\n\n${errors.join("\n")}`);
  return `${sections.join("\n\n")}\n`;
}

/** A Markdown table with the first column aligned left and the others, which are figures, right. It is padded to be readable as text. */
export function table(head: string[], rows: string[][]): string {
  const widths = head.map((title, column) => Math.max(3, title.length, ...rows.map((row) => (row[column] ?? "").length)));
  const line = (cells: string[]) =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join(" | ")} |`;
  const rule = `| ${widths.map((width, column) => (column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)).join(" | ")} |`;
  return [line(head), rule, ...rows.map(line)].join("\n");
}

const NONE = "–";

function count(value: number | undefined): string {
  return known(value) ? Math.round(value).toLocaleString("en-US") : NONE;
}

function micros(value: number | undefined): string {
  return known(value) ? value.toFixed(value < 10 ? 2 : 1) : NONE;
}

function megabytes(bytes: number | undefined): string {
  return known(bytes) ? Math.round(bytes / 1e6).toString() : NONE;
}

function times(ours: number | undefined, theirs: number | undefined): string {
  return known(ours) && known(theirs) ? `${(ours / theirs).toFixed(2)}×` : NONE;
}

function percent(part: number | undefined, whole: number | undefined): string {
  return known(part) && known(whole) ? `${Math.round((part / whole) * 100)} %` : NONE;
}

function busy(summary: Summary | undefined): string {
  if (summary === undefined || !known(summary.serverBusy)) return NONE;
  return `${summary.serverBusy.toFixed(2)} + ${summary.generatorBusy.toFixed(2)} + ${summary.othersBusy.toFixed(2)}`;
}

function known(value: number | undefined): value is number {
  return value !== undefined && Number.isFinite(value);
}
