import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { expose } from "../../../../src/broker/metrics/exposition/exposition.ts";
import { MetricText } from "../../../../src/http/metrics/metric-text.ts";
import { until } from "../../../support/server.ts";
import { WithHttp } from "../../../support/with-http.ts";

let server: WithHttp;

beforeEach(() => {
  server = WithHttp.start();
});
afterEach(() => server[Symbol.asyncDispose]());

/** The samples of an answer, by name and labels. */
async function scrape(query = ""): Promise<Map<string, number>> {
  const text = await (await server.fetch("GET", `/metrics${query}`)).text();
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  const samples = new Map(
    lines.map((line): [string, number] => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ")))]),
  );
  expect(samples.size).toBe(lines.length);
  return samples;
}

async function fill(): Promise<void> {
  for (const [topic, channels, bodies] of [
    ["orders", ["mail", "bill"], ["one", "two"]],
    ["clicks", ["mail"], ["x"]],
  ] as const) {
    await server.call("POST", `/topic/create?topic=${topic}`);
    for (const channel of channels) await server.call("POST", `/channel/create?topic=${topic}&channel=${channel}`);
    for (const body of bodies) expect(await server.call("POST", `/pub?topic=${topic}`, body)).toBe("200 OK");
  }
}

test("without detail, topics and channels are given as one, by their sums and the largest age", async () => {
  await fill();
  const samples = await scrape();
  expect(samples.get("nsq_topics")).toBe(2);
  expect(samples.get("nsq_channels")).toBe(3);
  expect(samples.get("nsq_topic_messages_total")).toBe(3);
  expect(samples.get("nsq_topic_message_bytes_total")).toBe(7);
  expect(samples.get("nsq_channel_depth_messages")).toBe(5);
  expect(samples.get("nsq_channel_without_consumers")).toBe(3);
  expect(samples.get("nsq_channel_oldest_message_age_seconds")).toBeGreaterThan(0);
  expect(samples.get('nsq_topic_message_size_bytes_bucket{le="64.0"}')).toBe(3);
  expect(samples.get("nsq_publish_duration_seconds_count")).toBe(3);
  expect(samples.get('nsq_topic_message_rate{window="1m"}')).toBeGreaterThanOrEqual(0);
  expect(samples.get("nsq_healthy")).toBe(1);
  expect(samples.get("process_resident_memory_bytes")).toBeGreaterThan(1e7);
  expect([...samples.keys()].filter((name) => name.includes("topic="))).toEqual([]);
});

test("detail gives the same names labels, in place of the sum", async () => {
  await fill();
  const byTopic = await scrape("?detail=topic");
  expect(byTopic.get('nsq_topic_messages_total{topic="orders"}')).toBe(2);
  expect(byTopic.get('nsq_channel_depth_messages{topic="orders"}')).toBe(4);
  expect(byTopic.get('nsq_channel_depth_messages{topic="clicks"}')).toBe(1);
  expect(byTopic.has("nsq_channel_depth_messages")).toBeFalse();
  const byChannel = await scrape("?detail=channel");
  expect(byChannel.get('nsq_channel_depth_messages{topic="orders",channel="bill"}')).toBe(2);
  expect(byChannel.get('nsq_topic_depth_messages{topic="orders"}')).toBe(0);
  for (const samples of [byTopic, byChannel]) {
    // Those that take many lines stay those of all.
    expect(samples.get("nsq_channel_processing_seconds_count")).toBe(0);
    expect(samples.has('nsq_topic_message_rate{window="1s"}')).toBeTrue();
  }
  const one = await scrape("?detail=channel&topic=orders");
  expect([...one.keys()].filter((name) => name.includes("clicks"))).toEqual([]);
  expect(one.get('nsq_topic_message_size_bytes_count{topic="orders"}')).toBe(2);
  expect(one.get('nsq_channel_finish_rate{topic="orders",channel="mail",window="5m"}')).toBe(0);
  const mail = await scrape("?detail=channel&channel=mail");
  expect([...mail.keys()].filter((name) => name.startsWith("nsq_channel_depth"))).toEqual([
    'nsq_channel_depth_messages{topic="orders",channel="mail"}',
    'nsq_channel_depth_messages{topic="clicks",channel="mail"}',
  ]);
  expect((await scrape("?topic=clicks")).get("nsq_topic_messages_total")).toBe(1);
  expect((await scrape("?topic=unknown&detail=topic")).has('nsq_topic_messages_total{topic="unknown"}')).toBeFalse();
  expect(await server.call("GET", "/metrics?detail=everything")).toBe('400 {"message":"INVALID_ARG_DETAIL"}');
});

test("detail=client has the consumers, whatever they call themselves", async () => {
  await fill();
  const consumer = await server.started.consumer("orders", "mail", 5, { client_id: 'a "quoted" \\ id', hostname: "host" });
  await consumer.message();
  const samples = await scrape("?detail=client&topic=orders");
  const [label] = [...samples.keys()].filter((name) => name.startsWith("nsq_client_ready"));
  expect(label).toMatch(
    /\{topic="orders",channel="mail",client_id="a \\"quoted\\" \\\\ id",hostname="host",remote_address="127\.0\.0\.1:\d+"\}$/,
  );
  expect(samples.get(label)).toBe(5);
  expect(samples.get("nsq_clients_left_out")).toBe(0);
});

test("totals keep what deleted topics and channels had counted, and those of one topic do not", async () => {
  await fill();
  const consumer = await server.started.consumer("orders", "mail", 5);
  const message = await consumer.message();
  consumer.command(`FIN ${message.id}`);
  await until("the FIN is counted", async () => (await scrape()).get("nsq_channel_finished_messages_total") === 1);
  const before = await scrape();
  await server.call("POST", "/channel/delete?topic=orders&channel=mail");
  await server.call("POST", "/topic/delete?topic=clicks");
  const after = await scrape();
  for (const name of [
    "nsq_topic_messages_total",
    "nsq_channel_messages_total",
    "nsq_channel_delivered_messages_total",
    "nsq_channel_finished_messages_total",
    "nsq_channel_processing_seconds_count",
    "nsq_topic_message_size_bytes_count",
  ]) {
    expect([name, after.get(name)]).toEqual([name, before.get(name)]);
  }
  expect(after.get("nsq_channels")).toBe(1);
  expect((await scrape("?topic=orders")).get("nsq_channel_finished_messages_total")).toBe(0);
});

test("connections are counted by what they go through, and those that were refused", async () => {
  await server[Symbol.asyncDispose]();
  server = WithHttp.start({ maxConnections: 2 });
  const client = await server.started.client();
  const packed = await server.started.client();
  await packed.negotiate({ deflate: true, feature_negotiation: true });
  await client.call("PUB t", "x");
  const refused = await server.started.client();
  await refused.untilClosed();
  const samples = await scrape();
  expect(samples.get('nsq_connections{protocol="nsq",transport="tcp",compression="none"}')).toBe(1);
  expect(samples.get('nsq_connections{protocol="nsq",transport="tcp",compression="deflate"}')).toBe(1);
  expect(samples.get('nsq_connections{protocol="http",transport="tcp",compression="none"}')).toBe(1);
  expect(samples.get('nsq_refused_connections_total{protocol="nsq"}')).toBe(1);
  expect(samples.get("nsq_producers")).toBe(1);
});

test.each(["none", "topic", "channel", "client"] as const)(
  "with detail %s each step is one line, one histogram or one channel's reading",
  (detail) => {
    const { broker } = server;
    for (let t = 0; t < 60; t++) for (const name of ["a", "b", "c"]) broker.registry.topic(`topic-${t}`).channel(name);
    const text = new MetricText("text");
    let steps = 0;
    let longest = 0;
    for (const _ of expose(broker, { detail, topic: undefined, channel: undefined }, ["mixin", "lovoo"], text)) {
      longest = Math.max(longest, text.take().length);
      steps++;
    }
    // The longest ones are the fixed families of process and broker.
    expect(longest).toBeLessThan(4096);
    expect(steps).toBeGreaterThan(60 * 4);
  },
);

describe("--metrics-names", () => {
  test("adds the names of Grafana's mixin and of lovoo's exporter, by topic and channel", async () => {
    await server[Symbol.asyncDispose]();
    server = WithHttp.start({ metricsNames: ["mixin", "lovoo"], e2eProcessingLatencyPercentiles: [0.99] });
    await fill();
    const samples = await scrape();
    expect(samples.get("nsq_channel_depth_messages")).toBe(5);
    expect(samples.get('nsq_topic_message_count{topic="orders"}')).toBe(2);
    expect(samples.get('nsq_topic_channel_depth{topic="orders",channel="mail"}')).toBe(2);
    expect(samples.get('nsq_topic_channel_clients{topic="orders",channel="mail"}')).toBe(0);
    expect(samples.get('nsq_topic_channel_e2e_processing_latency_99{topic="orders",channel="mail"}')).toBe(0);
    expect(samples.get("nsq_mem_heap_in_use_bytes")).toBeGreaterThan(0);
    expect(samples.get('nsq_depth{type="channel",topic="orders",channel="mail",paused="false"}')).toBe(2);
    expect(samples.get('nsq_channel_count{type="topic",topic="orders",channel="",paused="false"}')).toBe(2);
    expect([...samples.keys()].filter((name) => name.includes("latency_95p"))).toEqual([]);
    await server.started.consumer("orders", "mail");
    const label = 'nsq_client_ready_count{type="client",topic="orders",channel="mail",deflate="false"';
    const clients = await scrape("?detail=client");
    expect([...clients.keys()].filter((name) => name.startsWith(label))).toHaveLength(1);
  });
});

test("partitions are given one by one with detail=partition alone, where a topic has several", async () => {
  await fill();
  await server.call("POST", "/topic/create?topic=split&partition_num=3");
  await server.call("POST", "/channel/create?topic=split&channel=mail&ordered=partition");
  for (const body of ["a", "b", "c", "d"]) await server.call("POST", "/pub?topic=split", body);
  const inOrder = await server.started.consumer("split", "mail", 4);
  await inOrder.message();
  const sums = await scrape("?detail=channel");
  expect(sums.get('nsq_topic_partitions{topic="split"}')).toBe(3);
  expect(sums.get('nsq_topic_messages_total{topic="split"}')).toBe(4);
  expect([...sums.keys()].filter((name) => name.includes("partition="))).toEqual([]);
  const each = await scrape("?detail=partition");
  expect([0, 1, 2].map((index) => each.get(`nsq_partition_messages_total{topic="split",partition="${index}"}`))).toEqual([2, 1, 1]);
  const of = (name: string, index: number) =>
    each.get(`nsq_channel_partition_${name}_messages{topic="split",channel="mail",partition="${index}"}`);
  expect([of("depth", 0), of("in_flight", 0), of("blocked", 0), of("blocked", 1)]).toEqual([1, 1, 1, 0]);
  expect(each.get('nsq_channel_blocked_messages{topic="split",channel="mail"}')).toBe(1);
  expect(each.get("nsq_partitions_left_out")).toBe(0);
  // A topic with one is its partition.
  expect([...each.keys()].filter((name) => name.includes("partition=") && !name.includes("split"))).toEqual([]);
  const ofChannel = await scrape("?detail=partition&topic=split&channel=mail");
  expect(ofChannel.has('nsq_partition_messages_total{topic="split",partition="0"}')).toBeFalse();
  expect(ofChannel.has('nsq_channel_partition_depth_messages{topic="split",channel="mail",partition="2"}')).toBeTrue();
});

test("what a filter finished and what went to the dead letters is counted, also when the channel is deleted", async () => {
  await server.call("POST", "/topic/create?topic=picky");
  const filter = encodeURIComponent('{"type":1,"filter_ext_key":"region","filter_data":"eu"}');
  await server.call("POST", `/channel/create?topic=picky&channel=eu&filter=${filter}`);
  for (const body of ["a", "b"]) await server.call("POST", "/pub?topic=picky", body);
  await server.started.consumer("picky", "eu", 1);
  await until("both are filtered", async () => (await scrape()).get("nsq_channel_filtered_messages_total") === 2);
  await server.call("POST", "/channel/delete?topic=picky&channel=eu");
  expect((await scrape()).get("nsq_channel_filtered_messages_total")).toBe(2);
  await server.call("POST", "/channel/create?topic=picky&channel=once&start=beginning&max_attempts=2&dead_letter_topic=dead");
  await server.call("POST", "/pub?topic=picky", "poison");
  const consumer = await server.started.consumer("picky", "once", 1);
  let { id } = await consumer.message();
  consumer.command(`REQ ${id} 0`);
  ({ id } = await consumer.message());
  await until("it is known", async () => (await scrape()).get("nsq_channel_most_attempts") === 2);
  consumer.command(`REQ ${id} 0`);
  await until("it is a dead letter", async () => (await scrape("?topic=picky")).get("nsq_channel_dead_letter_messages_total") === 1);
  expect((await scrape("?detail=topic")).get('nsq_topic_messages_total{topic="dead"}')).toBe(1);
});
