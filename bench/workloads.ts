import { TLS_FLAGS } from "../test/support/certs/certs.ts";
import type { DrainLoad, Layers, PublishLoad } from "./load/job.ts";

/**
 * The servers that are measured: bunsq; traced, which is bunsq with the load's topics traced; baseline, which is another build of
 * bunsq; nsqd with its defaults; nsqd-0, which is nsqd with --mem-queue-size=0, the closest that
 * nsqd gets to keeping messages in a crash; and two processes that only move bytes, which show the limit of the machine.
 */
export type ServerKind = "bunsq" | "traced" | "baseline" | "nsqd" | "nsqd-0" | "bare" | "bare-file";
export const SERVER_KINDS: readonly ServerKind[] = ["bunsq", "traced", "baseline", "nsqd", "nsqd-0", "bare", "bare-file"];

/** `core`: the default, takes less than ten minutes. `all`: everything. */
export type WorkloadSet = "core" | "all";

/**
 * One kind of load. `messages` has a count for each kind of server, so that each works for about two seconds: with equal counts
 * the run of a fast server would be too short, or that of a slow one very long. Except for the first tenth, which is warm-up and
 * not measured, rates do not depend on the count. A server that is not named is not run.
 */
export interface Workload {
  /** A short name for --only. */
  name: string;
  title: string;
  /** The smallest set that includes the workload; core by default. */
  set?: WorkloadSet;
  load: Load;
  /** The topic is made first, with these arguments of /topic/create. Only bunsq knows them. */
  topic?: string;
  /** The arguments of /channel/create, for a channel that is filled first. */
  channel?: string;
  /** Flags that the workload needs. */
  flags?: { bunsq: string[]; nsqd: string[] };
  /** nsqd-0 has nsqd's count unless it has its own. */
  messages: Partial<Record<ServerKind, number>>;
}

/** The number of messages for a kind of server; undefined if the server is not run. */
export function messagesFor({ messages }: Workload, kind: ServerKind): number | undefined {
  switch (kind) {
    case "traced":
    case "baseline":
      return messages.bunsq;
    case "nsqd-0":
      return messages[kind] ?? messages.nsqd;
    default:
      return messages[kind];
  }
}

export type Load =
  | { kind: "publish"; publish: PublishLoad }
  /** The channel is filled first, which is not measured. */
  | { kind: "drain"; drain: DrainLoad; bodyBytes: number; json?: boolean; fill?: PublishLoad }
  /** The channel is filled and drained repeatedly, with so few messages that they stay in memory. Only the drains are measured. */
  | { kind: "waves"; publish: PublishLoad; drain: DrainLoad; waveMessages: number }
  | { kind: "publish-and-drain"; publish: PublishLoad; drain: DrainLoad }
  | { kind: "latency"; perSecond: number; bodyBytes: number }
  /** A flood of publishes beside one client that publishes at an interval and must not be delayed. `messages` is the time in seconds. */
  | { kind: "stall"; publish: PublishLoad; intervalMs: number; bodyBytes: number }
  /** `messages` is the number of idle consumers. */
  | { kind: "idle"; heartbeatMs: number; seconds: number };

const MPUB_200: PublishLoad = { command: "MPUB", connections: 2, batch: 200, bodyBytes: 200, outstanding: 1, asTrains: false };
const PUB_16: PublishLoad = { command: "PUB", connections: 16, batch: 1, bodyBytes: 200, outstanding: 1, asTrains: false };

/** How a channel is filled before it is drained. */
export const FILL: PublishLoad = MPUB_200;

const HEADERS_100: PublishLoad = { ...MPUB_200, command: "MPUB_EXT", headerBytes: 100 };
const KEYED: PublishLoad = { ...HEADERS_100, headerBytes: 0, keys: 10_000 };

