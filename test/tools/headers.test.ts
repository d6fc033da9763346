import { afterAll, beforeAll, expect, test } from "bun:test";
import { Consumer, type Message, Producer } from "../../src/client/bun.ts";
import { missing, testUnless } from "../support/needs.ts";
import { type Server, startServer, until } from "../support/server.ts";
import { runTool, startTool } from "./support/tool.ts";

let source: Server;
let targets: Server[];

beforeAll(async () => {
  source = await startServer();
  targets = [await startServer(), await startServer()];
});

afterAll(async () => {
  for (const broker of [source, ...targets]) await broker.stop();
});

const addressOf = ({ tcpPort }: { tcpPort: number }) => `127.0.0.1:${tcpPort}`;
const HEADERS = { region: "eu", count: 2 };

async function publish(topic: string): Promise<void> {
  await using producer = new Producer({ brokers: [addressOf(source)] });
  await producer.publish(topic, "full", { key: "k", headers: HEADERS, tag: "red", traceId: 9n });
  await producer.publish(topic, "plain");
}

/** The next messages of a topic, with what they carry. */
async function take(broker: { tcpPort: number }, topic: string, count: number): Promise<Message[]> {
  const messages: Message[] = [];
  for await (const message of new Consumer({ brokers: [addressOf(broker)], topic, channel: "c", maxInFlight: 100, headers: true })) {
    messages.push(message);
    message.finish();
    if (messages.length === count) break;
  }
  return messages;
}

function carried({ key, headers, tag, traceId }: Message): object {
  return { key, headers, tag, traceId };
}

test("nsq_to_nsq keeps headers, keys, tags and trace ids", async () => {
  const [target] = targets as [Server];
  const args = [`-nsqd-tcp-address=${addressOf(source)}`, `-destination-nsqd-tcp-address=${addressOf(target)}`];
  const tool = startTool("bunsq", "nsq_to_nsq", ["-topic=all", ...args], "");
  await publish("all");
  const messages = await take(target, "all", 2);
  const nothing = { key: undefined, headers: {}, tag: undefined, traceId: undefined };
  expect(messages.map((message) => [message.text(), carried(message)]).sort()).toEqual([
    ["full", { key: "k", headers: HEADERS, tag: "red", traceId: 9n }],
    ["plain", nothing],
  ]);
  tool.process.kill("SIGTERM");
  expect((await tool.ended).code).toBe(0);
}, 30_000);

testUnless(missing("nsqd"))(
  "nsq_to_nsq publishes bodies alone where the destination is Go's nsqd, and says so",
  async () => {
    await using target = await startServer({ program: "nsqd" });
    const args = [`-nsqd-tcp-address=${addressOf(source)}`, `-destination-nsqd-tcp-address=${addressOf(target)}`];
    const tool = startTool("bunsq", "nsq_to_nsq", ["-topic=bodies", ...args], "");
    await publish("bodies");
    expect((await take(target, "bodies", 2)).map((message) => message.text()).sort()).toEqual(["full", "plain"]);
    expect(tool.stderr()).toContain(`(${addressOf(target)}) takes no headers`);
    tool.process.kill("SIGTERM");
    expect((await tool.ended).code).toBe(0);
  },
  30_000,
);

