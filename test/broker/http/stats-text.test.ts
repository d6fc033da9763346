import { expect, test } from "bun:test";
import { TextStats } from "../../../src/broker/http/stats-text.ts";
import type { ChannelStats, ClientStats, MemoryStats, Stats, TopicStats } from "../../../src/broker/metrics/stats.ts";
import { TextSlices } from "../../../src/http/server/slices.ts";
import { versionLine } from "../../../src/version.ts";

const START_MS = Date.UTC(2026, 10, 22, 8, 5, 0, 250);
const NO_LATENCY = { count: 0, percentiles: null } as const;

const CLIENT: ClientStats = {
  client_id: "c",
  hostname: "müller",
  version: "V2",
  remote_address: "10.0.0.1:50123",
  state: 3,
  ready_count: 2500,
  in_flight_count: 1,
  message_count: 7,
  finish_count: 5,
  requeue_count: 6,
  connect_ts: START_MS / 1000 - 0.25,
  sample_rate: 0,
  deflate: false,
  snappy: false,
  user_agent: "go/1",
  tls: false,
  tls_cipher_suite: "",
  tls_version: "",
  tls_negotiated_protocol: "",
  tls_negotiated_protocol_is_mutual: false,
};

const CHANNEL: ChannelStats = {
  channel_name: "archive",
  depth: 1234567,
  backend_depth: 0,
  in_flight_count: 12345,
  deferred_count: 7,
  message_count: 1,
  requeue_count: 8,
  timeout_count: 9,
  client_count: 1,
  clients: [CLIENT],
  paused: true,
  e2e_processing_latency: NO_LATENCY,
};

const TOPIC: TopicStats = {
  topic_name: "orders",
  channels: [CHANNEL],
  depth: 3,
  backend_depth: 2,
  message_count: 10,
  message_bytes: 100,
  paused: false,
  e2e_processing_latency: NO_LATENCY,
};

const MEMORY: MemoryStats = {
  heap_objects: 12,
  heap_idle_bytes: 0,
  heap_in_use_bytes: 0,
  heap_released_bytes: 0,
  gc_pause_usec_100: 0,
  gc_pause_usec_99: 0,
  gc_pause_usec_95: 0,
  next_gc_bytes: 0,
  gc_total_runs: 0,
};

function printStats({ topics, producers }: Stats, memory: MemoryStats | undefined, health: string, startMs: number, nowMs: number): string {
  const out = new TextSlices();
  const writer = new TextStats(out, memory, health, startMs, nowMs);
  for (const topic of topics ?? []) {
    writer.beginTopic(topic);
    for (const channel of topic.channels) {
      writer.beginChannel(channel);
      for (const client of channel.clients ?? []) writer.client(client);
    }
  }
  writer.endTopics();
  for (const producer of producers ?? []) writer.producer(producer);
  writer.end();
  return out.take();
}

/** Sets the time zone of this process. A test in one zone only would not find a wrong sign. */
function inZone<T>(zone: string, run: () => T): T {
  const before = process.env.TZ;
  process.env.TZ = zone;
  try {
    return run();
  } finally {
    process.env.TZ = before ?? "Etc/UTC";
  }
}

test("a broker without topics and producers says so", () => {
  const text = inZone("Etc/UTC", () => printStats({ topics: [], producers: null }, undefined, "OK", START_MS, START_MS + 1500));
  expect(text).toBe(
    `${versionLine("nsqd")}\nstart_time 2026-11-22T08:05:00Z\nuptime 1.5s\n\nHealth: OK\n\nTopics: None\n\nProducers: None\n`,
  );
  expect(printStats({ topics: null, producers: null }, undefined, "OK", START_MS, START_MS)).toContain("\nTopics: None\n");
});

test("topics, channels, clients and producers are in columns, padded as by Go's fmt", () => {
  const producer: ClientStats = {
    ...CLIENT,
    hostname: "a.host.with.a.long.name",
    remote_address: "[::1]:50124",
    user_agent: "agent/1.0",
    pub_counts: [
      { topic: "orders", count: 10 },
      { topic: "returns", count: 5 },
    ],
  };
  const second: TopicStats = { ...TOPIC, topic_name: "a-topic-of-more-than-fifteen", paused: true, channels: [] };
  const nowMs = START_MS + 3_661_000;
  const text = printStats({ topics: [TOPIC, second], producers: [producer] }, MEMORY, "NOK - disk full", START_MS, nowMs);
  expect(text.split("\n").slice(2)).toEqual([
    "uptime 1h1m1s",
    "",
    "Health: NOK - disk full",
    "",
    "Memory:",
    "   heap_objects             \t12",
    "   heap_idle_bytes          \t0",
    "   heap_in_use_bytes        \t0",
    "   heap_released_bytes      \t0",
    "   gc_pause_usec_100        \t0",
    "   gc_pause_usec_99         \t0",
    "   gc_pause_usec_95         \t0",
    "   next_gc_bytes            \t0",
    "   gc_total_runs            \t0",
    "",
    "Topics:",
    "   [orders         ] depth: 3     be-depth: 2     msgs: 10       e2e%: ",
    "   *P [archive                  ] depth: 1234567 be-depth: 0     inflt: 12345 def: 7    re-q: 8     timeout: 9     msgs: 1        e2e%: ",
    "        [V2 müller:50123 go/1    ] state: 3 inflt: 1    rdy: 2500 fin: 5        re-q: 6        msgs: 7        connected: 1h1m1s",
    "",
    "*P [a-topic-of-more-than-fifteen] depth: 3     be-depth: 2     msgs: 10       e2e%: ",
    "",
    "Producers:",
    "   [V2 a.host.with.a.long.name:50124 agent/1.0] msgs: 15       topics: orders=10,returns=5 connected: 1h1m1s",
    "",
  ]);
});

test("the start time is in the local zone, as RFC 3339", () => {
  const startTime = (zone: string) =>
    inZone(zone, () => /start_time (\S+)/.exec(printStats({ topics: [], producers: null }, undefined, "OK", START_MS, START_MS))?.[1]);
  expect(startTime("Asia/Kolkata")).toBe("2026-11-22T13:35:00+05:30");
  expect(startTime("America/New_York")).toBe("2026-11-22T03:05:00-05:00");
  expect(startTime("America/St_Johns")).toBe("2026-11-22T04:35:00-03:30");
});
