import { afterAll, beforeAll, expect, test } from "bun:test";
import { startLookupServer } from "../support/lookup.ts";
import { describeUnless, missing, testUnless } from "../support/needs.ts";
import { cleanEnvironment, MAIN, type Running, type Server, startServer, until } from "../support/server.ts";
import { type Maker, runTool, startTool } from "./support/tool.ts";

let lookup: Running;
let brokers: Server[];

beforeAll(async () => {
  lookup = await startLookupServer();
  const args = [`--lookupd-tcp-address=127.0.0.1:${lookup.tcpPort}`, "--broadcast-address=127.0.0.1"];
  brokers = [await startServer({ args }), await startServer({ args })];
  for (const [at, broker] of brokers.entries()) {
    await broker.http("POST", "/topic/create?topic=orders");
    await broker.http("POST", "/channel/create?topic=orders&channel=mail");
    for (let i = 0; i < 10 + at; i++) await broker.http("POST", "/pub?topic=orders", "x");
    await broker.http("POST", "/pub?topic=orders&defer=3600000", "late");
  }
  await until("both are registered", async () => {
    const answer = await lookup.http("GET", "/lookup?topic=orders");
    return answer.ok && ((await answer.json()) as { producers: unknown[] }).producers.length === 2;
  });
});

afterAll(async () => {
  for (const broker of brokers) await broker.stop();
  await lookup.stop();
});

const ofOrders = ["-topic=orders", "-channel=mail", "-interval=20ms"];
const direct = () => brokers.map(({ httpPort }) => `-nsqd-http-address=127.0.0.1:${httpPort}`);
const found = () => [`-lookupd-http-address=127.0.0.1:${lookup.httpPort}`];

test("prints as many reports as asked for, with rates since the one before", async () => {
  const { code, stdout } = await runTool("bunsq", "nsq_stat", [...ofOrders, "-count=2", ...direct()]);
  expect(code).toBe(0);
  const lines = stdout.trimEnd().split("\n");
  expect(lines).toHaveLength(4);
  expect(lines[0]).toBe("------rate------+----------------depth----------------+--------------metadata---------------");
  expect(lines[3]?.split(/[\s|]+/).filter((word) => word !== "")).toEqual(["0", "0", "21", "21", "0", "0", "2", "0", "0", "23", "0"]);
}, 30_000);

for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  test(`prints reports until ${signal} comes`, async () => {
    const tool = startTool("bunsq", "nsq_stat", [...ofOrders, ...direct()], "");
    await until("thirty reports", () => tool.stdout().split("\n").length > 32);
    tool.process.kill(signal);
    expect(await tool.ended).toMatchObject({ code: 0, signal: null, stderr: "" });
    // The heading comes again.
    expect(tool.stdout().split("ingress")).toHaveLength(3);
  }, 30_000);
}

testUnless(missing("bash"))(
  "ends when its reader has gone",
  async () => {
    const command = [process.execPath, MAIN, "nsq_stat", ...ofOrders, ...direct()];
    const script = 'set -o pipefail; "$@" | head -1; echo $?';
    const child = Bun.spawn(["bash", "-c", script, "bash", ...command], { env: cleanEnvironment(), stderr: "pipe", stdin: "ignore" });
    const lines = (await child.stdout.text()).trimEnd().split("\n");
    expect([lines.length, lines[1]]).toEqual([2, "1"]);
    expect(await child.stderr.text()).toContain("ERROR: failed to write to os.Stdout");
  },
  30_000,
);

describeUnless(missing("nsq_stat"))("as Go's nsq_stat", () => {
  const both = async (args: string[]) => {
    const run = async (maker: Maker) => await runTool(maker, "nsq_stat", args);
    return [await run("bunsq"), await run("nsq")] as const;
  };

  test("prints the same, with brokers that are named or found", async () => {
    for (const addresses of [direct(), direct().slice(1), found()]) {
      const [ours, theirs] = await both([...ofOrders, "-count=3", ...addresses]);
      expect(ours).toEqual(theirs);
    }
  }, 30_000);

  test("fails in the same way without the topic, without the channel, and without an answer", async () => {
    const nowhere = ["-nsqd-http-address=127.0.0.1:1"];
    const cases = [
      ["-topic=none", "-channel=mail", ...direct()],
      ["-topic=orders", "-channel=none", ...direct()],
      ["-topic=none", "-channel=mail", ...found()],
      [...ofOrders, ...nowhere],
      [...ofOrders, ...nowhere, ...direct()],
      [...ofOrders, "-lookupd-http-address=127.0.0.1:1"],
    ];
    for (const args of cases) {
      const [ours, theirs] = await both(args);
      expect([args, ours.code, ours.stdout]).toEqual([args, theirs.code, theirs.stdout]);
      // The system's own words for the reason differ.
      const [ourReason = "", theirReason = ""] = [ours, theirs].map(
        ({ stderr }) => /ERROR: .*?( - (failed to query any \w+:)?|$)/m.exec(stderr)?.[0],
      );
      expect(ourReason).toBe(theirReason);
    }
  }, 60_000);
});
