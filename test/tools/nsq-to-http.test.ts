import { afterAll, beforeAll, expect, test } from "bun:test";
import { describeUnless, missing } from "../support/needs.ts";
import { type Server, startServer, until } from "../support/server.ts";
import { type Maker, type RunningTool, startTool } from "./support/tool.ts";

let broker: Server;
let topics = 0;

beforeAll(async () => {
  broker = await startServer();
});

afterAll(async () => {
  await broker.stop();
});

/** Tries a failed message again at once. */
const AT_ONCE = ["-consumer-opt=default_requeue_delay,0s", "-consumer-opt=max_backoff_duration,0s"];

/** A request that a receiver got. */
interface Received {
  method: string;
  path: string;
  body: string;
  headers: Record<string, string>;
}

/** An HTTP server that notes what it gets, and answers as a test says. */
class Receiver {
  readonly received: Received[] = [];
  private readonly server: Bun.Server<undefined>;

  constructor(answer: (count: number) => Response | Promise<Response> = () => new Response("ok"), port = 0) {
    this.server = Bun.serve({
      port,
      hostname: "127.0.0.1",
      fetch: async (request) => {
        const { pathname, search } = new URL(request.url);
        const body = Buffer.from(await request.arrayBuffer()).toString("latin1");
        const count = this.received.push({ method: request.method, path: pathname + search, body, headers: request.headers.toJSON() });
        return await answer(count);
      },
    });
  }

  get port(): number {
    return this.server.port ?? 0;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get bodies(): string[] {
    return this.received.map(({ body }) => body).sort();
  }

  async stop(): Promise<void> {
    await this.server.stop(true);
  }
}

async function newTopic(bodies: readonly (string | Uint8Array<ArrayBuffer>)[]): Promise<string> {
  const topic = `topic${++topics}`;
  await broker.http("POST", `/topic/create?topic=${topic}`);
  for (const channel of ["bunsq", "nsq"]) await broker.http("POST", `/channel/create?topic=${topic}&channel=${channel}`);
  for (const body of bodies) await broker.http("POST", `/pub?topic=${topic}`, body);
  return topic;
}

function start(maker: Maker, topic: string, flags: readonly string[]): RunningTool {
  const args = [`-topic=${topic}`, `-channel=${maker}`, `-nsqd-tcp-address=127.0.0.1:${broker.tcpPort}`];
  return startTool(maker, "nsq_to_http", [...args, ...flags], "");
}

interface ChannelStats {
  depth: number;
  in_flight_count: number;
  deferred_count: number;
  requeue_count: number;
}

async function statsOf(topic: string, channel: string): Promise<ChannelStats | undefined> {
  const answer = await broker.http("GET", `/stats?format=json&topic=${topic}&channel=${channel}`);
  return ((await answer.json()) as { topics: { channels: ChannelStats[] }[] | null }).topics?.[0]?.channels[0];
}

async function isDone(topic: string, channel: string): Promise<boolean> {
  const stats = await statsOf(topic, channel);
  return stats?.depth === 0 && stats.in_flight_count === 0 && stats.deferred_count === 0;
}

async function stop(tool: RunningTool, signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
  tool.process.kill(signal);
  return (await tool.ended).code;
}

const numbers = (count: number) => Array.from({ length: count }, (_, i) => `message ${i}`);

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`waits for a slow receiver's answers when ${signal} comes`, async () => {
    const release = Promise.withResolvers<void>();
    const receiver = new Receiver(() => release.promise.then(() => new Response("late")));
    const topic = await newTopic(numbers(5));
    const tool = start("bunsq", topic, [`-post=${receiver.url}/`]);
    await until("five requests", () => receiver.received.length === 5);
    tool.process.kill(signal);
    expect(await statsOf(topic, "bunsq")).toMatchObject({ in_flight_count: 5 });
    release.resolve();
    expect(await tool.ended).toMatchObject({ code: 0, signal: null, stdout: "" });
    expect(await statsOf(topic, "bunsq")).toMatchObject({ depth: 0, in_flight_count: 0, requeue_count: 0 });
    await receiver.stop();
  }, 30_000);
}

test("asks no more at once than -n allows", async () => {
  let [open, most] = [0, 0];
  const receiver = new Receiver(async () => {
    most = Math.max(most, ++open);
    await Bun.sleep(1);
    open--;
    return new Response();
  });
  const topic = await newTopic(numbers(50));
  const tool = start("bunsq", topic, [`-post=${receiver.url}/`, "-n=3"]);
  await until("all", () => isDone(topic, "bunsq"));
  expect(await stop(tool)).toBe(0);
  expect(most).toBe(3);
  await receiver.stop();
}, 30_000);