test("nsq_to_nsq with -ordered=key keeps the messages of each key in their order at one destination", async () => {
  const keys = Array.from({ length: 10 }, (_, i) => `key ${i}`);
  for (const broker of [source, ...targets]) await broker.http("POST", "/topic/create?topic=ordered&partition_num=4");
  await using producer = new Producer({ brokers: [addressOf(source)] });
  const numbers = Array.from({ length: 30 }, (_, i) => i);
  await Promise.all(numbers.flatMap((i) => keys.map((key) => producer.publish("ordered", `${i}`, { key }))));
  const seen = new Map<string, { broker: string; number: number }[]>();
  const destinations = targets.map(addressOf);
  await using consumer = new Consumer({ brokers: destinations, topic: "ordered", channel: "c", order: "key", maxInFlight: 50 });
  void consumer.run((message) => {
    const { key = "", broker } = message;
    seen.set(key, [...(seen.get(key) ?? []), { broker, number: Number(message.text()) }]);
  });
  const args = [`-nsqd-tcp-address=${addressOf(source)}`, ...destinations.map((address) => `-destination-nsqd-tcp-address=${address}`)];
  const tool = startTool("bunsq", "nsq_to_nsq", ["-topic=ordered", "-ordered=key", ...args], "");
  await until("all messages", () => [...seen.values()].reduce((sum, { length }) => sum + length, 0) === 300);
  for (const key of keys) {
    expect(seen.get(key)?.map(({ number }) => number)).toEqual(numbers);
    expect(new Set(seen.get(key)?.map(({ broker }) => broker)).size).toBe(1);
  }
  expect(new Set([...seen.values()].map(([first]) => first?.broker)).size).toBe(2);
  tool.process.kill("SIGTERM");
  expect((await tool.ended).code).toBe(0);
  const wrong = await runTool("bunsq", "nsq_to_nsq", ["-topic=t", "-ordered=topic", ...args]);
  expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('invalid --ordered "topic": key or partition')]);
}, 30_000);

test("nsq_tail prints headers when it is asked to, and consumers of tools choose messages", async () => {
  await publish("tail");
  const args = ["-topic=tail", "-n=2", `-nsqd-tcp-address=${addressOf(source)}`];
  const shown = await runTool("bunsq", "nsq_tail", [...args, "-channel=with", "-print-headers"]);
  const header = '{"region":"eu","count":2,"##key":"k","##client_dispatch_tag":"red","##trace_id":"9"}';
  expect(shown.stdout.trimEnd().split("\n").sort()).toEqual([`${header} | full`, "{} | plain"].sort());

  await source.http("POST", "/channel/create?topic=tail&channel=c");
  await publish("tail");
  const filter = '-consumer-opt=filter,{"header":"region","equals":"eu"}';
  const chosen = await runTool("bunsq", "nsq_tail", [
    "-topic=tail",
    "-n=1",
    args[2] as string,
    "-channel=c",
    filter,
    "-consumer-opt=order,key",
  ]);
  expect(chosen.stdout).toBe("full\n");
  for (const [option, error] of [
    ["order,all", 'invalid order "all": none, key, partition'],
    ["filter,{}", "invalid filter {}: a filter has"],
    ["partition,1024", "invalid partition ! 1024 > 1023"],
  ]) {
    expect((await runTool("bunsq", "nsq_tail", [...args, `-consumer-opt=${option}`])).stderr).toContain(error as string);
  }
}, 30_000);

test("to_nsq publishes with a key and headers", async () => {
  const args = ["-topic=lines", `-nsqd-tcp-address=${addressOf(source)}`, "-key=k", "-header=region=eu", "-header=note=a=b,c"];
  expect((await runTool("bunsq", "to_nsq", args, "one\ntwo\n")).code).toBe(0);
  const messages = await take(source, "lines", 2);
  for (const message of messages) {
    expect(carried(message)).toEqual({ key: "k", headers: { region: "eu", note: "a=b,c" }, tag: undefined, traceId: undefined });
  }
  expect((await runTool("bunsq", "to_nsq", [...args, "-header=none"])).stderr).toContain('invalid --header "none": name=value');
}, 30_000);

test("nsq_to_http sends what messages carry, so that a broker that gets them publishes it again", async () => {
  const [target] = targets as [Server];
  const args = ["-topic=web", `-nsqd-tcp-address=${addressOf(source)}`, `-post=http://127.0.0.1:${target.httpPort}/pub?topic=web`];
  const tool = startTool("bunsq", "nsq_to_http", args, "");
  await using producer = new Producer({ brokers: [addressOf(source)] });
  await producer.publish("web", "full", { key: "ü key", headers: { region: "ëu", lines: "a\nb", count: 2, "no token": "x" }, traceId: 9n });
  const [message] = await take(target, "web", 1);
  expect(message?.text()).toBe("full");
  expect([message?.key, message?.traceId]).toEqual(["ü key", 9n]);
  expect(message?.headers).toMatchObject({ region: "ëu", lines: '"a\\nb"', count: "2" });
  expect(message?.headers).not.toHaveProperty("no token");
  tool.process.kill("SIGTERM");
  expect((await tool.ended).code).toBe(0);
}, 30_000);
