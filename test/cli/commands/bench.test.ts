import { expect, test } from "bun:test";
import { startServer } from "../../support/server.ts";
import { commandsAt } from "./support/cli.ts";

test("bench says what it measured, and removes its topic", async () => {
  await using server = await startServer();
  const bunsq = commandsAt(server);
  const args = ["bench", "--messages=2000", "--rounds=20", "--size=100"];
  const { code, stdout, stderr } = await bunsq(...args);
  expect([code, stderr]).toEqual([0, ""]);
  const lines = stdout.trimEnd().split("\n");
  expect(lines[0]).toBe(`bunsq 0.1.0 at 127.0.0.1:${server.tcpPort}: 2000 messages of 100 bytes, one connection each way`);
  expect(lines.slice(1).map((line) => line.split(" ", 1)[0])).toEqual(["published", "consumed", "OK", "received"]);
  const json = await bunsq(...args, "--json");
  expect(JSON.parse(json.stdout)).toMatchObject({ size: 100, published: { messages: 2000 }, consumed: { messages: 2000 } });
  expect(JSON.parse((await bunsq("topics", "--json")).stdout)).toEqual([]);
}, 60_000);
