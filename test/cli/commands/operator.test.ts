import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { RawClient } from "../../support/raw-client.ts";
import { type Server, startServer } from "../../support/server.ts";
import { commandsAt, runCommand } from "./support/cli.ts";

type Json = Record<string, unknown>;

let server: Server;
let bunsq: ReturnType<typeof commandsAt>;
let where: string;

beforeAll(async () => {
  server = await startServer();
  bunsq = commandsAt(server);
  where = `127.0.0.1:${server.httpPort}`;
});
afterAll(() => server.stop());

const publish = async (topic: string, ...bodies: string[]) => {
  for (const body of bodies) expect(await (await server.http("POST", `/pub?topic=${topic}`, body)).text()).toBe("OK");
};

/** Runs a command that has to succeed. @returns its output, as JSON */
const json = async <Value>(...args: string[]): Promise<Value> => {
  const { code, stdout, stderr } = await bunsq(...args, "--json");
  expect([code, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout) as Value;
};

describe("topics and channels", () => {
  test("are made, listed, paused, emptied and deleted", async () => {
    expect(await bunsq("topic", "create", "orders")).toEqual({ code: 0, stdout: `created topic orders at ${where}\n`, stderr: "" });
    expect((await bunsq("channel", "create", "orders", "billing")).code).toBe(0);
    await publish("orders", "one", "two");
    expect((await bunsq("channel", "pause", "orders", "billing")).stdout).toBe(`paused channel billing of orders at ${where}\n`);
    const { stdout } = await bunsq("topics", "orders");
    const [titles = "", topic = "", channel = ""] = stdout.trimEnd().split("\n");
    expect(titles.split(/ {2,}/)).toEqual(["TOPIC", "CHANNEL", "DEPTH", "IN FLIGHT", "DEFERRED", "MESSAGES", "CONSUMERS", "STATE"]);
    expect(topic.split(/ +/)).toEqual(["orders", "0", "2"]);
    expect(channel.split(/ +/)).toEqual(["orders", "billing", "2", "0", "0", "2", "0", "paused"]);
    expect(await json<Json[]>("topics", "orders")).toMatchObject([
      { topic: "orders", channel: null, depth: 0, messages: 2, paused: false },
      { topic: "orders", channel: "billing", depth: 2, in_flight: 0, paused: true },
    ]);
    expect((await bunsq("channel", "unpause", "orders", "billing")).code).toBe(0);
    // No terminal is there to answer, so nothing is asked.
    expect((await bunsq("channel", "empty", "orders", "billing")).stdout).toBe(`emptied channel billing of orders at ${where}\n`);
    expect(await json<Json[]>("topics", "orders")).toMatchObject([{}, { depth: 0, paused: false }]);
    expect((await bunsq("channel", "delete", "orders", "billing")).code).toBe(0);
    expect(await json<Json[]>("topic", "delete", "orders")).toEqual([{ broker: where, ok: true }]);
    expect(await bunsq("topics", "orders")).toEqual({ code: 1, stdout: "", stderr: "there is no topic orders\n" });
    // A broker of a cluster deletes it for all. Here the same broker is asked twice, for two of them.
    await bunsq("topic", "create", "orders");
    const both = `--broker=${where},${where.replace("127.0.0.1", "localhost")}`;
    expect(await bunsq("topic", "delete", "orders", both)).toEqual({ code: 0, stdout: `deleted topic orders at ${where}\n`, stderr: "" });
    expect((await bunsq("topic", "delete", "orders", both)).code).toBe(1);
  }, 60_000);

  test("have a position and a retention", async () => {
    await bunsq("topic", "create", "kept");
    expect((await bunsq("topic", "retention", "kept", "--time=2h", "--bytes=1000")).stdout).toContain("2h0m0s and 1000 bytes; 0 messages");
    expect(await json<Json[]>("topic", "retention", "kept")).toMatchObject([{ time: "2h0m0s", bytes: 1000, default: false }]);
    expect((await bunsq("topic", "retention", "kept", "--default")).stdout).toContain("no longer than needed, from the broker's flags");
    await publish("kept", "a", "b", "c");
    const [first, , third] = (await bunsq("peek", "kept", "--json")).stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Json);
    expect((await bunsq("channel", "create", "kept", "late", `--start=sequence:${third?.sequence}`)).code).toBe(0);
    expect(await json<Json[]>("topics", "kept")).toMatchObject([{}, { channel: "late", depth: 1 }]);
    const moved = await bunsq("channel", "seek", "kept", "late", "beginning");
    expect(moved.stdout).toBe(
      `moved channel late of kept at ${where}: now at ${first?.sequence} with 3 messages; 0 in flight, 0 requeued and 0 deferred discarded\n`,
    );
    const refused = await bunsq("channel", "seek", "kept", "late", "yesterday", "--json");
    expect([refused.code, JSON.parse(refused.stdout)]).toEqual([1, [{ broker: where, ok: false, error: "INVALID_ARG_TO" }]]);
  }, 60_000);
});

