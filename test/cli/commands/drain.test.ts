import { expect, test } from "bun:test";
import { OTHER_LISTENERS } from "../../behaviour/drain/support/listeners.ts";
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

for (const [name, start] of Object.entries(OTHER_LISTENERS))
  test(`drain, and what else goes over HTTP, works at a broker with ${name}`, async () => {
    await using broker = await start();
    const { address, flags, running } = broker;
    const run = (...words: string[]) => runCommand({ BUNSQ_BROKER: address }, [...words, ...flags]);
    expect(await run("topic", "create", "t")).toEqual({ code: 0, stdout: `created topic t at ${address}\n`, stderr: "" });
    expect(await run("pub", "t", "m", "--tls=false")).toEqual({
      code: 0,
      stdout: `published 1 message to t at 127.0.0.1:${running.tcpPort}\n`,
      stderr: "",
    });
    const consumer = await RawClient.connect(running.tcpPort);
    await consumer.call("SUB t c");
    consumer.command("RDY 1");
    const { id } = await consumer.message();
    const draining = run("drain", "--timeout=60s");
    await until("it drains", () => running.log().includes("DRAIN: in flight: 1"));
    consumer.command(`FIN ${id}`);
    await consumer.untilClosed();
    consumer.close();
    expect(await draining).toEqual({ code: 0, stdout: `drained the broker at ${address}; it has ended\n`, stderr: "" });
    expect(await running.process.exited).toBe(0);
    const again = await run("drain", "--json");
    expect([again.code, JSON.parse(again.stdout)]).toEqual([1, [{ broker: address, ok: false, error: "CONNECT_FAILED" }]]);
  }, 60_000);
