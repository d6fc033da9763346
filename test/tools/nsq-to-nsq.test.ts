import { afterAll, beforeAll, expect, test } from "bun:test";
import { describeUnless, missing } from "../support/needs.ts";
import { type Server, startServer, until } from "../support/server.ts";
import { type Maker, type RunningTool, runTool, startTool } from "./support/tool.ts";

let source: Server;
let targets: Server[];
let topics = 0;

beforeAll(async () => {
  source = await startServer();
  targets = [await startServer(), await startServer()];
});

afterAll(async () => {
  for (const broker of [source, ...targets]) await broker.stop();
});

/** Tries a failed message again at once. */
const AT_ONCE = ["-consumer-opt=default_requeue_delay,0s", "-consumer-opt=max_backoff_duration,0s"];

async function newTopic(): Promise<string> {
  const topic = `topic${++topics}`;
  for (const broker of [source, ...targets]) await broker.http("POST", `/topic/create?topic=${topic}`);
  for (const channel of ["bunsq", "nsq"]) await source.http("POST", `/channel/create?topic=${topic}&channel=${channel}`);
  return topic;
}

async function publish(topic: string, bodies: readonly (string | Uint8Array<ArrayBuffer>)[]): Promise<void> {
  for (const body of bodies) await source.http("POST", `/pub?topic=${topic}`, body);
}

const addressOf = ({ tcpPort }: { tcpPort: number }) => `127.0.0.1:${tcpPort}`;

function start(maker: Maker, topic: string, to: readonly { tcpPort: number }[], flags: readonly string[] = []): RunningTool {
  const args = [`-topic=${topic}`, `-channel=${maker}`, `-nsqd-tcp-address=${addressOf(source)}`];
  return startTool(
    maker,
    "nsq_to_nsq",
    [...args, ...to.map((target) => `-destination-nsqd-tcp-address=${addressOf(target)}`), ...flags],
    "",
  );
}

async function depth(broker: Server, topic: string): Promise<number> {
  const answer = await broker.http("GET", `/stats?format=json&topic=${topic}`);
  return ((await answer.json()) as { topics: { depth: number }[] | null }).topics?.[0]?.depth ?? 0;
}

async function isDone(topic: string, channel: string): Promise<boolean> {
  const answer = await source.http("GET", `/stats?format=json&topic=${topic}&channel=${channel}`);
  const { topics: found } = (await answer.json()) as { topics: { channels: Record<string, number>[] }[] | null };
  const stats = found?.[0]?.channels[0];
  return stats?.depth === 0 && stats.in_flight_count === 0 && stats.deferred_count === 0;
}

/** The messages of a topic, sorted, because several may be on their way at once. */
async function messages(broker: Server, topic: string): Promise<string[]> {
  const count = await depth(broker, topic);
  if (count === 0) return [];
  const args = [`-topic=${topic}`, "-channel=tail", `-n=${count}`, `-nsqd-tcp-address=${addressOf(broker)}`];
  return (await runTool("bunsq", "nsq_tail", args)).stdout.split("\n").slice(0, -1).sort();
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`publishes all messages, and ends with none in flight when ${signal} comes`, async () => {
    const topic = await newTopic();
    const bodies = Array.from({ length: 2_000 }, (_, i) => `message ${i}`);
    await source.http("POST", `/mpub?topic=${topic}`, bodies.join("\n"));
    const [target] = targets as [Server];
    const tool = start("bunsq", topic, [target]);
    await until("all", () => isDone(topic, "bunsq"));
    tool.process.kill(signal);
    expect(await tool.ended).toMatchObject({ code: 0, signal: null, stdout: "" });
    expect(await messages(target, topic)).toEqual(bodies.toSorted());
  }, 30_000);
}

test("gives the messages to another broker while one is away", async () => {
  const topic = await newTopic();
  const [, target] = targets as [Server, Server];
  const away = await startServer();
  await away.stop();
  await publish(
    topic,
    Array.from({ length: 20 }, (_, i) => `${i}`),
  );
  const tool = start("bunsq", topic, [away, target], AT_ONCE);
  await until("all", () => isDone(topic, "bunsq"));
  tool.process.kill("SIGTERM");
  expect((await tool.ended).code).toBe(0);
  expect(await depth(target, topic)).toBe(20);
}, 30_000);

test("keeps the messages while all brokers are away, and gives none up if told so", async () => {
  const topic = await newTopic();
  const first = await startServer();
  const { dataPath, tcpPort } = first;
  first.process.kill("SIGTERM");
  await first.process.exited;
  await publish(topic, ["a", "b"]);
  const tool = start("bunsq", topic, [first], [...AT_ONCE, "-consumer-opt=max_attempts,0"]);
  await until("some attempts", () => tool.stderr().split("Handler returned error").length > 10);
  const second = await startServer({ dataPath, args: [`--tcp-address=127.0.0.1:${tcpPort}`] });
  await until("all", () => isDone(topic, "bunsq"), 20_000);
  expect(await depth(second, topic)).toBe(2);
  tool.process.kill("SIGTERM");
  expect((await tool.ended).code).toBe(0);
  await second.stop();
  await first.stop();
}, 60_000);