test("tries a message again when its receiver does not answer in time", async () => {
  const receiver = new Receiver((count) => (count === 1 ? new Promise(() => {}) : new Response()));
  const topic = await newTopic(["a"]);
  const tool = start("bunsq", topic, [`-post=${receiver.url}/`, "-http-client-request-timeout=50ms", ...AT_ONCE]);
  await until("it is finished", () => isDone(topic, "bunsq"));
  expect(receiver.bodies).toEqual(["a", "a"]);
  expect(tool.stderr()).toContain("no answer within 50 ms");
  expect(await stop(tool)).toBe(0);
  await receiver.stop();
}, 30_000);

test("goes on when a dead receiver is back", async () => {
  const first = new Receiver();
  const { port } = first;
  await first.stop();
  const topic = await newTopic(numbers(10));
  const flags = [`-post=http://127.0.0.1:${port}/`, "-consumer-opt=max_attempts,0", ...AT_ONCE];
  const tool = start("bunsq", topic, flags);
  await until("some attempts", () => tool.stderr().split("Handler returned error").length > 10);
  const second = new Receiver(undefined, port);
  await until("all", () => isDone(topic, "bunsq"));
  expect([...new Set(second.bodies)]).toEqual(numbers(10));
  expect(await stop(tool)).toBe(0);
  await second.stop();
}, 30_000);

test("with a host pool, gives a dead receiver's messages to the others", async () => {
  const dead = new Receiver();
  await dead.stop();
  const receivers = [new Receiver(), new Receiver()];
  const topic = await newTopic(numbers(30));
  const tool = start("bunsq", topic, [dead, ...receivers].map(({ url }) => `-post=${url}/`).concat(AT_ONCE));
  await until("all", () => isDone(topic, "bunsq"));
  expect(await stop(tool)).toBe(0);
  expect(receivers.flatMap(({ bodies }) => bodies).sort()).toEqual(numbers(30).sort());
  for (const receiver of receivers) await receiver.stop();
}, 30_000);

test("asks receivers directly, whatever proxy the environment names", async () => {
  const [receiver, proxy] = [new Receiver(), new Receiver()];
  const topic = await newTopic(["a"]);
  const args = [`-topic=${topic}`, "-channel=bunsq", `-nsqd-tcp-address=127.0.0.1:${broker.tcpPort}`, `-post=${receiver.url}/`];
  const tool = startTool("bunsq", "nsq_to_http", args, "", { HTTP_PROXY: proxy.url, http_proxy: proxy.url, NO_PROXY: "", no_proxy: "" });
  await until("it is sent", () => isDone(topic, "bunsq"));
  expect(await stop(tool)).toBe(0);
  expect([receiver.bodies, proxy.bodies]).toEqual([["a"], []]);
  for (const server of [receiver, proxy]) await server.stop();
}, 30_000);

test("sends none with -sample=0, and about half with 0.5", async () => {
  const receiver = new Receiver();
  for (const [sample, least, most] of [
    [0, 0, 0],
    [0.5, 20, 180],
  ] as const) {
    const topic = await newTopic([]);
    await broker.http("POST", `/mpub?topic=${topic}`, numbers(200).join("\n"));
    const tool = start("bunsq", topic, [`-post=${receiver.url}/`, `-sample=${sample}`]);
    await until("all", () => isDone(topic, "bunsq"));
    expect(await stop(tool)).toBe(0);
    expect(receiver.received.length).toBeGreaterThanOrEqual(least);
    expect(receiver.received.length).toBeLessThanOrEqual(most);
  }
  await receiver.stop();
}, 30_000);

test("logs how long the requests took, each time that there were as many as asked for", async () => {
  const receiver = new Receiver();
  const topic = await newTopic(numbers(25));
  const tool = start("bunsq", topic, [`-post=${receiver.url}/`, "-status-every=10"]);
  await until("all", () => isDone(topic, "bunsq"));
  expect(await stop(tool)).toBe(0);
  const line = /\[aggregate\]: finished 10 - 99th: \d+\.\d\dms - 95th: \d+\.\d\dms - avg: \d+\.\d\dms\n/g;
  expect(tool.stderr().match(line)).toHaveLength(2);
  expect(tool.stderr()).toContain("Warning: use more than 100 status values for accurate percentiles (configured with 10)");
  await receiver.stop();
}, 30_000);

