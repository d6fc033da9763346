import { afterAll, beforeAll, expect, test } from "bun:test";
import { startLookupServer } from "../support/lookup.ts";
import { describeUnless, missing } from "../support/needs.ts";
import { cleanEnvironment, MAIN, type Running, type Server, startServer, until } from "../support/server.ts";
import { runTool, startTool } from "./support/tool.ts";

let broker: Server;
let lookup: Running;
let topics = 0;

beforeAll(async () => {
  lookup = await startLookupServer();
  broker = await startServer({ args: [`--lookupd-tcp-address=127.0.0.1:${lookup.tcpPort}`, "--broadcast-address=127.0.0.1"] });
});

afterAll(async () => {
  await broker.stop();
  await lookup.stop();
});

async function publish(...bodies: string[]): Promise<string> {
  const topic = `topic${++topics}`;
  await broker.http("POST", `/topic/create?topic=${topic}`);
  await broker.http("POST", `/channel/create?topic=${topic}&channel=ours`);
  await broker.http("POST", `/channel/create?topic=${topic}&channel=theirs`);
  for (const body of bodies) await broker.http("POST", `/pub?topic=${topic}`, body);
  return topic;
}

const direct = () => `-nsqd-tcp-address=127.0.0.1:${broker.tcpPort}`;

interface ChannelStats {
  channel_name: string;
  depth: number;
  in_flight_count: number;
  requeue_count: number;
}

async function channelsOf(topic: string): Promise<ChannelStats[]> {
  const answer = await broker.http("GET", `/stats?format=json&topic=${topic}`);
  return ((await answer.json()) as { topics: { channels: ChannelStats[] }[] | null }).topics?.[0]?.channels ?? [];
}

test("-n ends after so much, and every message that was shown is finished", async () => {
  const topic = await publish("a", "b", "c", "d");
  const ending = await runTool("bunsq", "nsq_tail", [`-topic=${topic}`, "-channel=ours", "-n=3", direct()]);
  expect(ending).toMatchObject({ code: 0, stdout: "a\nb\nc\n" });
  const [ours] = await channelsOf(topic);
  expect(ours).toMatchObject({ depth: 1, in_flight_count: 0 });
}, 30_000);

test("has an ephemeral channel of its own, which goes with it", async () => {
  const topic = await publish();
  const tool = startTool("bunsq", "nsq_tail", [`-topic=${topic}`, direct()], "");
  await until("its channel", async () => (await channelsOf(topic)).some(({ channel_name }) => /^tail\d{6}#ephemeral$/.test(channel_name)));
  tool.process.kill("SIGINT");
  expect(await tool.ended).toMatchObject({ code: 0, signal: null });
  await until("it is gone", async () => (await channelsOf(topic)).length === 2);
}, 30_000);

test("finds brokers by lookup, and waits for a topic that nobody has yet", async () => {
  const topic = `topic${++topics}`;
  const args = [`-topic=${topic}`, "-channel=ours", "-n=1", `-lookupd-http-address=127.0.0.1:${lookup.httpPort}`];
  const tool = startTool("bunsq", "nsq_tail", [...args, "-consumer-opt=lookupd_poll_interval,20ms"], "");
  await until("it asks", () => tool.stderr().includes("Adding consumer for topic"));
  await broker.http("POST", `/pub?topic=${topic}`, "late");
  expect(await tool.ended).toMatchObject({ code: 0, stdout: "late\n" });
}, 30_000);

test("ends with an error when nobody reads what it prints, and no message is lost", async () => {
  const topic = await publish();
  const args = ["nsq_tail", `-topic=${topic}`, "-channel=ours", direct()];
  const tool = Bun.spawn([process.execPath, MAIN, ...args], { stdin: "ignore", stdout: "pipe", stderr: "pipe", env: cleanEnvironment() });
  await tool.stdout.cancel();
  await broker.http("POST", `/pub?topic=${topic}`, "a");
  expect(await tool.exited).toBe(1);
  const errors = (await tool.stderr.text()).trimEnd().split("\n");
  expect(errors.at(-1)).toContain(" ERROR: failed to write to os.Stdout - EPIPE");
  expect((await channelsOf(topic))[0]).toMatchObject({ depth: 1 });
}, 30_000);

describeUnless(missing("nsq_tail"))("as Go's nsq_tail", () => {
  test("prints the same messages, and the topic in front of each if asked", async () => {
    const topic = await publish();
    for (const flags of [[], ["-print-topic"]]) {
      const run = (maker: "bunsq" | "nsq", channel: string) =>
        runTool(maker, "nsq_tail", [
          `-topic=${topic}`,
          `-channel=${channel}${flags.length}`,
          "-n=4",
          "-max-in-flight=1",
          direct(),
          ...flags,
        ]);
      await broker.http("POST", `/channel/create?topic=${topic}&channel=ours${flags.length}`);
      await broker.http("POST", `/channel/create?topic=${topic}&channel=theirs${flags.length}`);
      for (const body of ["plain", "two\nlines", "\u00fc\u{1f600}", " spaces "]) await broker.http("POST", `/pub?topic=${topic}`, body);
      const [ours, theirs] = [await run("bunsq", "ours"), await run("nsq", "theirs")];
      expect([ours.code, ours.stdout]).toEqual([theirs.code, theirs.stdout]);
    }
  }, 30_000);
});
