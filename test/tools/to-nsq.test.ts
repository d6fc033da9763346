import { afterAll, beforeAll, expect, test } from "bun:test";
import { describeUnless, missing } from "../support/needs.ts";
import { type Server, startServer, until } from "../support/server.ts";
import { type Maker, runTool, startTool } from "./support/tool.ts";

let broker: Server;
let topics = 0;

beforeAll(async () => {
  broker = await startServer();
});

afterAll(async () => {
  await broker.stop();
});

const newTopic = () => `topic${++topics}`;
const to = (topic: string, { tcpPort }: Server = broker) => [`-topic=${topic}`, `-nsqd-tcp-address=127.0.0.1:${tcpPort}`];

/** The messages of a topic, as nsq_tail prints them. */
async function tail(topic: string, count: number): Promise<string> {
  const address = `-nsqd-tcp-address=127.0.0.1:${broker.tcpPort}`;
  return (await runTool("bunsq", "nsq_tail", [`-topic=${topic}`, "-channel=tail", `-n=${count}`, address])).stdout;
}

async function depth(topic: string, of: Server = broker): Promise<number> {
  const answer = await of.http("GET", `/stats?format=json&topic=${topic}`);
  return ((await answer.json()) as { topics: { depth: number }[] | null }).topics?.[0]?.depth ?? 0;
}

test("publishes each line, in order, and ends when all are acknowledged", async () => {
  const topic = newTopic();
  const lines = Array.from({ length: 20_000 }, (_, i) => `line ${i}\n`).join("");
  expect(await runTool("bunsq", "to_nsq", to(topic), lines)).toEqual({ code: 0, signal: null, stdout: "", stderr: "" });
  expect(await tail(topic, 20_000)).toBe(lines);
}, 30_000);

test("splits at another character, leaves empty messages out, and keeps a last line without an end", async () => {
  const topic = newTopic();
  expect(await runTool("bunsq", "to_nsq", [...to(topic), "-delimiter=,"], ",,a,b\n,,last")).toMatchObject({ code: 0 });
  expect(await tail(topic, 3)).toBe("a\nb\n\nlast\n");
}, 30_000);

test("publishes to all brokers that it is given", async () => {
  await using other = await startServer();
  const topic = newTopic();
  const args = [...to(topic), `-nsqd-tcp-address=127.0.0.1:${other.tcpPort}`];
  expect(await runTool("bunsq", "to_nsq", args, "a\nb\n")).toMatchObject({ code: 0 });
  expect([await depth(topic), await depth(topic, other)]).toEqual([2, 2]);
}, 30_000);

test("publishes no more per second than -rate allows", async () => {
  const topic = newTopic();
  const tool = startTool("bunsq", "to_nsq", [...to(topic), "-rate=1"], "a\nb\nc\n".repeat(1_000));
  await until("the first message", async () => (await depth(topic)) > 0);
  expect(await depth(topic)).toBeLessThan(20);
  tool.process.kill("SIGTERM");
  expect(await tool.ended).toMatchObject({ code: 0, stderr: expect.stringContaining("Throttling messages rate to max:1/second") });
}, 30_000);

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`publishes what it has read when ${signal} comes, and ends`, async () => {
    const topic = newTopic();
    const tool = startTool("bunsq", "to_nsq", to(topic));
    tool.process.stdin.write("a\nb\n");
    await tool.process.stdin.flush();
    await until("both messages", async () => (await depth(topic)) === 2);
    tool.process.kill(signal);
    expect(await tool.ended).toMatchObject({ code: 0, signal: null, stdout: "" });
  }, 30_000);
}

test("goes on when its broker was restarted, and nothing is lost or twice", async () => {
  const topic = newTopic();
  let first: Server | undefined = await startServer();
  const { dataPath, tcpPort } = first;
  const tool = startTool("bunsq", "to_nsq", to(topic, first));
  const write = async (from: number) => {
    tool.process.stdin.write(Array.from({ length: 500 }, (_, i) => `${from + i}\n`).join(""));
    await tool.process.stdin.flush();
  };
  await write(0);
  await until("the first messages", async () => (await depth(topic, first)) === 500);
  first.process.kill("SIGKILL");
  await first.process.exited;
  await write(500);
  const second = await startServer({ dataPath, args: [`--tcp-address=127.0.0.1:${tcpPort}`] });
  await until("all messages", async () => (await depth(topic, second)) === 1_000);
  void tool.process.stdin.end();
  expect(await tool.ended).toMatchObject({ code: 0 });
  expect(await depth(topic, second)).toBe(1_000);
  await second.stop();
  await first.stop();
  first = undefined;
}, 60_000);

describeUnless(missing("to_nsq"))("as Go's to_nsq", () => {
  const both = async (run: (maker: Maker) => Promise<unknown>) => [await run("bunsq"), await run("nsq")];

  test("publishes the same messages for the same input", async () => {
    const input = Buffer.concat([
      Buffer.from("one\n\n\ntwo\nthr"),
      Buffer.from([0xff, 0x00, 0x80]),
      Buffer.from(`\n${"x".repeat(100_000)}\n`),
    ]);
    const [ours, theirs] = await both(async (maker) => {
      const topic = newTopic();
      const { code, stdout } = await runTool(maker, "to_nsq", to(topic), input);
      return { code, stdout, messages: await tail(topic, 4) };
    });
    expect(ours).toEqual(theirs);
  }, 30_000);

  test("fails on a message that is too large, behind those that came before", async () => {
    const [ours, theirs] = await both(async (maker) => {
      const topic = newTopic();
      const { code, stderr } = await runTool(maker, "to_nsq", to(topic), `a\nb\n${"x".repeat(2_000_000)}\n`);
      return { code, hasReason: stderr.includes("E_BAD_MESSAGE PUB message too big 2000000 > 1048576"), depth: await depth(topic) };
    });
    expect(ours).toEqual({ code: 1, hasReason: true, depth: 2 });
    expect(theirs).toEqual(ours);
  }, 30_000);

  test("fails on a bad topic, and on a broker that is not there, but not without a message", async () => {
    for (const input of ["", "a\n"]) {
      for (const args of [to("b@d"), ["-topic=t", "-nsqd-tcp-address=127.0.0.1:1"]]) {
        const [ours, theirs] = await both(async (maker) => (await runTool(maker, "to_nsq", args, input)).code);
        expect([args, input, ours]).toEqual([args, input, theirs]);
      }
    }
  }, 30_000);

  test("fails when its broker goes away for good", async () => {
    const [ours, theirs] = await both(async (maker) => {
      const topic = newTopic();
      const gone = await startServer();
      const tool = startTool(maker, "to_nsq", to(topic, gone));
      tool.process.stdin.write("a\n");
      await tool.process.stdin.flush();
      await until("the first message", async () => (await depth(topic, gone)) === 1);
      await gone.stop("SIGKILL");
      let hasEnded = false;
      void tool.ended.then(() => {
        hasEnded = true;
      });
      await until(
        "the tool's end",
        async () => {
          if (!hasEnded) {
            tool.process.stdin.write("b\n");
            await tool.process.stdin.flush();
          }
          return hasEnded;
        },
        20_000,
      );
      const { code, signal } = await tool.ended;
      return { code, signal };
    });
    expect(ours).toEqual({ code: 1, signal: null });
    expect(theirs).toEqual(ours);
  }, 60_000);
});