describe("partitions and order", () => {
  test("a topic is made with partitions, gets more, and has them listed", async () => {
    const made = await bunsq("topic", "create", "split", "--partitions=3");
    expect(made.stdout).toBe(`created topic split with 3 partitions at ${where}\n`);
    await bunsq("channel", "create", "split", "work");
    await publish("split", "0", "1", "2", "3");
    const { stdout } = await bunsq("topic", "partitions", "split");
    const [titles = "", ...rows] = stdout.trimEnd().split("\n");
    expect(titles.trim().split(/ {2,}/)).toEqual(["PARTITION", "BROKER", "DEPTH", "IN FLIGHT", "BLOCKED", "MESSAGES", "LOG"]);
    expect(rows.map((row) => row.trim().split(/ +/).slice(0, 3))).toEqual([
      ["0", where, "2"],
      ["1", where, "1"],
      ["2", where, "1"],
    ]);
    expect((await bunsq("topics", "split")).stdout).toMatch(/^split +0 +4 +3 partitions$/m);
    expect((await bunsq("topic", "expand", "split", "4")).stdout).toBe(`expanded topic split to 4 partitions at ${where}\n`);
    expect(await json<Json>("topic", "partitions", "split", "work")).toMatchObject({
      partition_num: 4,
      missing: [],
      partitions: [{ partition: 0, depth: 2, log_bytes: null }, {}, {}, { partition: 3, depth: 0 }],
    });
    const fewer = await bunsq("topic", "expand", "split", "2");
    expect([fewer.code, fewer.stderr]).toEqual([1, `POST /topic/partition/expand at ${where}: 400 TOO_FEW_PARTITIONS\n`]);
    expect((await bunsq("topic", "expand", "split", "many")).code).toBe(2);
    // All of them are looked at, or one.
    const bodies = async (...args: string[]) => {
      const lines = (await bunsq("peek", "split", "--json", ...args)).stdout.trimEnd().split("\n");
      return lines.map((line) => (JSON.parse(line) as Json).body);
    };
    expect(await bodies()).toEqual(["0", "3", "1", "2"]);
    expect(await bodies("--limit=3")).toEqual(["0", "3", "1"]);
    expect(await bodies("--partition=1")).toEqual(["1"]);
    await server.http("POST", "/topic/create?topic=holes&partition_num=3&partitions=1");
    const holes = await bunsq("topic", "partitions", "holes");
    expect([holes.code, holes.stderr]).toEqual([1, "no broker has 2 of 3 partitions: 0, 2\n"]);
    expect((await bunsq("topic", "partitions", "nothing")).stderr).toBe("there is no topic nothing\n");
  }, 60_000);

  test("a channel's settings are given, shown and changed, and a message's header is shown", async () => {
    await bunsq("topic", "create", "ordered");
    const filter = '{"type":1,"filter_ext_key":"region","filter_data":"eu"}';
    expect((await bunsq("channel", "create", "ordered", "work", "--order=key", `--filter=${filter}`)).code).toBe(0);
    const shown = await bunsq("channel", "settings", "ordered", "work");
    expect(shown.stdout).toMatch(/^settings of channel work of ordered at \S+: ordered by key; filter {.*"eu".*}; attempts without end\n$/);
    const changed = await bunsq("channel", "settings", "ordered", "work", "--filter=", "--max-attempts=3", "--dead-letter-topic=dead");
    expect(changed.stdout).toBe(
      `set settings of channel work of ordered at ${where}: ordered by key; no filter; 3 attempts, then to dead\n`,
    );
    expect(await json<Json[]>("channel", "settings", "ordered", "work")).toMatchObject([{ order: "key", filter: null, max_attempts: 3 }]);
    expect((await bunsq("topics", "ordered")).stdout).toContain("ordered by key");
    expect((await bunsq("channel", "settings", "ordered", "work", "--filter=x")).stderr).toContain("--filter is a JSON object");
    const refused = await bunsq("channel", "settings", "ordered", "work", "--max-attempts=0", "--json");
    expect([refused.code, JSON.parse(refused.stdout)[0].error]).toEqual([1, "INVALID_ARG_MAX_ATTEMPTS"]);
    const limits = ["--rate-messages=500", "--client-limit=20", "--client-limit=10.1.=5"];
    expect((await bunsq("channel", "settings", "ordered", "work", ...limits)).stdout).toEndWith(
      "dead; at most 500 messages/s; at most 5 in flight at clients 10.1.…; at most 20 in flight at each client\n",
    );
    const [taken] = await json<Json[]>(
      "channel",
      "settings",
      "ordered",
      "work",
      "--rate-messages=0",
      "--rate-kilobytes=64",
      "--client-limit=0",
    );
    expect(taken).toMatchObject({ rate_limit: 0, rate_limit_kb: 64, client_limits: [{ prefix: "10.1.", ready: 5 }] });
    expect((await bunsq("channel", "settings", "ordered", "work", "--client-limit=x")).stderr).toContain("PREFIX=number");
    await publish("ordered", "before");
    expect((await bunsq("channel", "skip", "ordered", "work", "--yes")).stdout).toBe(
      `skipping the messages of channel work of ordered at ${where}\n`,
    );
    await publish("ordered", "meanwhile");
    expect((await bunsq("channel", "settings", "ordered", "work")).stdout).toContain("; all messages skipped; ");
    expect((await bunsq("channel", "unskip", "ordered", "work")).code).toBe(0);
    await publish("ordered", "afterwards");
    expect((await bunsq("peek", "ordered", "work")).stdout).toMatch(/^\S+ {2}sequence 2 .*\nafterwards\n$/);
    await server.http("POST", "/channel/empty?topic=ordered&channel=work");
    await server.http("POST", `/pub?topic=ordered&key=user-7&ext=${encodeURIComponent('{"region":"eu"}')}`, "with a key");
    expect((await bunsq("peek", "ordered")).stdout).toMatch(/ {2}key user-7 {2}headers {.*"region":"eu".*}\nwith a key\n/);
  }, 60_000);
});

