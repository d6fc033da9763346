import { afterEach, expect, test } from "bun:test";
import { LogFiles } from "../../src/broker/log/log-files.ts";
import { InProcess } from "../support/in-process.ts";
import { until } from "../support/server.ts";

type Done = (error: Error | undefined) => void;

const realSync = LogFiles.prototype.sync;

afterEach(() => {
  LogFiles.prototype.sync = realSync;
});

/** Stands between the broker and the disk: each sync that somebody waits for ends when the test says so. */
class SyncGate implements Disposable {
  readonly waiting: Done[] = [];

  constructor() {
    const { waiting } = this;
    LogFiles.prototype.sync = function (this: LogFiles, done?: Done) {
      realSync.call(this);
      if (done !== undefined) waiting.push(done);
    };
  }

  end(error?: Error): void {
    this.waiting.shift()?.(error);
  }

  [Symbol.dispose](): void {
    LogFiles.prototype.sync = realSync;
    for (const done of this.waiting.splice(0)) done(undefined);
  }
}

test("with fsync no OK is sent before the sync that covers it has ended", async () => {
  await using server = InProcess.start({ durability: "fsync" });
  const client = await server.client();
  using gate = new SyncGate();
  client.command("PUB t", "1");
  await until("the first sync is under way", () => gate.waiting.length === 1);
  // The second group commits while the first sync is under way, the third while the second is.
  client.command("PUB t", "2");
  await until("the second is committed", () => server.broker.topics.get("t")?.log.committedNext === 2);
  expect(client.frames).toBeEmpty();
  gate.end();
  expect(await client.response()).toBe("OK");
  await until("the second sync is under way", () => gate.waiting.length === 1);
  client.command("PUB t", "3");
  await until("the third is committed", () => server.broker.topics.get("t")?.log.committedNext === 3);
  gate.end();
  expect(await client.response()).toBe("OK");
  await until("the third sync is under way", () => gate.waiting.length === 1);
  expect(client.frames).toBeEmpty();
  gate.end();
  expect(await client.response()).toBe("OK");
});

test("with fsync an error that is answered during a sync comes behind the OK before it, and ahead of the next", async () => {
  await using server = InProcess.start({ durability: "fsync" });
  const client = await server.consumer("other", "c");
  using gate = new SyncGate();
  client.command("PUB t", "1");
  await until("the sync is under way", () => gate.waiting.length === 1);
  client.command("FIN 0000000000000000");
  client.command("PUB t", "2");
  await until("the second is committed", () => server.broker.topics.get("t")?.log.committedNext === 2);
  gate.end();
  expect(await client.response()).toBe("OK");
  expect((await client.next()).text).toStartWith("E_FIN_FAILED");
  await until("the second sync is under way", () => gate.waiting.length === 1 || client.frames.length > 0);
  gate.end();
  expect(await client.response()).toBe("OK");
});

test("with fsync an error that is the last answer is sent when the sync ends", async () => {
  await using server = InProcess.start({ durability: "fsync" });
  const client = await server.consumer("other", "c");
  using gate = new SyncGate();
  client.command("PUB t", "1");
  await until("the sync is under way", () => gate.waiting.length === 1);
  client.command("RDY nonsense");
  await until("the connection is dying", () => [...server.broker.connections].some((connection) => connection.dying));
  gate.end();
  expect(await client.response()).toBe("OK");
  expect((await client.next()).text).toStartWith("E_INVALID");
  await client.untilClosed();
});

test("with fsync a sync that fails refuses the publishes that waited for it", async () => {
  await using server = InProcess.start({ durability: "fsync" });
  const client = await server.client();
  using gate = new SyncGate();
  client.command("PUB t", "1");
  await until("the sync is under way", () => gate.waiting.length === 1);
  gate.end(new Error("input/output error"));
  expect((await client.next()).text).toBe("E_PUB_FAILED PUB failed input/output error");
  await client.untilClosed();
  expect(server.broker.health()).toBe("NOK - input/output error");
});

test("with fsync a train of publishes and other commands is answered in order", async () => {
  await using server = InProcess.start({ durability: "fsync" });
  const client = await server.consumer("other", "c");
  const answers: string[] = [];
  for (let i = 0; i < 300; i++) {
    client.command("PUB t", `${i}`);
    client.command("FIN 0000000000000000");
    if (i % 7 === 0) await Bun.sleep(0);
  }
  while (answers.length < 600) answers.push((await client.next()).text.slice(0, 5));
  expect(answers).toEqual(Array.from({ length: 600 }, (_, i) => (i % 2 === 0 ? "OK" : "E_FIN")));
});
