import { afterEach, describe, expect, test } from "bun:test";
import { type BrokerFigures, type ChannelFigures, Figures, type TopicFigures } from "../../../src/broker/metrics/figures.ts";
import { until } from "../../support/server.ts";
import { Collector, TimedBroker } from "../../support/timed-broker.ts";
import { WithHttp } from "../../support/with-http.ts";

describe("with a clock that the test moves", () => {
  let timed: TimedBroker;

  afterEach(() => timed.end());

  /** What /stats shows of the topic and the channel of the tests. */
  function figures(isDetailed = false): { broker: BrokerFigures; topic: TopicFigures; channel: ChannelFigures } {
    const read = new Figures(timed.broker, isDetailed, timed.clock.wallMs());
    const channel = timed.topic.channels.get("c");
    if (channel === undefined) throw new Error("there is no channel");
    return { broker: brokerFigures(), topic: read.topic(timed.topic), channel: read.channel(channel) };
  }

  /** What it shows of the broker. */
  function brokerFigures(): BrokerFigures {
    const read = new Figures(timed.broker, false, timed.clock.wallMs());
    for (const topic of timed.broker.registry.topics.values()) read.add(topic);
    return read.broker();
  }

  function counted(latency: ChannelFigures["latency"], name: string): { bound: number; count: number }[] {
    const found = latency?.find((row) => row.name === name);
    return (found?.counts ?? []).flatMap((count, i) =>
      count === 0 ? [] : [{ bound: found?.bounds[i] ?? Number.POSITIVE_INFINITY, count }],
    );
  }

  test("rates follow what was published, delivered, finished, requeued and timed out in the last second", async () => {
    timed = new TimedBroker();
    const channel = timed.topic.channel("c");
    timed.clock.advance(1500);
    for (let i = 0; i < 40; i++) await timed.publish("x");
    const consumer = new Collector(40, 1, 60_000);
    channel.addConsumer(consumer);
    channel.markDirty();
    timed.clock.endTurn();
    expect(channel.partitions[0].finishRun(consumer, 0, 10)).toBe(10);
    expect(channel.partitions[0].requeue(consumer, 10, 0)).toBeUndefined();
    timed.clock.advance(1000);
    const { broker, topic, channel: shown } = figures();
    expect(shown.rates.in[0]).toBeCloseTo(40, -1);
    // The requeued message was delivered twice.
    expect(shown.rates.out[0]).toBeCloseTo(41, -1);
    expect(shown.rates.finish[0]).toBeCloseTo(10, -1);
    expect(shown.rates.requeue[0]).toBeCloseTo(1, 0);
    expect(shown.rates.timeout).toEqual([0, 0, 0]);
    expect(shown.rates.in[1]).toBeLessThan(shown.rates.in[0]);
    expect(topic.rates).toEqual(shown.rates);
    expect(broker.rates).toEqual(topic.rates);
    timed.clock.advance(61_000);
    expect(figures().channel.rates.timeout[1]).toBeGreaterThan(0);
    timed.clock.advance(3_600_000);
    expect(figures().channel.rates.in).toEqual([0, 0, 0]);
  });

  test("the age is that of the oldest message that waits, in memory, on disk only, and after a restart", async () => {
    timed = new TimedBroker();
    timed.topic.channel("c");
    expect(figures().channel.oldest_age_ms).toBeNull();
    const oldMs = timed.clock.wallMs();
    await timed.publish("old");
    timed.clock.advance(5000);
    const newMs = timed.clock.wallMs();
    await timed.publish("new");
    timed.clock.advance(1000);
    expect(figures().channel.oldest_age_ms).toBeWithin(5990, 6020);
    expect(figures().topic.oldest_age_ms).toBe(figures().channel.oldest_age_ms);
    expect(figures().channel.backlog_bytes).toBeGreaterThan(60);
    timed.clock.advance(20_000);
    expect(timed.topic.partitions[0].log.cachedSequence).toBe(timed.topic.partitions[0].log.next);
    expect(figures().channel.oldest_age_ms).toBeWithin(25_990, 26_020);
    await timed.restart();
    timed.clock.advance(1000);
    expect(timed.clock.wallMs() - (figures().channel.oldest_age_ms ?? 0)).toBeWithin(oldMs - 5, oldMs + 5);
    const consumer = new Collector(1);
    const reopened = timed.topic.channel("c");
    reopened.addConsumer(consumer);
    reopened.markDirty();
    timed.clock.endTurn();
    expect(timed.clock.wallMs() - (figures().channel.oldest_age_ms ?? 0)).toBeWithin(newMs - 5, newMs + 5);
  });

  test("a message that waits to be delivered again counts as old as it is, and one in flight does not wait", async () => {
    timed = new TimedBroker();
    const channel = timed.topic.channel("c");
    const consumer = new Collector(1);
    channel.addConsumer(consumer);
    await timed.publish("one");
    timed.clock.advance(3000);
    expect(figures().channel.oldest_age_ms).toBeNull();
    consumer.readyCount = 0;
    channel.partitions[0].requeue(consumer, 0, 0);
    expect(figures().channel.oldest_age_ms).toBeWithin(2990, 3020);
  });

  test("messages of a topic without channels, or that is paused, have an age there", async () => {
    timed = new TimedBroker();
    await timed.publish("one");
    timed.clock.advance(700);
    expect(brokerFigures().oldest_age_ms).toBeWithin(690, 720);
  });

  test("histograms have how long messages took to their first delivery and from there to FIN, and their sizes", async () => {
    timed = new TimedBroker();
    const channel = timed.topic.channel("c");
    for (let i = 0; i < 3; i++) await timed.publish("x".repeat(100));
    timed.clock.advance(200);
    for (let i = 0; i < 5; i++) await timed.publish("x".repeat(2000));
    timed.clock.advance(3);
    const consumer = new Collector(100);
    channel.addConsumer(consumer);
    channel.markDirty();
    timed.clock.endTurn();
    timed.clock.advance(70);
    timed.broker.turn.readClock();
    channel.partitions[0].finishRun(consumer, 0, 6);
    timed.clock.advance(2000);
    timed.broker.turn.readClock();
    channel.partitions[0].finish(consumer, 6);
    channel.partitions[0].requeue(consumer, 7, 0);
    timed.clock.endTurn();
    timed.clock.advance(4);
    timed.broker.turn.readClock();
    channel.partitions[0].finish(consumer, 7);
    const { broker, topic, channel: shown } = figures(true);
    expect(counted(shown.latency, "publish_to_delivery")).toEqual([
      { bound: 5, count: 5 },
      { bound: 250, count: 3 },
    ]);
    // The last one was delivered again, and finished 4 ms later.
    expect(counted(shown.latency, "delivery_to_finish")).toEqual([
      { bound: 5, count: 1 },
      { bound: 100, count: 6 },
      { bound: 5000, count: 1 },
    ]);
    expect(counted(topic.latency, "message_size")).toEqual([
      { bound: 256, count: 3 },
      { bound: 4096, count: 5 },
    ]);
    expect(counted(broker.latency, "publish_to_ok").reduce((sum, { count }) => sum + count, 0)).toBe(8);
    timed.broker.registry.deleteTopic("t");
    expect(brokerFigures().latency.map(({ name, count }) => [name, count])).toEqual([
      ["publish_to_ok", 8],
      ["publish_to_delivery", 8],
      ["delivery_to_finish", 8],
      ["fsync", expect.any(Number)],
      ["message_size", 8],
    ]);
  });
});