describe("messages", () => {
  test("are shown, finished and requeued without a consumer of one's own", async () => {
    await bunsq("topic", "create", "seen");
    await bunsq("channel", "create", "seen", "work");
    await publish("seen", "first", '{"second":2}', "\xff\xfe");
    const peeked = await bunsq("peek", "seen");
    expect(peeked.stdout).toMatch(/^[0-9a-f]{16} {2}sequence 0 {2}\S+ {2}5 bytes\nfirst\n/);
    const lines = (await bunsq("peek", "seen", "work", "--json", "--limit=2")).stdout.trimEnd().split("\n");
    const [first, second] = lines.map((line) => JSON.parse(line) as Json);
    expect(lines.length).toBe(2);
    expect(first).toMatchObject({ broker: where, sequence: 0, state: "waiting", body: "first" });
    expect(second).toMatchObject({ body: '{"second":2}' });
    const id = String(first?.id);
    expect((await bunsq("message", "finish", "seen", "work", id)).stdout).toBe(`finished message ${id} at ${where}\n`);
    expect((await bunsq("message", "show", "seen", id)).stdout).toMatch(/\nfirst\nchannel work: finished/);
    const again = await bunsq("message", "finish", "seen", "work", id);
    expect([again.code, again.stderr]).toEqual([1, `bunsq message finish: POST /message/finish at ${where}: 409 MESSAGE_FINISHED\n`]);
    const other = String(second?.id);
    expect(await json<Json>("message", "requeue", "seen", "work", other, "--defer=1h")).toEqual({ broker: where, ok: true });
    expect((await bunsq("peek", "seen", "work", "--state=deferred")).stdout).toContain('\n{"second":2}\n');
  }, 60_000);

  test("in the hands of a consumer are shown as in flight", async () => {
    await publish("held", "mine");
    const client = await RawClient.connect(server.tcpPort);
    await client.call("SUB held work");
    client.command("RDY 1");
    await client.message();
    expect((await bunsq("peek", "held", "work", "--state=in_flight")).stdout).toContain("in_flight  attempts 1\nmine\n");
    client.close();
  }, 60_000);
});

