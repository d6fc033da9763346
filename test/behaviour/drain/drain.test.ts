import { expect, test } from "bun:test";
import { startLookupServer } from "../../support/lookup.ts";
import { missing, testUnless } from "../../support/needs.ts";
import { RawClient } from "../../support/raw-client.ts";
import { MAIN, type Running, startServer, until } from "../../support/server.ts";
import { OTHER_LISTENERS } from "./support/listeners.ts";

async function nodesOf(lookup: Running): Promise<number> {
  const { producers } = (await (await lookup.http("GET", "/nodes")).json()) as { producers: unknown[] };
  return producers.length;
}

/** A consumer that has one message in flight. */
async function busyConsumer(broker: Running): Promise<{ consumer: RawClient; id: string }> {
  expect((await broker.http("POST", "/pub?topic=t", "m")).status).toBe(200);
  return consumerWithMessage(broker);
}

/** A consumer that has a message of the topic t in flight, which has one. */
async function consumerWithMessage({ tcpPort }: Running): Promise<{ consumer: RawClient; id: string }> {
  const consumer = await RawClient.connect(tcpPort);
  await consumer.call("SUB t c");
  consumer.command("RDY 1");
  return { consumer, id: (await consumer.message()).id };
}

const LOOKUPS = [
  ["bunsq", undefined],
  ["nsqlookupd", missing("nsqlookupd")],
] as const;

for (const [program, lacking] of LOOKUPS)
  testUnless(lacking)(
    `a broker that gets SIGUSR2 leaves its lookup server (${program}), waits for what is in flight, and ends with 0`,
    async () => {
      const lookup = await startLookupServer(program);
      await using server = await startServer({
        args: [`--lookupd-tcp-address=127.0.0.1:${lookup.tcpPort}`, "--broadcast-address=127.0.0.1"],
      });
      const { consumer, id } = await busyConsumer(server);
      await until("it is registered", async () => (await nodesOf(lookup)) === 1);
      server.process.kill("SIGUSR2");
      await until("it drains", async () => (await server.http("GET", "/ready")).status === 503);
      await until("it refuses", () => server.log().includes("DRAIN: in flight: 1"));
      expect(await nodesOf(lookup)).toBe(0);
      expect(await (await server.http("HEAD", "/ready")).text()).toBe("");
      expect(await (await server.http("GET", "/ready")).text()).toBe("NOK - draining");
      expect(await (await server.http("GET", "/ping")).text()).toBe("OK");
      const publish = await server.http("POST", "/pub?topic=t", "m");
      expect([publish.status, await publish.text()]).toEqual([503, '{"message":"DRAINING"}']);
      expect(await (await server.http("GET", "/drain")).json()).toMatchObject({
        ...{ state: "draining", in_flight: 1, consumers: 1, connections: 1, timeout_ms: 30_000 },
      });
      consumer.command(`FIN ${id}`);
      await consumer.untilClosed();
      consumer.close();
      expect(await server.process.exited).toBe(0);
      await lookup.stop();
    },
    30_000,
  );

test("a drain is begun once, and ends at its bound", async () => {
  await using server = await startServer({ args: ["--drain-timeout=1h"] });
  await busyConsumer(server);
  expect((await server.http("POST", "/drain?timeout=soon")).status).toBe(400);
  expect(await (await server.http("GET", "/drain")).json()).toMatchObject({ state: "serving", timeout_ms: 0 });
  expect(await (await server.http("POST", "/drain?timeout=300ms")).json()).toMatchObject({ state: "draining", timeout_ms: 300 });
  expect(await (await server.http("POST", "/drain")).json()).toMatchObject({ timeout_ms: 300 });
  expect(await server.process.exited).toBe(0);
  expect(server.log()).toContain("still in flight, to be delivered again: 1");
}, 30_000);

for (const [name, start] of Object.entries(OTHER_LISTENERS))
  test(`a drain is begun and followed over ${name}`, async () => {
    await using broker = await start();
    const { running } = broker;
    expect((await broker.fetch("/pub?topic=t", { method: "POST", body: "m" })).status).toBe(200);
    const { consumer, id } = await consumerWithMessage(running);
    expect(await (await broker.fetch("/drain", { method: "POST" })).json()).toMatchObject({ state: "draining", in_flight: 1 });
    await until("it refuses", () => running.log().includes("DRAIN: in flight: 1"));
    expect((await broker.fetch("/ready")).status).toBe(503);
    expect((await broker.fetch("/pub?topic=t", { method: "POST", body: "m" })).status).toBe(503);
    expect(await (await broker.fetch("/drain")).json()).toMatchObject({ state: "draining", in_flight: 1, consumers: 1 });
    consumer.command(`FIN ${id}`);
    await consumer.untilClosed();
    consumer.close();
    expect(await running.process.exited).toBe(0);
    expect(running.log()).toContain("DRAIN: nothing is in flight");
    await expect(broker.fetch("/drain")).rejects.toThrow();
  }, 30_000);

test("SIGTERM stops a broker at once that is being drained, and a repeated SIGUSR2 does nothing", async () => {
  await using server = await startServer();
  await busyConsumer(server);
  expect((await server.http("POST", "/drain")).status).toBe(200);
  server.process.kill("SIGUSR2");
  await until("the signal came", () => server.log().includes("SIGUSR2: draining"));
  expect(await (await server.http("GET", "/drain")).json()).toMatchObject({ state: "draining", in_flight: 1 });
  expect(await server.stop("SIGTERM")).toBe(0);
  expect(server.log()).toContain("SIGTERM: closing");
}, 30_000);

test("a lookup server ends at SIGUSR2, and one that a broker has beside it ends with the broker", async () => {
  const alone = await startLookupServer();
  expect(await alone.stop("SIGUSR2")).toBe(0);
  expect(alone.log()).toContain("SIGUSR2: closing");
  await using server = await startServer({
    command: [process.execPath, MAIN, "--mode=all"],
    args: ["--lookup-tcp-address=127.0.0.1:0", "--lookup-http-address=127.0.0.1:0", "--admin-http-address=127.0.0.1:0"],
  });
  // Before that the signal ends it as SIGTERM does.
  await until("it is up", () => server.log().includes("broker up:"));
  server.process.kill("SIGUSR2");
  expect(await server.process.exited).toBe(0);
  expect(server.log()).toContain("DRAIN: nothing is in flight");
}, 30_000);