describeUnless(missing("nsq_to_nsq"))("as Go's nsq_to_nsq", () => {
  /** Runs both tools over the same messages. @returns what each has published at each broker */
  async function both(bodies: readonly (string | Uint8Array<ArrayBuffer>)[], flags: readonly string[], expected: number) {
    const outcomes = [];
    for (const maker of ["bunsq", "nsq"] as const) {
      const topic = await newTopic();
      await publish(topic, bodies);
      const tool = start(maker, topic, targets, [...AT_ONCE, "-max-in-flight=1", ...flags]);
      await until(`all is done by ${maker}`, async () => {
        const depths = await Promise.all(targets.map((target) => depth(target, topic)));
        return (await isDone(topic, maker)) && depths.reduce((sum, one) => sum + one, 0) >= expected;
      });
      tool.process.kill("SIGTERM");
      const { code } = await tool.ended;
      outcomes.push({ code, published: await Promise.all(targets.map((target) => messages(target, topic))) });
    }
    expect(outcomes[0]).toEqual(outcomes[1] as (typeof outcomes)[0]);
    return outcomes[0]?.published ?? [];
  }

  test("shares messages out in turn", async () => {
    const bodies = Array.from({ length: 10 }, (_, i) => `${i}`);
    for (const mode of ["round-robin", "hostpool", "other"]) {
      const published = await both(bodies, [`-mode=${mode}`], 10);
      expect(published.map(({ length }) => length)).toEqual([5, 5]);
    }
  }, 30_000);

  test("passes the fields that it is told to, as Go writes them", async () => {
    const bodies = [
      '{"a":1,"b":"x","c":[1,{"z":1,"a":2.5}]}',
      '{"c":{"z":1e21,"a":1e-7,"m":-0},"a":1152921504606846976}',
      '{"a":1.5e3,"b":"<&>\\u2028\\ud800\\n","c":null}',
      '{"b":12345678901234567890,"a":-0,"other":1}',
      '{"a":"\\u00fc\u{1f600}","c":[true,false,null,[],{}]}',
      '{"10":1,"9":2,"c":{"10":1,"9":2,"\u{1f600}":1,"\uff00":2}}',
      "{}",
      "null",
      "[1]",
      "no json",
      "\ufeff{}",
      '{"a":1,"a":2}',
      '{"a":1e308,"b":"1e999"}',
      '{"a":[1e999]}',
      `{"other":${"9".repeat(400)}}`,
    ];
    const fields = ["c", "a", "b", "10", "9"].map((field) => `-whitelist-json-field=${field}`);
    await both(bodies, fields, 10);
  }, 30_000);

  test("passes the messages that have a field, or a value in it", async () => {
    const bodies = [
      '{"k":"v"}',
      '{"k":"w"}',
      '{"k":1}',
      '{"k":1.0}',
      '{"k":"1"}',
      '{"k":null}',
      '{"k":[1]}',
      '{"k":true}',
      '{"other":1}',
      "nonsense",
    ];
    expect((await both(bodies, ["-require-json-field=k"], 8)).flat()).toHaveLength(8);
    const without = bodies.filter((body) => !body.includes("other"));
    expect((await both(without, ["-require-json-field=k", "-require-json-value=v"], 1)).flat()).toEqual(['{"k":"v"}']);
    expect((await both(without, ["-require-json-field=k", "-require-json-value=1"], 3)).flat()).toHaveLength(3);
    expect((await both(without, ["-require-json-field=k", "-require-json-value=1e0", "-whitelist-json-field=k"], 2)).flat()).toHaveLength(
      2,
    );
  }, 60_000);

  test("gives a message up after its attempts if it has not the field whose value is required", async () => {
    const published = await both(['{"other":1}', '{"k":"v"}'], ["-require-json-field=k", "-require-json-value=v"], 1);
    expect(published.flat()).toEqual(['{"k":"v"}']);
  }, 30_000);

  test("publishes under another topic", async () => {
    const counts = [];
    for (const maker of ["bunsq", "nsq"] as const) {
      const topic = await newTopic();
      const other = await newTopic();
      await publish(topic, ["a", "b"]);
      const tool = start(maker, topic, targets, [`-destination-topic=${other}`]);
      await until("both", async () => (await depth(targets[0] as Server, other)) + (await depth(targets[1] as Server, other)) === 2);
      tool.process.kill("SIGTERM");
      counts.push((await tool.ended).code);
    }
    expect(counts).toEqual([0, 0]);
  }, 30_000);
});