describe("several brokers", () => {
  let other: Server;
  beforeAll(async () => {
    other = await startServer();
  });
  afterAll(() => other.stop());

  test("are named with commas, added up and changed together", async () => {
    const both = `--broker=${where},127.0.0.1:${other.httpPort}`;
    const made = await bunsq("topic", "create", "shared", both);
    expect(made.stdout).toBe(`created topic shared at ${where}\ncreated topic shared at 127.0.0.1:${other.httpPort}\n`);
    await publish("shared", "here");
    await other.http("POST", "/mpub?topic=shared", "there\ntoo");
    expect(await json<Json[]>("topics", "shared", both)).toMatchObject([{ topic: "shared", depth: 3, messages: 3 }]);
    // One that refuses does not keep the others from it, and the exit code says so.
    await server.http("POST", "/topic/create?topic=halved");
    const { code, stdout, stderr } = await bunsq("topic", "pause", "halved", both);
    expect([code, stdout]).toEqual([1, `paused topic halved at ${where}\n`]);
    expect(stderr).toBe(`POST /topic/pause at 127.0.0.1:${other.httpPort}: 404 TOPIC_NOT_FOUND\n`);
  }, 60_000);
});

describe("what is wrong", () => {
  test("on the command line ends with 2 and says where to read about it", async () => {
    const cases: [string[], string][] = [
      [["topics", "--brokr=x"], "flag provided but not defined: -brokr\ndid you mean -broker?\nsee bunsq topics --help for the flags\n"],
      [["topic", "creat"], 'bunsq topic has no "creat"\ndid you mean create?\nsee bunsq topic --help for the flags\n'],
      [
        ["topic"],
        "bunsq topic needs one of create, expand, partitions, delete, pause, unpause, empty, retention\nsee bunsq topic --help for the flags\n",
      ],
      [
        ["channel", "seek", "a", "b"],
        "bunsq channel seek needs TOPIC CHANNEL POSITION: POSITION is missing\nsee bunsq channel seek --help for the flags\n",
      ],
      [["topic", "create", "a", "b"], 'unexpected word "b"\nsee bunsq topic create --help for the flags\n'],
      [["topics", "--broker=a", "--lookup=b"], "give either --broker or --lookup\nsee bunsq topics --help for the flags\n"],
      [["peek", "t", "--state=waiting"], "--state needs a channel\nsee bunsq peek --help for the flags\n"],
      [["completion", "tcsh"], '"tcsh" must be one of bash, zsh, fish\nsee bunsq completion --help for the flags\n'],
      [["help", "chanel"], 'there is no command "bunsq chanel"\ndid you mean channel?\nsee bunsq help --help for the flags\n'],
    ];
    for (const [args, stderr] of cases) expect([args, await bunsq(...args)]).toEqual([args, { code: 2, stdout: "", stderr }]);
    expect((await bunsq("topic", "create", "bad name")).stderr).toStartWith('invalid topic "bad name"');
  }, 60_000);

  test("with the connection ends with 1 and says what to do", async () => {
    const nobody = await runCommand({}, ["topics", "--broker=127.0.0.1:1"]);
    expect([nobody.code, nobody.stdout]).toEqual([1, ""]);
    expect(nobody.stderr).toStartWith("bunsq topics: cannot reach 127.0.0.1:1 over HTTP");
    expect(nobody.stderr).toContain("BUNSQ_BROKER");
    const lookup = await runCommand({ BUNSQ_LOOKUP: "127.0.0.1:1" }, ["topics"]);
    expect([lookup.code, lookup.stderr.split(":")[0]]).toEqual([1, "bunsq topics"]);
    expect(lookup.stderr).toContain("cannot ask the lookup server 127.0.0.1:1");
    const tcp = await runCommand({}, ["topics", `--broker=127.0.0.1:${server.tcpPort}`]);
    expect([tcp.code, tcp.stderr.includes("by default port 4151") || tcp.stderr.includes("cannot reach")]).toEqual([1, true]);
  }, 60_000);
});

test("a reader that has enough is no error", async () => {
  await publish("long", ..."abcdefgh");
  const script = 'set -o pipefail; "$@" | head -1; echo $?';
  const args = ["peek", "long", "--json", `--broker=${where}`];
  const child = Bun.spawnSync([Bun.which("bash") ?? "bash", "-c", script, "bash", process.execPath, "src/main.ts", ...args], {
    stderr: "pipe",
  });
  const [line = "", code] = child.stdout.toString().trimEnd().split("\n");
  expect([(JSON.parse(line) as Json).body, code, child.stderr.toString()]).toEqual(["a", "0", ""]);
}, 60_000);
