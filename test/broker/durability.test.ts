import { afterEach, expect, test } from "bun:test";
import { systemDisk } from "../../src/broker/storage/disk/disk.ts";
import { LogFiles } from "../../src/broker/storage/log/log-files.ts";
import { messageAfter } from "../support/due.ts";
import { expectNothing, InProcess } from "../support/in-process.ts";
import { until } from "../support/server.ts";
import { SteppedClock } from "../support/stepped-clock.ts";

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
  await until("the second is committed", () => server.broker.registry.topics.get("t")?.partitions[0].log.committedNext === 2);
  expect(client.frames).toBeEmpty();
  gate.end();
  expect(await client.response()).toBe("OK");
  await until("the second sync is under way", () => gate.waiting.length === 1);
  client.command("PUB t", "3");
  await until("the third is committed", () => server.broker.registry.topics.get("t")?.partitions[0].log.committedNext === 3);
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
  await until("the second is committed", () => server.broker.registry.topics.get("t")?.partitions[0].log.committedNext === 2);
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
  await until("the connection is dying", () => [...server.broker.listener.connections.values()].some((connection) => connection.closing));
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
  expect(server.broker.health.text).toBe("NOK - input/output error");
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

test("a topic may be set to fsync while the others answer after the write, and one connection's answers stay in order", async () => {
  await using server = InProcess.start();
  const client = await server.client();
  for (const topic of ["safe", "fast"]) expect(await client.call(`PUB ${topic}`, "first")).toBe("OK");
  server.broker.registry.topic("safe").setDurability("fsync");
  using gate = new SyncGate();
  expect(await client.call("PUB fast", "1")).toBe("OK");
  client.command("PUB safe", "2");
  await until("its sync is under way", () => gate.waiting.length === 1);
  // Behind one that waits all wait; another connection does not.
  client.command("PUB fast", "3");
  await until("it is committed", () => server.broker.registry.topics.get("fast")?.partitions[0].log.committedNext === 3);
  const other = await server.client();
  expect(await other.call("PUB fast", "4")).toBe("OK");
  expect(client.frames).toBeEmpty();
  gate.end();
  expect(await client.response()).toBe("OK");
  await until("the sync for the second is under way, or it is out", () => gate.waiting.length === 1 || client.frames.length > 0);
  gate.end();
  expect(await client.response()).toBe("OK");
});

test("a topic's durability outlives a restart, and can be reset", async () => {
  await using server = InProcess.start();
  await server.publish("t", "1");
  server.broker.registry.topic("t").setDurability("fsync");
  await server.restart();
  expect(server.broker.registry.topics.get("t")?.partitions[0]).toMatchObject({ durability: "fsync", fsync: true });
  server.broker.registry.topic("t").setDurability(undefined);
  await server.restart({ durability: "fsync" });
  expect(server.broker.registry.topics.get("t")?.partitions[0]).toMatchObject({ durability: undefined, fsync: true });
  server.broker.registry.topic("t").setDurability("write");
  await server.restart({ durability: "fsync" });
  expect(server.broker.registry.topics.get("t")?.partitions[0]).toMatchObject({ durability: "write", fsync: false });
});

test("with fsync deferred publishes and requeues are kept, and each comes once, when it is due", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({ durability: "fsync" }, { clock });
  const consumer = await server.consumer("t", "c", 10);
  const client = await server.client();
  expect(await client.call("DPUB t 300", "deferred")).toBe("OK");
  expect(await client.call("PUB t", "requeued")).toBe("OK");
  const first = await consumer.message();
  expect(first.text).toBe("requeued");
  consumer.command(`REQ ${first.id} 600`);
  const began = clock.steadyMs();
  await expectNothing(consumer);
  for (const [text, delayMs] of [
    ["deferred", 300],
    ["requeued", 600],
  ] as const) {
    const message = await messageAfter(clock, began + delayMs - clock.steadyMs(), consumer);
    expect(message.text).toBe(text);
    consumer.command(`FIN ${message.id}`);
  }
  await server.restart();
  const again = await server.consumer("t", "c", 10);
  await server.publish("t", "last");
  expect((await again.message()).text).toBe("last");
});

for (const code of ["EIO", "ENOSPC"]) {
  test(`a write that fails with ${code} refuses what was part of it, the broker says it is unwell, and goes on when writes succeed`, async () => {
    const disk = { ...systemDisk };
    await using server = InProcess.start({}, { disk });
    const consumer = await server.consumer("t", "c", 10);
    await server.publish("t", "before");
    expect((await consumer.message()).text).toBe("before");
    disk.write = () => {
      throw Object.assign(new Error(`${code}: it failed, write`), { code });
    };
    try {
      for (const [command, body] of [
        ["PUB t", "1"],
        ["MPUB t", Buffer.from("\0\0\0\x01\0\0\0\x01x")],
        ["DPUB t 1000", "2"],
      ] as const) {
        const client = await server.client();
        client.command(command, body);
        const kind = command.split(" ")[0];
        expect((await client.next()).text).toBe(`E_${kind}_FAILED ${kind} failed ${code}: it failed, write`);
        await client.untilClosed();
      }
      expect(server.broker.health.text).toBe(`NOK - ${code}: it failed, write`);
    } finally {
      disk.write = systemDisk.write;
    }
    const client = await server.client();
    expect(await client.call("PUB t", "after")).toBe("OK");
    expect(await client.call("DPUB t 300", "later")).toBe("OK");
    expect(server.broker.health.text).toBe("OK");
    const came = [await consumer.message(), await consumer.message()].map(({ text }) => text);
    expect(came).toEqual(["after", "later"]);
  });
}

test("a sync that one topic's answer waits for covers the log of another that a deferred message has joined", async () => {
  await using server = InProcess.start({ syncTimeoutMs: 60_000 });
  const client = await server.client();
  const strict = server.broker.registry.topic("strict");
  strict.setDurability("fsync");
  const other = server.broker.registry.topic("other");
  expect(await client.call("DPUB other 30", "m")).toBe("OK");
  await until("it has joined", () => other.partitions[0].log.committedNext === 1);
  const synced: LogFiles[] = [];
  LogFiles.prototype.sync = function (this: LogFiles, done?: Done) {
    synced.push(this);
    realSync.call(this, done);
  };
  expect(await client.call("PUB strict", "m")).toBe("OK");
  expect(synced).toContain(other.partitions[0].log.files as LogFiles);
});
