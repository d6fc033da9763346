import { expect, test } from "bun:test";
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { systemDisk } from "../../../src/broker/storage/disk/disk.ts";
import { FlakyDisk } from "../../support/flaky-disk.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { Random } from "../../support/random.ts";
import { RawClient } from "../../support/raw-client.ts";
import { type Server, startServer, until } from "../../support/server.ts";
import { WithHttp } from "../../support/with-http.ts";

interface Answer {
  events: { kind: string }[];
  messages: { id: string }[];
  store: { written: number; dropped: number };
  on: boolean;
}

async function answer(server: Server, method: string, target: string): Promise<Answer> {
  const response = await server.http(method, target);
  return (await response.json()) as Answer;
}

test("after kill -9 a message's trace is there as it was written, and goes on", async () => {
  const dataPath = temporaryFolder();
  try {
    const first = await startServer({ dataPath });
    await first.http("POST", "/topic/create?topic=t");
    await answer(first, "POST", "/topic/trace?topic=t&on=true");
    const client = await RawClient.connect(first.tcpPort);
    await client.call("SUB t c");
    client.command("RDY 1");
    await first.http("POST", "/pub?topic=t", "x");
    const { id } = await client.message();
    await until("it is written", async () => (await answer(first, "GET", "/topic/trace?topic=t")).store.written === 2);
    await first.stop("SIGKILL");
    client.terminate();
    // The kill came in the middle of a write.
    appendFileSync(join(dataPath, "bunsq-data/trace/1.trace"), Buffer.alloc(100, "BQTB"));
    const second = await startServer({ dataPath });
    try {
      expect((await answer(second, "GET", "/topic/trace?topic=t")).on).toBe(true);
      const trace = async () => (await answer(second, "GET", `/message/trace?topic=t&id=${id}`)).events.map(({ kind }) => kind);
      expect(await trace()).toEqual(["published", "delivered"]);
      const again = await RawClient.connect(second.tcpPort);
      await again.call("SUB t c");
      again.command("RDY 1");
      again.command(`FIN ${(await again.message()).id}`);
      await until("it is finished", async () => (await trace()).includes("finished"));
      expect(await trace()).toEqual(["published", "delivered", "delivered", "finished"]);
      again.terminate();
    } finally {
      await second.stop();
    }
  } finally {
    removeFolder(dataPath);
  }
}, 30_000);

test("while traces cannot be written, every message is published and delivered, and what is dropped is counted", async () => {
  const disk = new FlakyDisk(systemDisk, systemClock, new Random(1));
  await using broker = WithHttp.start({}, {}, { disk });
  await broker.call("POST", "/topic/create?topic=t");
  await broker.json("POST", "/topic/trace?topic=t&on=true");
  const script = { path: /\/trace\//, calls: ["create", "write"] as const, code: "ENOSPC", times: Number.POSITIVE_INFINITY };
  disk.script.push(script);
  const worker = await broker.started.consumer("t", "c", 10);
  for (let i = 0; i < 20; i++) {
    expect(await broker.call("POST", "/pub?topic=t", `${i}`)).toBe("200 OK");
    const { id, text } = await worker.message();
    expect(text).toBe(`${i}`);
    worker.command(`FIN ${id}`);
  }
  const store = async () => (await broker.json("GET", "/topic/trace?topic=t")).store;
  await until("all are dropped", async () => (await store()).dropped === 60);
  expect(await store()).toMatchObject({ written: 0, dropped: 60, bytes: 0 });
  expect(await broker.call("GET", "/ping")).toBe("200 OK");
  expect(broker.log.matching(/^ERROR: TRACE: cannot write: ENOSPC/).length).toBeGreaterThan(0);
  disk.script.length = 0;
  await broker.call("POST", "/pub?topic=t", "last");
  const { id } = await worker.message();
  expect((await broker.json("GET", `/message/trace?topic=t&id=${id}`)).events).toHaveLength(2);
});

test("a publish that could not be written is in no trace, though another message gets its id", async () => {
  const disk = new FlakyDisk(systemDisk, systemClock, new Random(1));
  await using broker = WithHttp.start({}, {}, { disk });
  await broker.call("POST", "/topic/create?topic=t");
  await broker.json("POST", "/topic/trace?topic=t&on=true");
  disk.script.push({ path: /\.(log|idx)$/, calls: ["create", "open", "write"], code: "EIO", times: 1 });
  expect(await broker.call("POST", "/mpub?topic=t", "a\nb\nrefused")).toStartWith("503");
  expect(await broker.call("POST", "/pub?topic=t", "taken", { traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01` })).toBe("200 OK");
  const { messages } = (await broker.json("GET", "/topic/messages?topic=t")) as Answer;
  expect(messages).toHaveLength(1);
  const { events } = await broker.json("GET", `/message/trace?topic=t&id=${messages[0]?.id}`);
  expect(events).toHaveLength(1);
  expect(events[0].detail).toContain("traceparent");
});

test("a file that cannot be read is said, and not taken for an empty trace", async () => {
  const disk = new FlakyDisk(systemDisk, systemClock, new Random(1));
  await using broker = WithHttp.start({}, {}, { disk });
  await broker.call("POST", "/topic/create?topic=t");
  await broker.json("POST", "/topic/trace?topic=t&on=true");
  await broker.call("POST", "/pub?topic=t", "x");
  const { messages } = (await broker.json("GET", "/topic/messages?topic=t")) as Answer;
  disk.script.push({ path: /\/trace\//, calls: ["read"], code: "EIO", times: 1 });
  const target = `/message/trace?topic=t&id=${messages[0]?.id}`;
  expect(await broker.call("GET", target)).toBe('503 {"message":"FILE_UNREADABLE"}');
  expect((await broker.json("GET", target)).events).toHaveLength(1);
});
