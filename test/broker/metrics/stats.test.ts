import { expect, test } from "bun:test";
import { readMemory, readStats } from "../../../src/broker/metrics/stats.ts";
import { InProcess } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";

const NO_LATENCY = { count: 0, percentiles: null };

test("topics and channels are in the order of their names, with nsqd's keys in nsqd's order", async () => {
  await using started = InProcess.start();
  const { broker } = started;
  for (const name of ["b", "C", "a"]) broker.registry.topic(name);
  for (const name of ["z", "y"]) broker.registry.topic("a").channel(name);
  broker.registry.topic("C").pause();
  broker.registry.topic("a").channel("y").pause();
  await broker.publishing.publish(broker.registry.topic("C").partitions[0], "", Buffer.from("hello"), 0);
  await broker.publishing.publish(broker.registry.topic("a").partitions[0], "", Buffer.from("one"), 0);

  const { topics, producers } = readStats(broker, "", "", true);
  expect(producers).toBeNull();
  expect(topics?.map((topic) => topic.topic_name)).toEqual(["C", "a", "b"]);
  expect(JSON.stringify(topics?.[0])).toBe(
    '{"topic_name":"C","channels":[],"depth":1,"backend_depth":0,"message_count":1,"message_bytes":5,"paused":true,"e2e_processing_latency":{"count":0,"percentiles":null}}',
  );
  expect(topics?.[1].channels.map((channel) => channel.channel_name)).toEqual(["y", "z"]);
  expect(JSON.stringify(topics?.[1].channels[0])).toBe(
    '{"channel_name":"y","depth":1,"backend_depth":0,"in_flight_count":0,"deferred_count":0,"message_count":1,"requeue_count":0,"timeout_count":0,"client_count":0,"clients":[],"paused":true,"e2e_processing_latency":{"count":0,"percentiles":null}}',
  );
});

test("a consumer is shown with what it told by IDENTIFY, and with its counters", async () => {
  await using started = InProcess.start();
  const { broker } = started;
  const startedS = Math.floor(Date.now() / 1000);
  const consumer = await started.consumer("t", "ch", 2, { client_id: "id", hostname: "host", user_agent: "agent/1.0", sample_rate: 42 });
  const read = () => readStats(broker, "", "", true).topics?.[0].channels[0].clients?.[0];
  await until("RDY is known", () => read()?.ready_count === 2);
  const { remote_address: remoteAddress, connect_ts: connectTs, ...rest } = read()!;
  expect(remoteAddress).toMatch(/^127\.0\.0\.1:\d+$/);
  expect(connectTs).toBeWithin(startedS, Math.floor(Date.now() / 1000) + 1);
  expect(rest).toEqual({
    client_id: "id",
    hostname: "host",
    version: "V2",
    state: 3,
    ready_count: 2,
    in_flight_count: 0,
    message_count: 0,
    finish_count: 0,
    requeue_count: 0,
    sample_rate: 42,
    deflate: false,
    snappy: false,
    user_agent: "agent/1.0",
    tls: false,
    tls_cipher_suite: "",
    tls_version: "",
    tls_negotiated_protocol: "",
    tls_negotiated_protocol_is_mutual: false,
  });
  consumer.close();
  await until("it is gone", () => readStats(broker, "t", "ch", true).topics?.[0].channels[0].client_count === 0);
});

test("a client that publishes is a producer, with its number of messages by topic", async () => {
  await using started = InProcess.start();
  const { broker } = started;
  const producer = await started.client();
  await producer.call("PUB a", "1");
  await producer.call("PUB b", "1");
  producer.mpub("a", ["2", "3"]);
  await producer.response();
  const idle = await started.client();
  await idle.call("IDENTIFY", "{}");

  const counts = (topic: string) => readStats(broker, topic, "", true).producers?.map((client) => client.pub_counts);
  expect(counts("")).toEqual([
    [
      { topic: "a", count: 3 },
      { topic: "b", count: 1 },
    ],
  ]);
  expect(counts("b")).toEqual([[{ topic: "b", count: 1 }]]);
  broker.registry.topic("c");
  // nsqd shows every producer for every topic, without counts if it has not published to the topic.
  expect(counts("c")).toEqual([undefined]);
  expect(readStats(broker, "", "", false).producers).toBeNull();
});

test("filters leave out topics and channels as nsqd does, with its nulls and empty lists", async () => {
  await using started = InProcess.start();
  const { broker } = started;
  broker.registry.topic("a").channel("x");
  broker.registry.topic("a").channel("y");
  broker.registry.topic("b").channel("x");
  const shown = (topic: string, channel: string) =>
    readStats(broker, topic, channel, true).topics?.map((t) => `${t.topic_name}: ${t.channels.map((c) => c.channel_name).join()}`);
  expect(shown("", "")).toEqual(["a: x,y", "b: x"]);
  expect(shown("b", "")).toEqual(["b: x"]);
  expect(shown("", "y")).toEqual(["a: y"]);
  expect(shown("a", "x")).toEqual(["a: x"]);
  expect(shown("b", "y")).toEqual([]);
  expect(readStats(broker, "none", "", true)).toEqual({ topics: null, producers: null });
  expect(readStats(broker, "a", "x", false).topics?.[0].channels[0]).toMatchObject({
    clients: null,
    client_count: 0,
    e2e_processing_latency: NO_LATENCY,
  });
});

test("memory has nsqd's keys, and the known numbers are not 0", () => {
  // The collector counts the cells.
  Bun.gc(true);
  const memory = readMemory();
  expect(Object.keys(memory)).toEqual([
    "heap_objects",
    "heap_idle_bytes",
    "heap_in_use_bytes",
    "heap_released_bytes",
    "gc_pause_usec_100",
    "gc_pause_usec_99",
    "gc_pause_usec_95",
    "next_gc_bytes",
    "gc_total_runs",
  ]);
  expect(memory.heap_objects).toBeGreaterThan(1000);
  expect(memory.heap_in_use_bytes).toBeGreaterThan(100_000);
  for (const value of Object.values(memory)) expect(Number.isSafeInteger(value) && value >= 0).toBe(true);
});