describeUnless(missing("nsq_to_http"))("as Go's nsq_to_http", () => {
  /**
   * Runs both tools over the same messages, one at a time.
   *
   * @param flagsFor the flags for the receivers' addresses
   * @returns what each receiver got
   */
  async function both(
    bodies: readonly (string | Uint8Array<ArrayBuffer>)[],
    flagsFor: (urls: string[]) => string[],
    answers: readonly ((count: number) => Response)[],
  ): Promise<Received[][]> {
    const outcomes = [];
    for (const maker of ["bunsq", "nsq"] as const) {
      const receivers = answers.map((answer) => new Receiver(answer));
      const topic = await newTopic(bodies);
      const tool = start(maker, topic, ["-max-in-flight=1", ...AT_ONCE, ...flagsFor(receivers.map(({ url }) => url))]);
      await until(`all is done by ${maker}`, () => isDone(topic, maker));
      const code = await stop(tool);
      const received = receivers.map((receiver) =>
        receiver.received.map(({ headers, ...rest }) => {
          const { "user-agent": agent, "content-type": type, "x-own": own } = headers;
          return { ...rest, headers: Object.fromEntries(Object.entries({ agent, type, own }).filter(([, value]) => value !== undefined)) };
        }),
      );
      outcomes.push({ code, received });
      for (const receiver of receivers) await receiver.stop();
    }
    expect(outcomes[0]).toEqual(outcomes[1] as (typeof outcomes)[0]);
    expect(outcomes[0]?.code).toBe(0);
    return (outcomes[0]?.received ?? []) as Received[][];
  }

  const good = () => new Response("ok");
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);

  test("posts the same requests", async () => {
    const [received] = await both(["a", "\u00fc", bytes, "x".repeat(100_000)], ([url]) => [`-post=${url}/path?q=1`], [good]);
    expect(received?.[0]).toEqual({
      method: "POST",
      path: "/path?q=1",
      body: "a",
      headers: { agent: "nsq_to_http v1.3.0", type: "application/octet-stream" },
    });
  }, 30_000);

  test("posts with another content type and further headers", async () => {
    await both(["a"], ([url]) => [`-post=${url}/`, "-content-type=text/plain", "-header=X-Own: a: b ", "-header=user-agent:me"], [good]);
  }, 30_000);

  test("puts the message into the address of a GET, escaped", async () => {
    await both(["a b", "&?=/%+~.-_", bytes, "\u00fc\u{1f600}"], ([url]) => [`-get=${url}/get?data=%s&more=1`], [good]);
  }, 30_000);

  test("shares messages out among addresses, or sends each to all", async () => {
    for (const mode of ["round-robin", "hostpool", "all"]) {
      const received = await both(numbers(6), (urls) => [...urls.map((url) => `-post=${url}/`), `-mode=${mode}`], [good, good, good]);
      expect(received.map(({ length }) => length)).toEqual(mode === "all" ? [6, 6, 6] : [2, 2, 2]);
    }
  }, 60_000);

  test("tries again by the status of the answer, and gives up after five times", async () => {
    const tries = async (method: "post" | "get", status: number) => {
      const address = method === "get" ? "?%s" : "";
      const [received] = await both(["a"], ([url]) => [`-${method}=${url}/${address}`], [() => new Response(null, { status })]);
      return received?.length;
    };
    expect(await tries("post", 204)).toBe(1);
    expect(await tries("post", 299)).toBe(1);
    expect(await tries("post", 400)).toBe(5);
    expect(await tries("post", 503)).toBe(5);
    expect(await tries("get", 200)).toBe(1);
    expect(await tries("get", 204)).toBe(5);
    expect(await tries("get", 404)).toBe(5);
  }, 120_000);

  test("goes on with the other address when one answers with errors", async () => {
    const bad = () => new Response(null, { status: 500 });
    const received = await both(numbers(4), (urls) => urls.map((url) => `-post=${url}/`), [bad, good]);
    expect(received.map(({ length }) => length)).toEqual([1, 4]);
  }, 30_000);

  test("follows redirects as far as Go does", async () => {
    for (const status of [302, 307]) {
      const redirect = (count: number) => (count === 1 ? new Response(null, { status, headers: { Location: "/next" } }) : good());
      const [received] = await both(["a"], ([url]) => [`-post=${url}/first`], [redirect]);
      expect(received?.map(({ method, path }) => `${method} ${path}`)).toEqual([
        "POST /first",
        status === 302 ? "GET /next" : "POST /next",
      ]);
    }
  }, 30_000);
});
