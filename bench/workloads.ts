import type { DrainLoad, PublishLoad } from "./load/job.ts";

/** Who is measured: ours, Go's, and two processes that only move bytes, the limit of the machine. */
export type ServerKind = "bunsq" | "nsqd" | "bare" | "bare-file";

/**
 * One kind of load. `messages` says how many per kind of server, so that each is at work for about two seconds: equal
 * counts would leave the fast one too short a run, or the slow one a very long one. Rates do not depend on the count
 * beyond the first tenth, which is warm-up and not measured. A kind that is not named is not run.
 */
export interface Workload {
  /** Short and typeable, for --only. */
  name: string;
  title: string;
  load: Load;
  messages: Partial<Record<ServerKind, number>>;
}

export type Load =
  | { kind: "publish"; publish: PublishLoad }
  /** The channel is filled first, which is not measured. */
  | { kind: "drain"; drain: DrainLoad; bodyBytes: number }
  | { kind: "publish-and-drain"; publish: PublishLoad; drain: DrainLoad }
  | { kind: "latency"; perSecond: number; bodyBytes: number };

const MPUB_200: PublishLoad = { command: "MPUB", connections: 2, batch: 200, bodyBytes: 200, outstanding: 1, asTrains: false };
const PUB_16: PublishLoad = { command: "PUB", connections: 16, batch: 1, bodyBytes: 200, outstanding: 1, asTrains: false };

/** How a channel is filled before it is drained. */
export const FILL: PublishLoad = MPUB_200;

export const WORKLOADS: readonly Workload[] = [
  {
    name: "mpub",
    title: "MPUB 200 × 200 B, 2 connections, 1 outstanding",
    load: { kind: "publish", publish: MPUB_200 },
    messages: { bunsq: 4_000_000, nsqd: 700_000, bare: 8_000_000, "bare-file": 6_000_000 },
  },
  {
    name: "mpub-8",
    title: "MPUB 200 × 200 B, 2 connections, 8 outstanding",
    load: { kind: "publish", publish: { ...MPUB_200, outstanding: 8 } },
    messages: { bunsq: 5_000_000, nsqd: 700_000, bare: 40_000_000, "bare-file": 8_000_000 },
  },
  {
    name: "sub",
    title: "SUB drain, 2 consumers, RDY 2500, 200 B",
    load: { kind: "drain", drain: { consumers: 2, rdy: 2500 }, bodyBytes: 200 },
    messages: { bunsq: 6_000_000, nsqd: 1_000_000, bare: 30_000_000 },
  },
  {
    name: "both",
    title: "MPUB and SUB at once, 2 + 2 connections",
    load: { kind: "publish-and-drain", publish: MPUB_200, drain: { consumers: 2, rdy: 2500 } },
    messages: { bunsq: 4_000_000, nsqd: 1_000_000 },
  },
  {
    name: "pub",
    title: "PUB 200 B, 16 connections, 1 outstanding",
    load: { kind: "publish", publish: PUB_16 },
    messages: { bunsq: 200_000, nsqd: 150_000, bare: 200_000, "bare-file": 200_000 },
  },
  {
    name: "pub-32",
    title: "PUB 200 B, 16 connections, trains of 32",
    load: { kind: "publish", publish: { ...PUB_16, outstanding: 32, asTrains: true } },
    messages: { bunsq: 2_000_000, nsqd: 250_000, bare: 6_000_000, "bare-file": 4_000_000 },
  },
  {
    name: "http-pub",
    title: "HTTP /pub 200 B, 16 connections",
    load: { kind: "publish", publish: { ...PUB_16, command: "HTTP /pub" } },
    messages: { bunsq: 120_000, nsqd: 120_000, bare: 200_000, "bare-file": 200_000 },
  },
  {
    name: "latency",
    title: "Publish to delivery at 10,000 messages/s, 200 B",
    load: { kind: "latency", perSecond: 10_000, bodyBytes: 200 },
    messages: { bunsq: 20_000, nsqd: 20_000 },
  },
];