/** The rates include the cost of each layer in the broker. Its cost in the generator is kept as small as possible. */
const LAYERS: Record<string, Layers> = {
  // No layer, for comparison with the same bodies.
  json: {},
  tls: { tls: true },
  snappy: { compression: "snappy" },
  deflate: { compression: "deflate" },
  "tls-snappy": { tls: true, compression: "snappy" },
  "tls-deflate": { tls: true, compression: "deflate" },
};

function layersTitle({ tls, compression }: Layers): string {
  return [...(tls ? ["TLS"] : []), ...(compression === undefined ? [] : [compression])].join(" and ") || "no layer";
}

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
    messages: { bunsq: 6_000_000, nsqd: 1_000_000, bare: 30_000_000, "bare-file": 8_000_000 },
  },
  {
    name: "both",
    title: "MPUB and SUB at once, 2 + 2 connections",
    load: { kind: "publish-and-drain", publish: MPUB_200, drain: { consumers: 2, rdy: 2500 } },
    messages: { bunsq: 12_000_000, nsqd: 2_000_000 },
  },
  {
    name: "pub",
    title: "PUB 200 B, 16 connections, 1 outstanding",
    load: { kind: "publish", publish: PUB_16 },
    messages: { bunsq: 400_000, nsqd: 250_000, bare: 200_000, "bare-file": 200_000 },
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
  {
    name: "pub-fsync",
    title: "PUB 200 B, 16 connections, 1 outstanding, each on the disk before its OK (nsqd: --sync-every=1 --mem-queue-size=0)",
    set: "all",
    load: { kind: "publish", publish: PUB_16 },
    flags: { bunsq: ["--durability=fsync"], nsqd: ["--sync-every=1", "--mem-queue-size=0"] },
    messages: { bunsq: 40_000, nsqd: 8_000 },
  },
  {
    name: "dpub",
    title: "DPUB 200 B due in an hour, 16 connections, trains of 32",
    set: "all",
    load: { kind: "publish", publish: { ...PUB_16, command: "DPUB", outstanding: 32, asTrains: true } },
    messages: { bunsq: 1_000_000, nsqd: 250_000 },
  },
  {
    name: "requeue",
    title: "SUB drain where each message is requeued with a delay of an hour, 2 consumers, RDY 2500, 200 B",
    set: "all",
    load: { kind: "drain", drain: { consumers: 2, rdy: 2500, requeue: true }, bodyBytes: 200 },
    messages: { bunsq: 1_000_000, nsqd: 500_000 },
  },
  {
    name: "mpub-1k",
    title: "MPUB 100 × 1 KB, 2 connections, 1 outstanding",
    set: "all",
    load: { kind: "publish", publish: { ...MPUB_200, batch: 100, bodyBytes: 1024 } },
    messages: { bunsq: 1_000_000, nsqd: 300_000, bare: 2_000_000, "bare-file": 1_500_000 },
  },
  ...([1, 16] as const).map(
    (consumers): Workload => ({
      name: `sub-${consumers}`,
      title: `SUB drain, ${consumers} consumer${consumers === 1 ? "" : "s"}, RDY 2500, 200 B`,
      set: "all",
      load: { kind: "drain", drain: { consumers, rdy: 2500 }, bodyBytes: 200 },
      messages: { bunsq: 5_000_000, nsqd: 800_000, bare: 20_000_000 },
    }),
  ),
  ...([1, 4, 16] as const).map(
    (channels): Workload => ({
      name: `channels-${channels}`,
      title: `MPUB and SUB at once, ${channels} channel${channels === 1 ? "" : "s"}, 1 consumer each, per delivered message`,
      set: "all",
      load: { kind: "publish-and-drain", publish: MPUB_200, drain: { consumers: channels, rdy: 2500, channels } },
      messages: { bunsq: Math.ceil(4_000_000 / channels), nsqd: Math.ceil(1_000_000 / channels) },
    }),
  ),
  ...([1, 100, 1000] as const).map(
    (topics): Workload => ({
      name: `topics-${topics}`,
      title: `MPUB 200 × 200 B in turn to ${topics} topic${topics === 1 ? "" : "s"}, 2 connections, 1 outstanding`,
      set: "all",
      load: { kind: "publish", publish: { ...MPUB_200, topics } },
      // The warm-up, a tenth, creates all topics.
      messages: { bunsq: 3_000_000, nsqd: topics === 1000 ? 2_000_000 : 700_000 },
    }),
  ),
  // The hardest case for a log per topic, because each message of a turn goes to another file.
  ...([1, 100, 1000] as const).map(
    (topics): Workload => ({
      name: `topics-pub-${topics}`,
      title: `PUB 200 B in turn to ${topics} topic${topics === 1 ? "" : "s"}, 16 connections, trains of 32`,
      set: "all",
      load: { kind: "publish", publish: { ...PUB_16, outstanding: 32, asTrains: true, topics } },
      messages: { bunsq: 2_000_000, nsqd: 500_000 },
    }),
  ),
  ...(
    [
      [16, 200],
      [4096, 10],
      [65_536, 1],
    ] as const
  ).map(
    ([bodyBytes, batch]): Workload => ({
      name: `size-${bodyBytes}`,
      title: `MPUB ${batch} × ${bodyBytes < 1024 ? `${bodyBytes} B` : `${bodyBytes / 1024} KB`}, 2 connections, 1 outstanding`,
      set: "all",
      load: { kind: "publish", publish: { ...MPUB_200, bodyBytes, batch } },
      // As many bytes as fit into two seconds, but not more messages than fit.
      messages: {
        bunsq: Math.min(6_000_000, Math.ceil(1.5e9 / bodyBytes)),
        nsqd: Math.min(800_000, Math.ceil(6e8 / bodyBytes)),
        bare: Math.min(12_000_000, Math.ceil(3e9 / bodyBytes)),
        "bare-file": Math.min(9_000_000, Math.ceil(2e9 / bodyBytes)),
      },
    }),
  ),
  {
    name: "http-mpub",
    title: "HTTP /mpub of 200 × 200 B, 16 connections",
    set: "all",
    load: { kind: "publish", publish: { ...MPUB_200, connections: 16, command: "HTTP /mpub" } },
    messages: { bunsq: 3_000_000, nsqd: 600_000, bare: 6_000_000, "bare-file": 4_000_000 },
  },
  {
    name: "sub-memory",
    title: "SUB drain of 50,000 that are still in memory, 2 consumers",
    set: "all",
    load: { kind: "waves", publish: MPUB_200, drain: { consumers: 2, rdy: 2500 }, waveMessages: 50_000 },
    messages: { bunsq: 5_000_000 },
  },
  {
    name: "backlog",
    title: "SUB drain of a backlog of 10 million (nsqd: 1 million), 2 consumers",
    set: "all",
    load: { kind: "drain", drain: { consumers: 2, rdy: 2500 }, bodyBytes: 200 },
    messages: { bunsq: 10_000_000, nsqd: 1_000_000 },
  },
  ...Object.entries(LAYERS).flatMap(([name, layers]): Workload[] => [
    {
      name: `mpub-${name}`,
      title: `MPUB 200 × 200 B of JSON over ${layersTitle(layers)}, 2 connections, 1 outstanding`,
      set: "all",
      load: { kind: "publish", publish: { ...MPUB_200, json: true, layers } },
      flags: { bunsq: TLS_FLAGS, nsqd: TLS_FLAGS },
      messages: { bunsq: 1_500_000, nsqd: 500_000 },
    },
    {
      name: `sub-${name}`,
      title: `SUB drain over ${layersTitle(layers)}, 2 consumers, RDY 2500, 200 B of JSON`,
      set: "all",
      load: { kind: "drain", drain: { consumers: 2, rdy: 2500, layers }, bodyBytes: 200, json: true },
      flags: { bunsq: TLS_FLAGS, nsqd: TLS_FLAGS },
      messages: { bunsq: 1_000_000, nsqd: 400_000 },
    },
  ]),
  ...([1_000, 50_000] as const).map(
    (perSecond): Workload => ({
      name: `latency-${perSecond / 1000}k`,
      title: `Publish to delivery at ${perSecond.toLocaleString("en-US")} messages/s, 200 B`,
      set: "all",
      load: { kind: "latency", perSecond, bodyBytes: 200 },
      messages: { bunsq: Math.max(5_000, perSecond * 2), nsqd: Math.max(5_000, perSecond * 2) },
    }),
  ),
  ...(
    [
      ["mpub-headers", "MPUB_EXT 200 × 200 B with headers of 100 B", HEADERS_100],
      ["mpub-keys", "MPUB_EXT 200 × 200 B with 10,000 keys", KEYED],
    ] as const
  ).map(
    ([name, title, publish]): Workload => ({
      name,
      title: `${title}, 2 connections, 1 outstanding`,
      set: "all",
      load: { kind: "publish", publish },
      topic: "",
      messages: { bunsq: 3_000_000 },
    }),
  ),
  ...([false, true] as const).map(
    (extended): Workload => ({
      name: extended ? "sub-headers" : "sub-stripped",
      title: `SUB drain of 200 B with headers of 100 B, ${extended ? "which consumers get" : "without the headers"}, 2 consumers, RDY 2500`,
      set: "all",
      load: { kind: "drain", drain: { consumers: 2, rdy: 2500, extended }, bodyBytes: 200, fill: HEADERS_100 },
      topic: "",
      messages: { bunsq: 5_000_000 },
    }),
  ),
  {
    name: "mpub-partitions",
    title: "MPUB 200 × 200 B to 16 partitions, 2 connections, 1 outstanding",
    set: "all",
    load: { kind: "publish", publish: MPUB_200 },
    topic: "partition_num=16",
    messages: { bunsq: 4_000_000 },
  },
  {
    name: "sub-partitions",
    title: "SUB drain of 16 partitions, 2 consumers, RDY 2500, 200 B",
    set: "all",
    load: { kind: "drain", drain: { consumers: 2, rdy: 2500 }, bodyBytes: 200 },
    topic: "partition_num=16",
    messages: { bunsq: 6_000_000 },
  },
  {
    name: "both-partitions",
    title: "MPUB and SUB at once over 16 partitions, 2 + 2 connections",
    set: "all",
    load: { kind: "publish-and-drain", publish: MPUB_200, drain: { consumers: 2, rdy: 2500 } },
    topic: "partition_num=16",
    messages: { bunsq: 12_000_000 },
  },
  ...([1, 16] as const).map(
    (partitions): Workload => ({
      name: `sub-keys-${partitions}`,
      title: `SUB drain in the order of 10,000 keys, ${partitions} partition${partitions === 1 ? "" : "s"}, 2 consumers, RDY 2500, 200 B`,
      set: "all",
      load: { kind: "drain", drain: { consumers: 2, rdy: 2500 }, bodyBytes: 200, fill: KEYED },
      topic: `partition_num=${partitions}`,
      channel: "ordered=key",
      messages: { bunsq: 3_000_000 },
    }),
  ),
  {
    name: "stall",
    title: "OK of one PUB each 10 ms beside a full MPUB load",
    set: "all",
    load: { kind: "stall", publish: MPUB_200, intervalMs: 10, bodyBytes: 200 },
    messages: { bunsq: 60, nsqd: 60 },
  },
  {
    name: "idle",
    title: "10,000 idle consumers, heartbeats each 5 s",
    set: "all",
    load: { kind: "idle", heartbeatMs: 5000, seconds: 15 },
    messages: { bunsq: 10_000, nsqd: 10_000 },
  },
];
