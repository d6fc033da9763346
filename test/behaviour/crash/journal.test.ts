import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCheck } from "../../../src/cli/check.ts";
import { RawClient } from "../../support/raw-client.ts";
import { type Server, startServer, until } from "../../support/server.ts";

// What a broker had in the journal only when it was killed: single messages for many topics in one turn.

const TOPICS = Array.from({ length: 20 }, (_, number) => `topic-${number}`);
const EACH = 3;

let server: Server | undefined;
let dataPath = "";
const clients: RawClient[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server?.stop("SIGKILL");
  if (dataPath !== "") rmSync(dataPath, { recursive: true, force: true });
  server = undefined;
  dataPath = "";
});

async function start(): Promise<Server> {
  if (dataPath === "") dataPath = mkdtempSync(join(tmpdir(), "bunsq-test-"));
  // Nothing is synced while the test runs, so nothing is settled for it.
  server = await startServer({ dataPath, args: ["--sync-timeout=1h"] });
  return server;
}

async function connect(broker: Server): Promise<RawClient> {
  const client = await RawClient.connect(broker.tcpPort);
  clients.push(client);
  return client;
}

/** One message to each topic per round, all in one write, and answered. */
async function publish(client: RawClient, round: number): Promise<void> {
  const commands = TOPICS.map((topic) => {
    const body = Buffer.from(`${topic} ${round}`);
    const size = Buffer.alloc(4);
    size.writeUInt32BE(body.length);
    return Buffer.concat([Buffer.from(`PUB ${topic}\n`), size, body]);
  });
  client.write(Buffer.concat(commands));
  for (const _ of TOPICS) expect((await client.next()).text).toBe("OK");
}

const journal = () => join(dataPath, "bunsq-data", "journal");

test("messages that are only in the journal come after a kill, once and in order", async () => {
  const broker = await start();
  const producer = await connect(broker);
  for (let round = 0; round < EACH; round++) await publish(producer, round);
  await broker.stop("SIGKILL");
  expect(statSync(journal()).size).toBeGreaterThan(0);

  const lines: string[] = [];
  expect(await runCheck([dataPath], (text) => lines.push(text))).toBe(0);
  expect(lines.filter((line) => line.includes(`${EACH} more messages in the journal`)).length).toBe(TOPICS.length);

  const again = await start();
  expect(existsSync(journal())).toBe(false);
  for (const topic of TOPICS.slice(0, 5)) {
    const consumer = await connect(again);
    await consumer.call(`SUB ${topic} channel`);
    consumer.command("RDY 10");
    for (let round = 0; round < EACH; round++) {
      const message = await consumer.message();
      expect(message.text).toBe(`${topic} ${round}`);
      expect(message.attempts).toBe(1);
      consumer.command(`FIN ${message.id}`);
    }
  }
});

test("what a consumer finished of the journal's messages does not come again after a kill", async () => {
  const broker = await start();
  const [topic = ""] = TOPICS;
  const consumer = await connect(broker);
  await consumer.call(`SUB ${topic} channel`);
  consumer.command("RDY 1");
  const producer = await connect(broker);
  for (let round = 0; round < EACH; round++) await publish(producer, round);
  const first = await consumer.message();
  consumer.command(`FIN ${first.id}`);
  const second = await consumer.message();
  expect(second.text).toBe(`${topic} 1`);
  // A cursor is saved within a fraction of a second.
  const began = performance.now();
  await until("500 ms have passed", () => performance.now() - began > 500);
  await broker.stop("SIGKILL");

  const back = await connect(await start());
  await back.call(`SUB ${topic} channel`);
  back.command("RDY 1");
  const bodies: string[] = [];
  for (let round = 1; round < EACH; round++) {
    const message = await back.message();
    bodies.push(message.text);
    back.command(`FIN ${message.id}`);
  }
  // One that was in flight comes again, in its own time.
  expect(bodies.sort()).toEqual([`${topic} 1`, `${topic} 2`]);
});

test("what retention keeps of the journal's finished messages is there after a kill", async () => {
  const broker = await start();
  const [topic = ""] = TOPICS;
  const consumer = await connect(broker);
  await consumer.call(`SUB ${topic} channel`);
  consumer.command("RDY 10");
  await broker.http("POST", `/topic/retention?topic=${topic}&time=1h`);
  const producer = await connect(broker);
  for (let round = 0; round < EACH; round++) await publish(producer, round);
  for (let round = 0; round < EACH; round++) consumer.command(`FIN ${(await consumer.message()).id}`);
  // The topic's row says then how far its messages went to channels.
  for (const verb of ["pause", "unpause"]) await broker.http("POST", `/topic/${verb}?topic=${topic}`);
  const began = performance.now();
  await until("500 ms have passed, so that the cursor is saved", () => performance.now() - began > 500);
  await broker.stop("SIGKILL");

  const again = await start();
  const place = await again.http("POST", `/channel/seek?topic=${topic}&channel=channel&to=beginning`);
  expect(await place.json()).toMatchObject({ sequence: 0 });
  const back = await connect(again);
  await back.call(`SUB ${topic} channel`);
  back.command("RDY 10");
  for (let round = 0; round < EACH; round++) expect((await back.message()).text).toBe(`${topic} ${round}`);
});

test("a clean stop leaves no journal behind", async () => {
  const broker = await start();
  await publish(await connect(broker), 0);
  expect(existsSync(journal())).toBe(true);
  await broker.stop("SIGTERM");
  expect(existsSync(journal())).toBe(false);
});

test("a topic that was deleted stays so, though its messages are in the journal of a broker that was killed", async () => {
  const broker = await start();
  await publish(await connect(broker), 0);
  const [gone = "", kept = ""] = TOPICS;
  const base = `http://127.0.0.1:${broker.httpPort}`;
  expect((await fetch(`${base}/topic/delete?topic=${gone}`, { method: "POST" })).status).toBe(200);
  // Its number goes to another topic.
  expect((await fetch(`${base}/pub?topic=another`, { method: "POST", body: "fresh" })).status).toBe(200);
  await broker.stop("SIGKILL");

  const again = await start();
  const stats = (await (await fetch(`http://127.0.0.1:${again.httpPort}/stats?format=json`)).json()) as {
    topics: { topic_name: string; depth: number }[];
  };
  const depths = new Map(stats.topics.map(({ topic_name, depth }) => [topic_name, depth]));
  expect(depths.has(gone)).toBe(false);
  expect(depths.get(kept)).toBe(1);
  expect(depths.get("another")).toBe(1);
});
