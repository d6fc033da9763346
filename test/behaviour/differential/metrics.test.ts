import { expect, test } from "bun:test";
import { RELATIVE_ACCURACY } from "../../../src/broker/latency/latency-window.ts";
import type { LatencyStats } from "../../../src/broker/latency/percentiles.ts";
import type { Stats } from "../../../src/broker/metrics/stats.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { RawClient } from "../../support/raw-client.ts";
import { type Program, type Server, startServer, until } from "../../support/server.ts";
import { UdpSink } from "../../support/udp-sink.ts";

/** nsqd sends for this long less a second, and cannot with a second or less. */
const INTERVAL_MS = 1100;
const PERCENTILES = [1, 0.95, 0.5];
/** Every report begins with this key. */
const FIRST_KEY = "s.topic.a_first.message_count:";

/** One broker that sends to a socket of ours. */
interface Side {
  server: Server;
  sink: UdpSink;
}

/** nsqd, and bunsq with the same flags. */
class Pair implements AsyncDisposable {
  private constructor(readonly sides: readonly Side[]) {}

  static async start(...args: string[]): Promise<Pair> {
    const start = async (program: Program): Promise<Side> => {
      const sink = await UdpSink.open();
      const statsd = [`--statsd-address=${sink.address}`, `--statsd-interval=${INTERVAL_MS}ms`];
      const percentiles = ["--e2e-processing-latency-percentile=0.5,1.0", "--e2e-processing-latency-percentile=0.95"];
      return { server: await startServer({ program, args: [...statsd, ...percentiles, ...args] }), sink };
    };
    return new Pair(await Promise.all([start("nsqd"), start("bunsq")]));
  }