describe("GET /stats", () => {
  test("has the figures only where bunsq=true asks for them, and histograms of a topic only where topic= names it", async () => {
    await using server = WithHttp.start();
    await server.call("POST", "/pub?topic=t", "hello");
    await server.call("POST", "/channel/create?topic=t&channel=c");
    const read = async (query: string) =>
      (await (await server.fetch("GET", `/stats?format=json${query}`)).json()) as Record<string, unknown>;
    const plain = await read("");
    for (const key of ["rates", "latency", "log_bytes"]) expect(plain).not.toHaveProperty(key);
    const poll = await read("&include_clients=false&include_mem=false&bunsq=true");
    expect(poll).toHaveProperty("topics.0.rates.in");
    expect(poll).toHaveProperty("topics.0.channels.0.rates.timeout");
    expect(poll).toHaveProperty("topics.0.channels.0.backlog_bytes");
    expect(poll).not.toHaveProperty("topics.0.latency");
    expect(poll).toHaveProperty("disk_free_bytes");
    const one = await read("&topic=t&bunsq=true");
    expect(one).toHaveProperty("topics.0.latency.0.name", "message_size");
    expect(one).toHaveProperty("topics.0.channels.0.latency.0.name", "publish_to_delivery");
  });

  test("has the publishes of each client that were refused", async () => {
    await using server = WithHttp.start();
    const client = await server.started.client();
    await client.call("PUB t", "one");
    client.command("PUB bad*name", "two");
    expect((await client.next()).text).toContain("E_BAD_TOPIC");
    const other = await server.started.client();
    await other.call("PUB t", "three");
    await until("the first client is gone", () => server.broker.listener.connections.size === 1);
    const stats = (await (await server.fetch("GET", "/stats?format=json&bunsq=true")).json()) as {
      publish_errors: number;
      producers: { publish_errors: number }[];
    };
    expect(stats.publish_errors).toBe(1);
    expect(stats.producers.map((producer) => producer.publish_errors)).toEqual([0]);
  });
});
