import { afterEach, expect, spyOn, test } from "bun:test";
import { encodeJson } from "../../../src/base/go/json.ts";
import { type StatsWriter, writeStats } from "../../../src/broker/http/stats-steps.ts";
import { expose } from "../../../src/broker/metrics/exposition/exposition.ts";
import { Figures } from "../../../src/broker/metrics/figures.ts";
import { readStats, type Shown } from "../../../src/broker/metrics/stats.ts";
import { MetricText } from "../../../src/http/metrics/metric-text.ts";
import { TextSlices } from "../../../src/http/server/slices.ts";
import { WithHttp } from "../../support/with-http.ts";

const TOPICS = 400;
const CHANNELS = ["a", "b", "c"];
const ALL: Shown = { topicName: "", channelName: "", includeClients: true, withErrors: true, partition: undefined };
/** A publish is read, committed, answered and received within some turns of the event loop. */
const MOST_SLICES_PER_PUBLISH = 25;

let server: WithHttp;

afterEach(() => server[Symbol.asyncDispose]());

function startWithTopics(): void {
  server = WithHttp.start({ metricsNames: ["mixin", "lovoo"] });
  for (let t = 0; t < TOPICS; t++) {
    const topic = server.broker.registry.topic(`topic-${t}`);
    for (const channel of CHANNELS) topic.channel(channel);
  }
}

/** Counts the rows that are written. */
class RowCounter implements StatsWriter {
  rows = 0;
  topics = 0;
  readonly count = () => void this.rows++;
  readonly beginChannel = this.count;
  readonly client = this.count;
  readonly producer = this.count;
  beginTopic(): void {
    this.topics++;
  }
  endChannel(): void {}
  endTopic(): void {}
  endTopics(): void {}
  end(): void {}
}

test.each([
  ["/metrics?detail=client", MetricText],
  ["/stats", TextSlices],
  ["/stats?format=json&include_mem=false", TextSlices],
  ["/stats?format=json&include_mem=false&bunsq=true", TextSlices],
] as const)("publishes are answered between the slices of %s", async (path, Buffer) => {
  startWithTopics();
  const publisher = await server.started.client();
  await publisher.call("PUB published", "x");
  const taken = spyOn(Buffer.prototype, "take");
  try {
    const perPublish: number[] = [];
    let isOver = false;
    const answer = server.fetch("GET", path).then(async (response) => {
      const body = await response.text();
      isOver = true;
      return body;
    });
    while (!isOver) {
      const before = taken.mock.calls.length;
      await publisher.call("PUB published", "x");
      perPublish.push(taken.mock.calls.length - before);
    }
    expect((await answer).length).toBeGreaterThan(64 * 1024);
    expect(taken.mock.calls.length).toBeGreaterThan(2);
    expect(Math.max(...perPublish)).toBeLessThanOrEqual(MOST_SLICES_PER_PUBLISH);
  } finally {
    taken.mockRestore();
  }
});

test("a statistic that comes in slices is that which is read at once, to the byte", async () => {
  startWithTopics();
  const { broker } = server;
  for (let i = 0; i < 3; i++) await server.started.consumer("topic-1", "b", 1, { client_id: `<${i}>` });
  const publisher = await server.started.client();
  await publisher.call("PUB topic-2", "x");
  const response = await server.fetch("GET", "/stats?format=json");
  const body = await response.text();
  expect(response.headers.has("content-length")).toBeFalse();
  const { topics, producers } = readStats(broker, "", "", true);
  expect(body).toContain(`,"topics":${encodeJson(topics)},"memory":{`);
  expect(body).toContain(`},"producers":${encodeJson(producers)},"bunsq_version":`);
  const short = await server.fetch("GET", "/stats?format=json&topic=topic-1&channel=b");
  expect(short.headers.get("content-length")).toBe(String(Buffer.byteLength(await short.clone().text())));
  expect(await short.text()).toContain(`,"topics":${encodeJson(readStats(broker, "topic-1", "b", true).topics)},`);
});

test("a step of a statistic has a topic or some rows, however many channels and clients a topic has", async () => {
  server = WithHttp.start();
  const { broker } = server;
  const large = broker.registry.topic("large");
  for (let c = 0; c < 100; c++) large.channel(`channel-${c}`);
  broker.registry.topic("small").channel("only");
  for (let i = 0; i < 60; i++) await server.started.consumer("large", "channel-50", 1);
  for (let i = 0; i < 40; i++) await (await server.started.client()).call("PUB small", "x");
  const writer = new RowCounter();
  const steps: { rows: number; topics: number }[] = [];
  for (const _ of writeStats(broker, ALL, new Figures(broker, false, 0), writer)) {
    steps.push({ rows: writer.rows, topics: writer.topics });
    Object.assign(writer, { rows: 0, topics: 0 });
  }
  expect(Math.max(...steps.map(({ rows }) => rows))).toBeLessThanOrEqual(16);
  expect(Math.max(...steps.map(({ topics }) => topics))).toBe(1);
  expect(steps.reduce((sum, { rows }) => sum + rows, writer.rows)).toBe(101 + 60 + 40);
});

test("what is deleted while a statistic is written is left out from there on", () => {
  startWithTopics();
  const { registry } = server.broker;
  const shown: string[] = [];
  const writer = new RowCounter();
  writer.beginTopic = (topic?: { topic_name: string }) => void shown.push(topic?.topic_name ?? "");
  for (const _ of writeStats(server.broker, ALL, undefined, writer)) if (shown.length === 10) registry.deleteTopic("topic-99");
  expect(shown.length).toBe(TOPICS - 1);
  expect(shown).not.toContain("topic-99");
});

test("labels are written once per topic and channel and set of names, not for each sample", () => {
  startWithTopics();
  const topic = server.broker.registry.topics.get("topic-7");
  let reads = 0;
  Object.defineProperty(topic, "name", {
    get: () => {
      reads++;
      return "topic-7";
    },
  });
  const text = new MetricText("text");
  let samples = 0;
  for (const _ of expose(server.broker, { detail: "client", topic: undefined, channel: undefined }, ["mixin", "lovoo"], text)) {
    samples += Buffer.from(text.take()).toString().split('topic="topic-7"').length - 1;
  }
  expect(samples).toBeGreaterThan(80);
  // Those of bunsq's own names, of the mixin's, and of lovoo's; and what the broker does with the topic meanwhile.
  expect(reads).toBeLessThanOrEqual(4 * (1 + CHANNELS.length));
});
