import { describe, expect, test } from "bun:test";
import type { LogFields, LogLevel } from "../../src/base/logger.ts";
import { JsonLogger } from "../../src/cli/line-logger.ts";
import { RawClient } from "../support/raw-client.ts";
import { startServer, until } from "../support/server.ts";
import { runTool, startTool } from "../tools/support/tool.ts";

type Line = Record<string, string>;

function parse(text: string): Line[] {
  expect(text).toEndWith("\n");
  return text
    .slice(0, -1)
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}

function capture(level: LogLevel) {
  const state = { text: "" };
  const sink = (line: Uint8Array) => {
    state.text += new TextDecoder().decode(line);
    return line.length;
  };
  return { log: new JsonLogger(level, "broker", sink), state };
}

describe("a JSON log line", () => {
  test("has level, time, component and text, and what it is about", () => {
    const { log, state } = capture("debug");
    const before = new Date().toISOString().slice(0, -1);
    log.debug("a");
    log.info("b", { topic: "t", channel: "c" });
    log.warn("c", { part: "http", requestId: "r" });
    log.error("d", {
      get logFields() {
        return { part: "tcp", client: "127.0.0.1:1" };
      },
    });
    log.fatal("e");
    const after = `${new Date().toISOString().slice(0, -1)}999Z`;
    const lines = parse(state.text);
    for (const { time } of lines) {
      expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
      expect([before, time, after].toSorted()).toEqual([before, time as string, after]);
    }
    expect(lines.map(({ time, ...rest }) => rest)).toEqual([
      { level: "debug", component: "broker", msg: "a" },
      { level: "info", component: "broker", msg: "b", topic: "t", channel: "c" },
      { level: "warn", component: "broker/http", msg: "c", request_id: "r" },
      { level: "error", component: "broker/tcp", msg: "d", client: "127.0.0.1:1" },
      { level: "fatal", component: "broker", msg: "e" },
    ]);
  });

  test("is one line that controls no terminal, whatever a client has put into it", () => {
    const { log, state } = capture("info");
    const text = 'a\nb\r\x1b[31m"\\\x7f\x9b2J\u2028\u{1f600}\ud800';
    log.info(text, { topic: text });
    const isControl = (character: string) => character < " " || /[\x7f-\x9f\u2028]/.test(character);
    expect([...state.text.trimEnd()].filter(isControl)).toEqual([]);
    const [line] = parse(state.text);
    expect([line?.msg, line?.topic]).toEqual([text, text]);
  });

  test("below the level is not written, and what it would be about is not asked for", () => {
    const { log, state } = capture("error");
    let asked = 0;
    const subject = {
      get logFields(): LogFields {
        asked++;
        return {};
      },
    };
    log.warn("no", subject);
    expect([state.text, asked]).toEqual(["", 0]);
    log.level = "warn";
    log.warn("yes", subject);
    expect([parse(state.text).length, asked]).toEqual([1, 1]);
  });
});

test("all that a broker logs is JSON with --log-format=json: clients, topics, channels and requests can be told apart", async () => {
  const server = await startServer({ args: ["--log-format=json"] });
  const consumer = await RawClient.connect(server.tcpPort);
  await consumer.call("SUB orders billing");
  consumer.command("FIN 0000000000000000");
  expect((await consumer.next()).text).toStartWith("E_FIN_FAILED");
  const url = `http://127.0.0.1:${server.httpPort}`;
  const withId = await fetch(`${url}/ping`, { headers: { "X-Request-Id": "abc-1" } });
  expect(withId.headers.get("x-request-id")).toBe("abc-1");
  for (const id of ["", "two words", "x".repeat(129)]) {
    expect((await fetch(`${url}/ping?odd`, { headers: { "X-Request-Id": id } })).headers.has("x-request-id")).toBe(false);
  }
  expect((await fetch(`${url}/info`)).headers.has("x-request-id")).toBe(false);
  consumer.close();
  await server.stop();
  const lines = parse(server.log());
  expect(lines.every(({ level, time, component, msg }) => [level, time, component, msg].every((value) => typeof value === "string"))).toBe(
    true,
  );
  const about = (text: string) => lines.filter(({ msg }) => msg?.includes(text)).map(({ level, time, msg, ...rest }) => rest);
  expect(about("new channel")).toEqual([{ component: "broker", topic: "orders", channel: "billing" }]);
  const client = expect.stringMatching(/^127\.0\.0\.1:\d+$/);
  expect(about("E_FIN_FAILED")).toEqual([{ component: "broker/tcp", client, topic: "orders", channel: "billing" }]);
  expect(about("GET /ping (")).toEqual([{ component: "broker/http", client, request_id: "abc-1" }]);
  const made = lines.flatMap(({ msg, request_id: id }) => (msg?.includes("GET /ping?odd") || msg?.includes("GET /info") ? [id] : []));
  expect(made).toHaveLength(4);
  expect(new Set(made).size).toBe(4);
  for (const id of made) expect(id).toMatch(/^[0-9a-f-]{36}$/);
}, 30_000);

test("a lookup server beside a broker logs as the broker does, unless it is told", async () => {
  for (const [flags, format] of [
    [[], "json"],
    [["--lookup-log-format=text"], "text"],
  ] as const) {
    const server = await startServer({
      command: [process.execPath, `${import.meta.dir}/../../src/main.ts`, "--mode=all"],
      args: [
        ...["--lookup-tcp-address", "--lookup-http-address", "--admin-http-address"].map((flag) => `${flag}=127.0.0.1:0`),
        ...["--log-format=json", ...flags],
      ],
    });
    await until("both have logged", () => server.log().includes("lookup up"));
    await server.stop();
    const lookups = server
      .log()
      .trimEnd()
      .split("\n")
      .filter((line) => line.includes("lookup up"));
    expect(lookups.map((line) => (line.startsWith("{") ? `json ${JSON.parse(line).component}` : "text"))).toEqual([
      format === "json" ? "json lookup" : "text",
    ]);
  }
}, 30_000);

test("NSQ's tools log JSON by the environment, since their help has to stay as it is", async () => {
  const tool = startTool("bunsq", "to_nsq", ["-topic=t", "-nsqd-tcp-address=127.0.0.1:1"], "m\n", { BUNSQ_LOG_FORMAT: "json" });
  const { code, stderr } = await tool.ended;
  expect(code).toBe(1);
  expect(parse(stderr).at(-1)).toMatchObject({ level: "fatal", component: "to_nsq" });
  const plain = await runTool("bunsq", "to_nsq", ["-topic=t", "-nsqd-tcp-address=127.0.0.1:1"], "m\n");
  expect(plain.stderr).toMatch(/^\d{4}\/\d\d\/\d\d /);
}, 30_000);
