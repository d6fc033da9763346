import { UpstreamError } from "../../../src/admin/upstream/upstream.ts";
import type { Upstream } from "../../../src/admin/watch/watcher.ts";

/** A channel as /stats has it; what is left out is 0. */
export interface FakeChannel {
  depth?: number;
  in_flight_count?: number;
  deferred_count?: number;
  message_count?: number;
  requeue_count?: number;
  timeout_count?: number;
  client_count?: number;
  paused?: boolean;
  read_failure?: string;
  clients?: object[];
  [more: string]: unknown;
}

export interface FakeTopic {
  depth?: number;
  message_count?: number;
  message_bytes?: number;
  paused?: boolean;
  channels: Record<string, FakeChannel>;
  [more: string]: unknown;
}

/** What a broker would answer. A test changes it, and lets time pass. */
export interface FakeBroker {
  topics: Record<string, FakeTopic>;
  start_time?: number;
  health?: string;
  bunsq_version?: string;
  producers?: object[];
  /** Why it does not answer. */
  down?: string;
  /** Answers when this is fulfilled. */
  delay?: Promise<void>;
  [more: string]: unknown;
}

export interface FakeLookup {
  bunsq_version?: string;
  /** What it tells of a replicated cluster; undefined: it is in none. */
  cluster?: { status: object; topics: { topic: string }[] };
  brokers: { address: string; topics: string[]; tombstones?: boolean[] }[];
  topics: string[];
  down?: string;
}

/** Brokers and lookups by their addresses, without any network. */
export class FakeUpstream implements Upstream {
  readonly brokers = new Map<string, FakeBroker>();
  readonly lookups = new Map<string, FakeLookup>();
  /** All requests so far: address and path. */
  readonly asked: string[] = [];

  async getJson(address: string, path: string, signal: AbortSignal): Promise<unknown> {
    this.asked.push(`${address}${path}`);
    const lookup = this.lookups.get(address);
    if (lookup !== undefined) return answerOfLookup(lookup, address, path);
    const broker = this.brokers.get(address);
    if (broker === undefined) throw new Error("connection refused");
    await broker.delay;
    if (signal.aborted) throw new Error("aborted");
    if (broker.down !== undefined) throw new Error(broker.down);
    // A copy, as over a network.
    return JSON.parse(JSON.stringify(answerOfBroker(broker, address, path)));
  }

  askedFor(address: string, path: string): number {
    return this.asked.filter((request) => request.startsWith(`${address}${path}`)).length;
  }
}

function answerOfLookup(lookup: FakeLookup, address: string, path: string): unknown {
  if (lookup.down !== undefined) throw new Error(lookup.down);
  if (path === "/topics") return { topics: lookup.topics };
  if (path === "/info") return { version: "1.3.0", bunsq_version: lookup.bunsq_version };
  if (path.startsWith("/cluster/")) return answerOfCluster(lookup, address, path);
  const producers = lookup.brokers.map(({ address, topics, tombstones }) => {
    const [host, port] = address.split(":");
    return { broadcast_address: host, http_port: Number(port), topics, tombstones: tombstones ?? topics.map(() => false) };
  });
  return { producers };
}

function answerOfCluster({ cluster }: FakeLookup, address: string, path: string): unknown {
  const request = { method: "GET", path } as const;
  if (cluster === undefined)
    throw new UpstreamError(address, request, "refused", 400, "NO_CLUSTER: it was started without -etcd-endpoints");
  if (path === "/cluster/status") return cluster.status;
  const topic = new URLSearchParams(path.split("?")[1]).get("topic");
  const topics = cluster.topics.filter((one) => topic === null || one.topic === topic);
  if (topic !== null && topics.length === 0) throw new UpstreamError(address, request, "refused", 404, "NO_SUCH_TOPIC: none");
  return { topics };
}

function answerOfBroker(broker: FakeBroker, address: string, path: string): unknown {
  if (path === "/info") return { version: "1.3.0", hostname: `host of ${address}`, tcp_port: 4150, http_port: 4151 };
  if (path.startsWith("/cluster/replicas")) return { uid: address, replicas: broker.replicas ?? [] };
  const query = new URLSearchParams(path.split("?")[1]);
  const [topic, channel, withClients] = [query.get("topic") ?? "", query.get("channel") ?? "", query.get("include_clients") !== "false"];
  const { topics, producers, down, delay, replicas, ...more } = broker;
  const shown = Object.entries(topics).filter(([name]) => topic === "" || name === topic);
  return {
    version: "1.3.0",
    health: "OK",
    start_time: 1,
    ...more,
    topics: shown.map(([topic_name, { channels, ...counts }]) => ({
      topic_name,
      ...counts,
      channels: Object.entries(channels)
        .filter(([name]) => channel === "" || name === channel)
        .map(([channel_name, { clients, ...counted }]) => ({ channel_name, ...counted, clients: withClients ? (clients ?? []) : null })),
    })),
    producers: withClients ? (producers ?? null) : null,
  };
}
