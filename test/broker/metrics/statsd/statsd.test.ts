import { describe, expect, test } from "bun:test";
import { networkInterfaces } from "node:os";
import { StartError } from "../../../../src/base/start-error.ts";
import { readMemory, readStats, type TopicStats } from "../../../../src/broker/metrics/stats.ts";
import { Packets } from "../../../../src/broker/metrics/statsd/packets.ts";
import { statsdPrefix } from "../../../../src/broker/metrics/statsd/prefix.ts";
import { Report } from "../../../../src/broker/metrics/statsd/report.ts";
import { StatsdReporter } from "../../../../src/broker/metrics/statsd/reporter.ts";
import { defaultOptions, InProcess } from "../../../support/in-process.ts";
import { testUnless } from "../../../support/needs.ts";
import { until } from "../../../support/server.ts";
import { UdpSink } from "../../../support/udp-sink.ts";

/** On the loopback at least. */
const hasIpv6 = Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ family }) => family === "IPv6"));

describe("packets", () => {
  test("have whole lines up to their size", () => {
    const packets = new Packets("p.", 20);
    packets.gauge("a", 1);
    packets.increment("b", -20);
    packets.gauge("cc", 3);
    packets.gauge("d", 4);
    expect(packets.end()).toEqual(["p.a:1|g\np.b:-20|c\n", "p.cc:3|g\np.d:4|g\n"]);
  });

  test("have only one line if it is longer than a packet", () => {
    const packets = new Packets("", 10);
    packets.gauge("a", 1);
    packets.gauge("a_long_key", 1);
    packets.gauge("b", 1);
    expect(packets.end()).toEqual(["a:1|g\n", "a_long_key:1|g\n", "b:1|g\n"]);
  });

  test("do not exist without lines", () => {
    expect(new Packets("", 10).end()).toEqual([]);
  });
});

test("the prefix has the broker's broadcast address and HTTP port", () => {
  const prefix = (text: string, httpPort = 4151, broadcastHttpPort = 0, broadcastAddress = "host.example") =>
    statsdPrefix(defaultOptions({ statsdPrefix: text, broadcastAddress, broadcastHttpPort }), httpPort);
  expect(prefix("nsq.%s")).toBe("nsq.host_example_4151.");
  expect(prefix("%s.x.%s.")).toBe("host_example_4151.x.host_example_4151.");
  expect(prefix("")).toBe("");
  expect(prefix("fixed")).toBe("fixed.");
  expect(prefix("%s", 0)).toBe("host_example_0.");
  expect(prefix("%s", 4151, 80)).toBe("host_example_80.");
  expect(prefix("%s", 4151, 0, "::1")).toBe("[__1]_4151.");
});

describe("a report", () => {
  const topic = (changes: Partial<TopicStats>): TopicStats => ({
    topic_name: "t",
    channels: [],
    depth: 0,
    backend_depth: 0,
    message_count: 0,
    message_bytes: 0,
    paused: false,
    e2e_processing_latency: { count: 0, percentiles: null },
    ...changes,
  });
  const lines = (report: Report, ...topics: TopicStats[]): string[] => {
    const packets = new Packets("", 65_507);
    report.start();
    for (const stats of topics) report.writeTopic(packets, stats);
    return packets.end().join("").split("\n").slice(0, -1);
  };
  const counter = (report: Report, ...topics: TopicStats[]) => lines(report, ...topics).filter((line) => line.includes("message_count"));

  test("has the increase of counters", () => {
    const report = new Report(false);
    expect(counter(report, topic({ message_count: 5 }))).toEqual(["topic.t.message_count:5|c"]);
    expect(counter(report, topic({ message_count: 7 }))).toEqual(["topic.t.message_count:2|c"]);
    // The topic was deleted and made again.
    expect(counter(report, topic({ message_count: 1 }))).toEqual(["topic.t.message_count:-6|c"]);
    expect(counter(report)).toEqual([]);
    expect(counter(report, topic({ message_count: 3 }))).toEqual(["topic.t.message_count:3|c"]);
  });

  test("has percentiles in hundredths, rounded as in Go", () => {
    const percentiles = [1, 0.999, 0.995, 0.125, 0.115, 0.57].map((quantile) => ({ quantile, value: 7 }));
    const told = lines(new Report(false), topic({ e2e_processing_latency: { count: 1, percentiles } }));
    expect(told.slice(4)).toEqual([100, 100, 100, 12, 12, 57].map((name) => `topic.t.e2e_processing_latency_${name}:7|g`));
  });

  test("does not take a topic with dots in its name for another topic's channel", async () => {
    await using started = InProcess.start();
    const { broker } = started;
    broker.registry.topic("a").channel("b");
    broker.registry.topic("a.channel.b");
    await started.publish("a", "m", "m");
    await started.publish("a.channel.b", "m");
    await until(
      "the messages are there",
      () => broker.registry.topic("a.channel.b").messageCount === 1 && broker.registry.topic("a").messageCount === 2,
    );
    const report = new Report(false);
    const stats = () => readStats(broker, "", "", false).topics ?? [];
    const told = () => counter(report, ...stats());
    expect(told()).toEqual(["topic.a.message_count:2|c", "topic.a.channel.b.message_count:2|c", "topic.a.channel.b.message_count:1|c"]);
    expect(told().map((line) => line.split(":")[1])).toEqual(["0|c", "0|c", "0|c"]);
  });

  test("has memory with nsqd's keys", () => {
    const packets = new Packets("", 65_507);
    new Report(false).writeMemory(packets, readMemory());
    const keys = packets.end().join("").replace(/:\d+/g, "").split("\n").slice(0, -1);
    expect(keys).toEqual([
      "mem.heap_objects|g",
      "mem.heap_idle_bytes|g",
      "mem.heap_in_use_bytes|g",
      "mem.heap_released_bytes|g",
      "mem.gc_pause_usec_100|g",
      "mem.gc_pause_usec_99|g",
      "mem.gc_pause_usec_95|g",
      "mem.next_gc_bytes|g",
      "mem.gc_runs|c",
    ]);
  });
});

