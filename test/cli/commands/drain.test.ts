import { expect, test } from "bun:test";
import { RawClient } from "../../support/raw-client.ts";
import { startServer, until } from "../../support/server.ts";
import { commandsAt, runCommand } from "./support/cli.ts";

test("drain waits until the broker has ended", async () => {
  await using server = await startServer();
  const where = `127.0.0.1:${server.httpPort}`;
  await server.http("POST", "/pub?topic=t", "m");
  const consumer = await RawClient.connect(server.tcpPort);
  await consumer.call("SUB t c");
  consumer.command("RDY 1");
  const { id } = await consumer.message();
  const draining = commandsAt(server)("drain", "--timeout=60s");
  await until("it drains", () => server.log().includes("DRAIN: in flight: 1"));
  expect(server.process.exitCode).toBeNull();
  consumer.command(`FIN ${id}`);
  await consumer.untilClosed();
  consumer.close();
  expect(await draining).toEqual({ code: 0, stdout: `drained the broker at ${where}; it has ended\n`, stderr: "" });
  expect(await server.process.exited).toBe(0);
  const { code, stderr } = await commandsAt(server)("drain");
  expect([code, stderr]).toEqual([1, expect.stringContaining(where)]);
}, 30_000);

test("drain fails if the time is over", async () => {
  await using server = await startServer();
  await server.http("POST", "/pub?topic=t", "m");
  const consumer = await RawClient.connect(server.tcpPort);
  await consumer.call("SUB t c");
  consumer.command("RDY 1");
  await consumer.message();
  const { code, stdout } = await commandsAt(server)("drain", "--timeout=400ms", "--json");
  expect([code, JSON.parse(stdout)]).toEqual([1, [{ broker: `127.0.0.1:${server.httpPort}`, ok: false, in_flight: 1 }]]);
}, 30_000);

test("drain is not for all brokers that a lookup server knows, nor for a bound that is no duration", async () => {
  const { code, stderr } = await runCommand({ BUNSQ_LOOKUP: "127.0.0.1:1" }, ["drain"]);
  expect([code, stderr]).toEqual([2, expect.stringContaining("name it with --broker")]);
  await using server = await startServer();
  const refused = await commandsAt(server)("drain", "--timeout=soon");
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("INVALID_ARG_TIMEOUT")]);
}, 30_000);
