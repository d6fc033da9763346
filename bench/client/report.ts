import { table } from "../support/report.ts";
import { median } from "../support/statistics.ts";
import type { ClientName } from "./clients.ts";
import type { Act, ClientMeasurement } from "./job.ts";

/** One round of one client. */
export interface ClientRun extends ClientMeasurement {
  readonly messages: number;
  /** Cores that were kept busy by processes which are no part of the benchmark. */
  readonly othersBusy: number;
}

/** The rounds of one act, by client. Runs of the same index were in the same round. */
export interface ActRuns {
  readonly act: Act;
  readonly runs: ReadonlyMap<ClientName, readonly ClientRun[]>;
}

export const TITLES: Readonly<Record<ClientName, string>> = {
  "bunsq-bun": "bunsq/client on Bun",
  "bunsq-node": "bunsq/client on Node",
  nsqjs: "nsqjs on Node",
  "go-nsq": "go-nsq",
};

const ACT_TITLES: Readonly<Record<Act, string>> = {
  batches: "publish batches of 200, 8 unanswered",
  consume: "consume, 2,500 in flight",
  singles: "publish single messages, 1,000 awaited at a time",
};

const OURS = ["bunsq-bun", "bunsq-node"] as const;

/** How many times the other client's rate ours should reach. */
const TARGETS: Readonly<Record<"nsqjs" | "go-nsq", Readonly<Partial<Record<Act, number>>>>> = {
  nsqjs: { batches: 5, consume: 5, singles: 10 },
  "go-nsq": { batches: 1, consume: 1 },
};

/** The figures and the ratios, as Markdown. */
export function toTables(results: readonly ActRuns[]): string {
  return `${[figures(results), ratios(results)].filter((text) => text !== "").join("\n\n")}\n`;
}

function figures(results: readonly ActRuns[]): string {
  const rows = results.flatMap(({ act, runs }) =>
    [...runs].map(([name, rounds]) => {
      const rates = rounds.map(rate);
      return [
        ACT_TITLES[act],
        TITLES[name],
        whole(median(rates)),
        `${whole(Math.min(...rates))} to ${whole(Math.max(...rates))}`,
        median(rounds.map(cpuUs)).toFixed(2),
        median(rounds.map(({ othersBusy }) => othersBusy)).toFixed(2),
      ];
    }),
  );
  return table(["act", "client", "msg/s", "slowest to fastest round", "client CPU µs/msg", "cores busy with other work"], rows);
}

/** Empty where there is nothing to compare. */
function ratios(results: readonly ActRuns[]): string {
  const rows: string[][] = [];
  for (const { act, runs } of results) {
    for (const name of OURS) {
      for (const other of ["nsqjs", "go-nsq"] as const) {
        const [ours, theirs] = [runs.get(name), runs.get(other)];
        if (ours === undefined || theirs === undefined) continue;
        const target = TARGETS[other][act];
        const times = ratio(ours, theirs, rate);
        rows.push([
          ACT_TITLES[act],
          TITLES[name],
          TITLES[other],
          `${times.toFixed(2)}×`,
          `${ratio(ours, theirs, cpuUs).toFixed(2)}×`,
          target === undefined ? "–" : `${target}× ${times >= target ? "reached" : "missed"}`,
        ]);
      }
    }
  }
  return rows.length === 0 ? "" : table(["act", "client", "beside", "rate", "CPU per message", "target for the rate"], rows);
}

/** The median of the rounds' ratios, so that a minute in which the machine is slow counts for both. */
function ratio(ours: readonly ClientRun[], theirs: readonly ClientRun[], value: (run: ClientRun) => number): number {
  return median(ours.flatMap((run, round) => (theirs[round] === undefined ? [] : value(run) / value(theirs[round]))));
}

function rate({ messages, seconds }: ClientRun): number {
  return messages / seconds;
}

function cpuUs({ messages, cpuSeconds }: ClientRun): number {
  return (cpuSeconds / messages) * 1e6;
}

function whole(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}
