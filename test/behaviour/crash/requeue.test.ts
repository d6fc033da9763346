import { afterEach, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RawClient } from "../../support/raw-client.ts";
import { type Server, startServer, until } from "../../support/server.ts";

// Single paths through the deferred store over a kill. The crash test takes each of them only rarely.

let server: Server | undefined;
let dataPath = "";
const clients: RawClient[] = [];

async function start(): Promise<Server> {
  if (dataPath === "") dataPath = mkdtempSync(join(tmpdir(), "bunsq-test-"));
  server = await startServer({ dataPath });
  return server;
}

async function subscribe(broker: Server): Promise<RawClient> {
  const client = await RawClient.connect(broker.tcpPort);
  clients.push(client);
  await client.call("SUB topic channel");
  return client;
}

/** Longer than anything finished or requeued may take to be safe from a kill. */
async function untilDurable(): Promise<void> {
  const start = performance.now();
  await until("500 ms have passed", () => performance.now() - start > 500);
}

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server?.stop("SIGKILL");
  if (dataPath !== "") rmSync(dataPath, { recursive: true, force: true });
  server = undefined;
  dataPath = "";
});

/** Publishes one message and requeues it with each of the delays, whenever it has come; returns when the last was sent. */
async function requeueEach(client: RawClient, delaysMs: number[]): Promise<number> {
  expect(await client.call("PUB topic", "again and again")).toBe("OK");
  client.command("RDY 1");
  let sentMs = 0;
  for (const delayMs of delaysMs) {
    const message = await client.message(10_000);
    sentMs = performance.now();
    client.command(`REQ ${message.id} ${delayMs}`);
  }
  return sentMs;
}

for (const signal of ["SIGKILL", "SIGTERM"] as const) {
  test(`a message that was requeued twice comes once, when the second delay is over, though ${signal} came between`, async () => {
    const sentMs = await requeueEach(await subscribe(await start()), [500, 4_000]);
    await untilDurable();
    await server?.stop(signal);

    const again = await subscribe(await start());
    again.command("RDY 1");
    const message = await again.message(10_000);
    expect(performance.now() - sentMs).toBeGreaterThan(3_990);
    again.command(`FIN ${message.id}`);
    // A second copy would be ahead of this one: it had the same due time, or an earlier one.
    again.command("DPUB topic 500", "the last");
    const frames = [await again.next(), await again.next()];
    expect(frames.map((frame) => `${frame.type} ${frame.text}`)).toEqual(["response OK", "message the last"]);
    expect(again.frames).toEqual([]);
  }, 30_000);
}

test("what a restored requeue was finished with stays finished over another kill", async () => {
  await requeueEach(await subscribe(await start()), [500, 1_500]);
  await untilDurable();
  await server?.stop("SIGKILL");

  const again = await subscribe(await start());
  again.command("RDY 1");
  again.command(`FIN ${(await again.message(10_000)).id}`);
  await untilDurable();
  await server?.stop("SIGKILL");

  const last = await subscribe(await start());
  last.command("RDY 1");
  last.command("DPUB topic 2000", "the last");
  const frames = [await last.next(), await last.next()];
  expect(frames.map((frame) => `${frame.type} ${frame.text}`)).toEqual(["response OK", "message the last"]);
}, 30_000);

test("a requeue that a kill left in a wide bucket and in a finer one comes once, when it is due", async () => {
  const sentMs = await requeueEach(await subscribe(await start()), [4_000]);
  await untilDurable();
  await server?.stop("SIGKILL");
  // What a kill leaves between the write to the finer bucket and the word in the wide one that the entry has moved.
  const folder = join(dataPath, "bunsq-data", "deferred");
  const [, startMs] = readdirSync(folder).map((name) => /^(\d+)-1000\.msg$/.exec(name))[0] ?? [];
  if (startMs === undefined) throw new Error(`no bucket of one second among ${readdirSync(folder)}`);
  const wideStartMs = Math.floor(Number(startMs) / 64_000) * 64_000;
  copyFileSync(join(folder, `${startMs}-1000.msg`), join(folder, `${wideStartMs}-64000.msg`));

  const again = await subscribe(await start());
  again.command("RDY 1");
  const message = await again.message(10_000);
  expect(message.text).toBe("again and again");
  expect(performance.now() - sentMs).toBeGreaterThan(3_990);
  again.command(`FIN ${message.id}`);
  again.command("DPUB topic 500", "the last");
  const frames = [await again.next(), await again.next()];
  expect(frames.map((frame) => `${frame.type} ${frame.text}`)).toEqual(["response OK", "message the last"]);
}, 30_000);