describe("the reporter", () => {
  test("sends the gauges of a broker's part in a cluster behind those of its topics", async () => {
    using sink = await UdpSink.open();
    await using started = InProcess.start({ statsdAddress: sink.address, statsdIntervalMs: 100, statsdPrefix: "x", statsdMemStats: false });
    started.broker.clusterReport = {
      ...{ uid: "a".repeat(16), youzanId: () => "", notReady: undefined, list: () => [], replicas: () => [] },
      gauges: () => ({ led_partitions: 3, lag_messages: 12 }),
      *metrics() {},
    };
    await started.publish("t", "12345");
    const reporter = StatsdReporter.start(started.broker, 0)!;
    await until("a report", () => sink.packets.length >= 1);
    await reporter.close();
    expect(sink.packets[0]).toEndWith("x.topic.t.backend_depth:0|g\nx.cluster.led_partitions:3|g\nx.cluster.lag_messages:12|g\n");
  });

  test("sends a report at each interval, and at the end the rest of one at once", async () => {
    using sink = await UdpSink.open();
    // Each line is a packet. With this interval they would be seconds apart.
    await using started = InProcess.start({
      statsdAddress: sink.address,
      statsdIntervalMs: 100,
      statsdPrefix: "x",
      statsdMemStats: false,
      statsdUdpPacketSizeBytes: 1,
    });
    await started.publish("t", "12345");
    const reporter = StatsdReporter.start(started.broker, 0)!;
    await until("two reports", () => sink.packets.length >= 8);
    expect(sink.packets.slice(0, 8)).toEqual([
      "x.topic.t.message_count:1|c\n",
      "x.topic.t.message_bytes:5|c\n",
      "x.topic.t.depth:1|g\n",
      "x.topic.t.backend_depth:0|g\n",
      "x.topic.t.message_count:0|c\n",
      "x.topic.t.message_bytes:0|c\n",
      "x.topic.t.depth:1|g\n",
      "x.topic.t.backend_depth:0|g\n",
    ]);
    await reporter.close();

    using later = await UdpSink.open();
    started.broker.options.statsdAddress = later.address;
    const slow = StatsdReporter.start(started.broker, 0)!;
    // Its packets would be 15 s apart from the first report on.
    started.broker.options.statsdIntervalMs = 61_000;
    await until("its first packet", () => later.packets.length === 1);
    await slow.close();
    await until("the rest", () => later.packets.length === 4);
  });

  testUnless(hasIpv6 ? undefined : "no IPv6")("sends over IPv6", async () => {
    using sink = await UdpSink.open("::1");
    await using started = InProcess.start({ statsdAddress: sink.address, statsdIntervalMs: 100 });
    const reporter = StatsdReporter.start(started.broker, 0)!;
    await until("a report", () => sink.lines.length > 0);
    await reporter.close();
  });

  test("refuses a malformed address, and does not start without one", async () => {
    await using started = InProcess.start({ statsdAddress: "nowhere" });
    expect(() => StatsdReporter.start(started.broker, 0)).toThrow(StartError);
    started.broker.options.statsdAddress = "";
    expect(StatsdReporter.start(started.broker, 0)).toBeUndefined();
  });

  test("goes on after a host name that is not found", async () => {
    using sink = await UdpSink.open();
    await using started = InProcess.start({ statsdAddress: "no-such-host.invalid:8125", statsdIntervalMs: 100 });
    const reporter = StatsdReporter.start(started.broker, 0)!;
    await until("it is logged twice", () => started.log.matching(/STATSD: cannot send to no-such-host.invalid:8125: /).length >= 2);
    await reporter.close();
    expect(sink.packets).toEqual([]);
  });
});