  /** Waits until both have reported twice what is now. */
  async untilSettled(): Promise<void> {
    await Promise.all(
      this.sides.map(async (side) => {
        const settled = reportCount(side) + 3;
        await until("what is now is told", () => reportCount(side) >= settled, 20_000);
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.sides.map(({ server }) => server.stop()));
    for (const { sink } of this.sides) sink[Symbol.dispose]();
  }
}

async function readStats({ server }: Side, query = ""): Promise<Stats> {
  return (await (await server.http("GET", `/stats?format=json${query}`)).json()) as Stats;
}

/** The packets of the last whole report. */
function lastReport({ sink }: Side): string[] {
  const starts = [...sink.packets.keys()].filter((at) => sink.packets[at]?.startsWith(FIRST_KEY));
  return sink.packets.slice(starts.at(-2), starts.at(-1));
}

function reportCount({ sink }: Side): number {
  return sink.packets.filter((packet) => packet.startsWith(FIRST_KEY)).length;
}

/** Counters as their sums, which do not depend on when a report was made; gauges as they are now. */
function totals(lines: string[]): Map<string, number> {
  const values = new Map<string, number>();
  for (const line of lines) {
    const [, key, value, type] = /^(\S+):(-?\d+)\|([cg])$/.exec(line) ?? [];
    if (key === undefined) throw new Error(`no line of statsd: ${JSON.stringify(line)}`);
    values.set(`${key} ${type}`, Number(value) + (type === "c" ? (values.get(`${key} ${type}`) ?? 0) : 0));
  }
  return values;
}

/** Topics with and without channels, consumers, messages that were finished, requeued, deferred, timed out, and ephemeral ones. */
async function makeTraffic(side: Side): Promise<void> {
  const { server } = side;
  for (const topic of ["a_first", "b.dots", "c_gone#ephemeral"]) await server.http("POST", `/topic/create?topic=${topic}`);
  for (const channel of ["one", "two#ephemeral"]) await server.http("POST", `/channel/create?topic=b.dots&channel=${channel}`);
  const consumer = await RawClient.connect(server.tcpPort);
  await consumer.call("IDENTIFY", JSON.stringify({ client_id: "c", msg_timeout: 2000 }));
  await consumer.call("SUB b.dots one");
  const producer = await RawClient.connect(server.tcpPort);
  for (const body of ["a", "bb", "ccc", "dddd", "eeeee"]) await producer.call("PUB b.dots", body);
  await producer.call("DPUB b.dots 3600000", "later");
  await producer.call("PUB a_first", "waits");
  await producer.call("PUB c_gone#ephemeral", "waits");
  consumer.command("RDY 2");
  const [first, second] = [await consumer.message(), await consumer.message()];
  consumer.command(`FIN ${first.id}`);
  consumer.command(`REQ ${second.id} 3000000`);
  const [third, fourth] = [await consumer.message(), await consumer.message()];
  consumer.command("RDY 0");
  consumer.command(`FIN ${third.id}`);
  // The other runs into its timeout, and the consumer stays.
  await until(
    "one has timed out",
    async () => (await readStats(side, "&topic=b.dots")).topics?.[0]?.channels[0]?.timeout_count === 1,
    15_000,
  );
  expect(fourth.attempts).toBe(1);
}

describeUnless(missing("nsqd"))("beside nsqd", () => {
  test.concurrent("the same traffic is told to statsd in the same keys, types, values, order and packets", async () => {
    await using pair = await Pair.start("--statsd-prefix=s", "--statsd-udp-packet-size=200");
    await Promise.all(pair.sides.map(makeTraffic));
    await pair.untilSettled();
    const [go, ours] = pair.sides.map(({ sink }) => totals(sink.lines));
    // Their order is compared below: here it depends on what was there when a first report was made.
    const comparable = (values: Map<string, number>) =>
      [...values].map(([key, value]) => `${key}: ${/latency|\.mem\./.test(key) ? "a number" : value}`).sort();
    expect(comparable(ours!)).toEqual(comparable(go!));
    expect(ours!.get("s.topic.b.dots.channel.one.timeout_count c")).toBe(1);
    expect(ours!.get("s.topic.b.dots.channel.one.requeue_count c")).toBe(1);
    expect(ours!.get("s.topic.b.dots.channel.one.clients g")).toBe(1);

    const [goReport, ourReport] = pair.sides.map(lastReport);
    for (const packet of [...goReport!, ...ourReport!]) expect(packet.length).toBeLessThanOrEqual(200);
    // Latencies and memory have values of other lengths, and so the packets from there on other ends.
    const shape = (report: string[]) => report.join("").replace(/(latency_\d+|\.mem\.[a-z_0-9]+):\d+/g, "$1:<number>");
    expect(shape(ourReport!)).toBe(shape(goReport!));
  }, 60_000);

  test.concurrent("without ephemeral ones and memory every packet is the same to the byte", async () => {
    await using pair = await Pair.start(
      "--statsd-prefix=s",
      "--statsd-mem-stats=false",
      "--statsd-exclude-ephemeral",
      "--statsd-udp-packet-size=150",
      // Too short to keep a latency: all are zero.
      "--e2e-processing-latency-window-time=1ms",
    );
    await Promise.all(pair.sides.map(makeTraffic));
    await pair.untilSettled();
    const [go, ours] = pair.sides.map(lastReport);
    expect(ours).toEqual(go!);
    expect(ours!.length).toBeGreaterThan(5);
    expect(ours!.join("")).not.toContain("ephemeral");
    expect(ours!.join("")).toContain("latency_95:0|g");
  }, 60_000);

  test.concurrent("the prefix names the host, and is told as it is used", async () => {
    await using pair = await Pair.start("--broadcast-address=127.0.0.1");
    for (const { server, sink } of pair.sides) {
      await until("a report", () => sink.lines.length >= 9, 20_000);
      const prefix = `nsq.127_0_0_1_${server.httpPort}.`;
      expect(sink.lines[0]).toStartWith(`${prefix}mem.heap_objects:`);
      expect(await (await server.http("GET", "/config/statsd_prefix")).text()).toBe(prefix);
    }
  }, 60_000);

  test.concurrent("percentiles are what the consumer measured, within the sketch's accuracy, for both", async () => {
    await using pair = await Pair.start();
    for (const { program, bounds, channel, topic, text } of await Promise.all(pair.sides.map(measure))) {
      expect(channel.count, program).toBe(bounds.length);
      expect(topic, program).toEqual(channel);
      expect(channel.percentiles?.map(({ quantile }) => quantile)).toEqual(PERCENTILES);
      for (const { quantile, value } of channel.percentiles ?? []) {
        // nsqd's sketch errs by ranks: by a hundredth of them, and by one more where there are few.
        const [low, high] = within(bounds, quantile, program === "nsqd" ? 3 : 1);
        expect(value, `${program} ${quantile}`).toBeGreaterThanOrEqual(low);
        expect(value, `${program} ${quantile}`).toBeLessThanOrEqual(high);
      }
      expect(text.match(/e2e%: (\d+\.\d(s|ms|us|ns)(, )?){3}$/gm)?.length, program).toBe(2);
    }
  }, 60_000);
});

/** How long one message took, at the least and at the most, ns. */
type Bounds = [least: number, most: number];

/** Finishes messages one after the other, each a bit older than the one before, and looks at the clock before and after. */
async function measure(
  one: Side,
): Promise<{ program: string; bounds: Bounds[]; channel: LatencyStats; topic: LatencyStats; text: string }> {
  const { server } = one;
  const stats = async () => (await readStats(one, "&topic=slow&include_mem=false")).topics?.[0];
  const client = await RawClient.connect(server.tcpPort);
  await client.call("SUB slow ch");
  client.command("RDY 1");
  const producer = await RawClient.connect(server.tcpPort);
  const count = 20;
  for (let i = 0; i < count; i++) await producer.call("PUB slow", "m");
  const bounds: Bounds[] = [];
  for (let i = 0; i < count; i++) {
    const message = await client.message();
    await Bun.sleep(20);
    const publishedNs = Number(message.timestampNs);
    const before = Date.now();
    client.command(`FIN ${message.id}`);
    await until("it is finished", async () => (await stats())?.channels[0]?.e2e_processing_latency.count === i + 1);
    bounds.push([before * 1e6 - publishedNs, (Date.now() + 1) * 1e6 - publishedNs]);
  }
  const topic = await stats();
  if (topic === undefined) throw new Error("the topic is gone");
  const text = await (await server.http("GET", "/stats?topic=slow&include_mem=false")).text();
  for (const connection of [client, producer]) connection.terminate();
  return { program: server.program, bounds, channel: topic.channels[0]!.e2e_processing_latency, topic: topic.e2e_processing_latency, text };
}

/** Where a percentile has to be. @param neighbours in the order of latencies that may be reported for it */
function within(bounds: Bounds[], quantile: number, neighbours: number): Bounds {
  const least = bounds.map(([low]) => low).sort((a, b) => a - b);
  const most = bounds.map(([, high]) => high).sort((a, b) => a - b);
  const rank = Math.ceil(quantile * bounds.length) - 1;
  const low = least[Math.max(0, rank - neighbours)] as number;
  const high = most[Math.min(most.length - 1, rank + neighbours)] as number;
  // The bounds come from a clock of whole milliseconds.
  return [(low - 2e6) * (1 - RELATIVE_ACCURACY), (high + 2e6) * (1 + RELATIVE_ACCURACY)];
}
