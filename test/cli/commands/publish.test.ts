import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { FakeLookup } from "../../client/support/fake-lookup.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { startLookupServer } from "../../support/lookup.ts";
import { missing, testUnless } from "../../support/needs.ts";
import { cleanEnvironment, findNsqd, type Server, startServer, until } from "../../support/server.ts";
import { commandLine, commandsAt, runCommand } from "./support/cli.ts";

type Json = Record<string, unknown>;

let server: Server;
let bunsq: ReturnType<typeof commandsAt>;
let folder: string;

beforeAll(async () => {
  server = await startServer({ args: ["--retention-time=1h"] });
  bunsq = commandsAt(server);
  folder = temporaryFolder();
});
afterAll(async () => {
  await server.stop();
  removeFolder(folder);
});

const at = () => ({ BUNSQ_BROKER: `127.0.0.1:${server.httpPort}` });

/** The bodies in a topic's log. */
const bodiesIn = async (topic: string): Promise<unknown[]> => {
  const { messages } = (await (await server.http("GET", `/topic/messages?topic=${topic}&limit=1000`)).json()) as { messages: Json[] };
  return messages.map(({ body }) => body);
};

/** A `bunsq sub` that runs on, and what it has printed. */
function subscribe(...args: string[]) {
  const child = Bun.spawn(commandLine("sub", ...args), {
    env: { ...cleanEnvironment(), ...at() },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  let printed = "";
  const ended = (async () => {
    for await (const chunk of child.stdout) printed += Buffer.from(chunk).toString();
  })();
  return { child, ended, printed: () => printed };
}

const consumersOf = async (topic: string): Promise<number> => {
  const { topics } = (await (await server.http("GET", `/stats?format=json&topic=${topic}`)).json()) as {
    topics: { channels: { client_count: number }[] }[] | null;
  };
  return topics?.[0]?.channels.reduce((sum, channel) => sum + channel.client_count, 0) ?? 0;
};

test("pub publishes a body, a file, what is piped in, its lines, and copies", async () => {
  writeFileSync(join(folder, "body"), "from a file\n");
  const where = `127.0.0.1:${server.tcpPort}`;
  expect(await bunsq("pub", "sent", "hello world")).toEqual({ code: 0, stdout: `published 1 message to sent at ${where}\n`, stderr: "" });
  expect((await bunsq("pub", "sent", "--file", join(folder, "body"))).code).toBe(0);
  expect((await runCommand(at(), ["pub", "sent"], "two\nlines\n")).code).toBe(0);
  expect((await runCommand(at(), ["pub", "sent", "-"], "dash")).code).toBe(0);
  const lines = await runCommand(at(), ["pub", "sent", "--lines", "--json"], "a\n\nb\nlast");
  expect(JSON.parse(lines.stdout)).toMatchObject({ topic: "sent", published: 3, failed: 0, bytes: 6, brokers: { [where]: 3 } });
  expect((await bunsq("pub", "sent", "--", "-5")).code).toBe(0);
  expect(await bodiesIn("sent")).toEqual(["hello world", "from a file\n", "two\nlines\n", "dash", "a", "b", "last", "-5"]);
  const many = await bunsq("pub", "many", "--count=5000", "--size=50", "--json");
  expect(JSON.parse(many.stdout)).toMatchObject({ published: 5000, bytes: 250_000 });
}, 60_000);

test("pub with the same idempotency key publishes once, and with a delay later", async () => {
  for (let i = 0; i < 2; i++) expect((await bunsq("pub", "once", "x", "--idempotency-key=order-1")).code).toBe(0);
  expect(await bodiesIn("once")).toEqual(["x"]);
  expect((await bunsq("pub", "once", "later", "--defer=1h")).code).toBe(0);
  expect(await bodiesIn("once")).toEqual(["x"]);
}, 60_000);

test("pub says what is wrong, and publishes nothing then", async () => {
  const cases: [string[], number, string][] = [
    [["pub", "bad", "a", "--file=b"], 2, "give one of BODY, --file and --size"],
    [["pub", "bad", "a", "--lines"], 2, "--lines reads standard input"],
    [["pub", "bad", ""], 2, "a message must not be empty"],
    [["pub", "b@d", "x"], 2, 'invalid topic "b@d"'],
    [["pub", "bad", "--file=/nowhere/at/all"], 1, "bunsq pub: cannot read /nowhere/at/all: ENOENT"],
    [["pub", "bad", "x", "--broker=127.0.0.1:1"], 1, "bunsq pub: cannot reach 127.0.0.1:1"],
    [["pub", "bad", "--size=2000000"], 1, "1 of 1 messages were not published: "],
  ];
  for (const [args, code, text] of cases) {
    const outcome = await bunsq(...args);
    expect([args, outcome.code, outcome.stdout, outcome.stderr.includes(text)]).toEqual([args, code, "", true]);
  }
}, 60_000);

test("pub that is interrupted before all copies are published says so, and how many there are", async () => {
  const options = { env: { ...cleanEnvironment(), ...at() }, stdout: "pipe", stderr: "pipe" } as const;
  const child = Bun.spawn(commandLine("pub", "endless", "x", "--count=1000000000", "--json"), options);
  await until("some are published", async () => (await server.http("GET", "/topic/messages?topic=endless&limit=1")).ok);
  child.kill("SIGINT");
  const { published } = JSON.parse(await child.stdout.text()) as { published: number };
  expect([await child.exited, await child.stderr.text()]).toEqual([1, "interrupted\n"]);
  const [topic] = JSON.parse((await bunsq("topics", "endless", "--json")).stdout) as Json[];
  expect(topic?.messages).toBe(published);
}, 60_000);

test("sub prints what is published while it runs, and ends cleanly on Ctrl-C", async () => {
  const live = subscribe("live");
  await until("it is subscribed", async () => (await consumersOf("live")) === 1);
  await bunsq("pub", "live", "one");
  await bunsq("pub", "live", "two");
  await until("both are printed", () => live.printed() === "one\ntwo\n");
  live.child.kill("SIGINT");
  expect(await live.child.exited).toBe(0);
  await live.ended;
  await until("its channel is gone", async () => (await consumersOf("live")) === 0);
}, 60_000);

test("sub --from replays, goes on with what is new, and leaves nothing behind", async () => {
  for (const body of ["1", "2", "3"]) await bunsq("pub", "replayed", body);
  const live = subscribe("replayed", "--from=ago:10m");
  await until("it is subscribed behind the replay", async () => (await consumersOf("replayed")) === 1);
  await bunsq("pub", "replayed", "4");
  await until("all are printed, each once", () => live.printed() === "1\n2\n3\n4\n");
  live.child.kill("SIGTERM");
  expect(await live.child.exited).toBe(0);
  const { code, stdout } = await bunsq("sub", "replayed", "--from=beginning", "--count=3", "--json");
  const printed = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Json);
  expect([code, printed.map(({ body }) => body)]).toEqual([0, ["1", "2", "3"]]);
  expect(Object.keys(printed[0] ?? {})).toEqual(["topic", "id", "timestamp", "attempts", "broker", "size", "body"]);
}, 60_000);

test("sub with a channel finishes what it prints, and takes no more than it was asked for", async () => {
  await server.http("POST", "/topic/create?topic=shared");
  await server.http("POST", "/channel/create?topic=shared&channel=work");
  await server.http("POST", "/mpub?topic=shared", "a\nb\nc\nd");
  expect((await bunsq("sub", "shared", "work", "--count=2")).stdout).toBe("a\nb\n");
  expect((await bunsq("sub", "shared", "work", "--count=2")).stdout).toBe("c\nd\n");
  expect(JSON.parse((await bunsq("topics", "shared", "--json")).stdout)).toMatchObject([{}, { channel: "work", depth: 0, in_flight: 0 }]);
  const refused = await bunsq("sub", "shared", "work", "--from=beginning");
  expect([refused.code, refused.stderr]).toEqual([
    1,
    "bunsq sub: channel work of shared exists, and --from does not move it; bunsq channel seek does\n",
  ]);
  expect((await bunsq("sub", "shared", "again", "--from=beginning", "--count=4")).stdout).toBe("a\nb\nc\nd\n");
}, 60_000);

test("sub prints bodies that are no text as they are, or in base64", async () => {
  await server.http("POST", "/pub?topic=binary", new Uint8Array([255, 0, 254]));
  const { stdout } = await bunsq("sub", "binary", "--from=beginning", "--count=1", "--json");
  expect(JSON.parse(stdout)).toMatchObject({ size: 3, body: "/wD+", encoding: "base64" });
  const raw = Bun.spawn(commandLine("sub", "binary", "--from=beginning", "--count=1"), { env: { ...cleanEnvironment(), ...at() } });
  expect([...(await raw.stdout.bytes())]).toEqual([255, 0, 254, 10]);
}, 60_000);

testUnless(missing("bash") ?? (process.platform === "linux" ? undefined : "not Linux"))(
  "sub ends when its reader has enough, also while nothing is published",
  async () => {
    await bunsq("pub", "headed", "only");
    const script = 'set -o pipefail; "$@" | head -1; echo $?';
    const args = ["bash", "-c", script, "bash", ...commandLine("sub", "headed", "--from=beginning")];
    const child = Bun.spawn(args, { env: { ...cleanEnvironment(), ...at() }, stdin: "ignore" });
    expect(await child.stdout.text()).toBe("only\n0\n");
  },
  60_000,
);

testUnless(missing("bash"))(
  "sub ends at once when its reader has gone while it prints, and gives back what was not read",
  async () => {
    await server.http("POST", "/topic/create?topic=flood");
    await server.http("POST", "/channel/create?topic=flood&channel=c");
    await bunsq("pub", "flood", "--count=1000", "--size=1000");
    const args = ["bash", "-c", '"$@" | head -c 5', "bash", ...commandLine("sub", "flood", "c")];
    const child = Bun.spawn(args, { env: { ...cleanEnvironment(), ...at() }, stdin: "ignore" });
    // It would wait half a minute for the message that it could not print.
    await until("it has ended", () => child.exitCode !== null);
    expect(await child.stdout.text()).toBe("xxxxx");
    await until("all messages are there", async () => {
      const [, channel] = JSON.parse((await bunsq("topics", "flood", "--json")).stdout) as Json[];
      return channel?.in_flight === 0 && Number(channel.depth) > 0;
    });
  },
  60_000,
);

testUnless(process.platform === "linux" ? undefined : "not Linux")(
  "sub finishes no message that it could not print, and fails",
  async () => {
    await server.http("POST", "/topic/create?topic=unprinted");
    await server.http("POST", "/channel/create?topic=unprinted&channel=c");
    await bunsq("pub", "unprinted", "x");
    const options = { env: { ...cleanEnvironment(), ...at() }, stdout: Bun.file("/dev/full"), stderr: "pipe" } as const;
    const child = Bun.spawn(commandLine("sub", "unprinted", "c", "--count=1"), options);
    const stderr = await child.stderr.text();
    expect([await child.exited, stderr]).toEqual([1, "bunsq sub: cannot write to standard output: ENOSPC\n"]);
    expect((await bunsq("sub", "unprinted", "c", "--count=1")).stdout).toBe("x\n");
  },
  60_000,
);

test("sub fails when the broker cannot be reached at the start", async () => {
  const { code, stdout, stderr } = await bunsq("sub", "x", "--broker=127.0.0.1:1");
  expect([code, stdout]).toEqual([1, ""]);
  expect(stderr).toStartWith("bunsq sub: cannot reach 127.0.0.1:1");
  expect((await bunsq("sub", "x", "--lookup=127.0.0.1:1")).code).toBe(1);
}, 60_000);

test("sub goes on with one broker and one lookup server, and reports a lookup server that is down", async () => {
  using lookup = new FakeLookup();
  lookup.brokers = ["127.0.0.1:1", `127.0.0.1:${server.tcpPort}`];
  await bunsq("pub", "partly", "x");
  const { code, stdout, stderr } = await bunsq("sub", "partly", "c", "--count=1", `--lookup=127.0.0.1:2,${lookup.address}`);
  expect([code, stdout]).toEqual([0, "x\n"]);
  expect(stderr).toMatch(/^warning: .*127\.0\.0\.1:2/m);
}, 60_000);

test("brokers are found by a lookup server", async () => {
  const lookup = await startLookupServer();
  const args = [`--lookupd-tcp-address=127.0.0.1:${lookup.tcpPort}`, "--broadcast-address=127.0.0.1"];
  await using first = await startServer({ args });
  await using second = await startServer({ args });
  try {
    const found = commandsAt(lookup, "BUNSQ_LOOKUP");
    await until("both are registered", async () => {
      const { producers } = (await (await lookup.http("GET", "/nodes")).json()) as { producers: unknown[] };
      return producers.length === 2;
    });
    const { stdout } = await found("pub", "spread", "x", "--count=10", "--json");
    const { brokers } = JSON.parse(stdout) as { brokers: Record<string, number> };
    expect(brokers).toEqual({ [`127.0.0.1:${first.tcpPort}`]: 5, [`127.0.0.1:${second.tcpPort}`]: 5 });
    expect(JSON.parse((await found("topics", "--json")).stdout)).toMatchObject([{ topic: "spread", messages: 10 }]);
    expect((await found("sub", "spread", "all", "--count=10")).stdout).toBe("x\n".repeat(10));
  } finally {
    await lookup.stop();
  }
}, 60_000);

testUnless(findNsqd() === undefined ? "no nsqd" : undefined)(
  "pub, sub and topics work with Go's nsqd, and replay says that it is bunsq's own",
  async () => {
    await using nsqd = await startServer({ program: "nsqd" });
    const go = commandsAt(nsqd);
    expect((await go("pub", "plain", "hello")).code).toBe(0);
    expect((await go("sub", "plain", "work", "--count=1")).stdout).toBe("hello\n");
    expect((await go("topics")).stdout).toContain("plain  work");
    const { code, stderr } = await go("peek", "plain");
    expect([code, stderr]).toEqual([
      1,
      `bunsq peek: GET /topic/messages at 127.0.0.1:${nsqd.httpPort}: 404 NOT_FOUND: 127.0.0.1:${nsqd.httpPort} does not have this call, which is bunsq's own\n`,
    ]);
  },
  60_000,
);
