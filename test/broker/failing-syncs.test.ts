import { afterAll, afterEach, expect, test } from "bun:test";
import type { BrokerOptions } from "../../src/broker/options.ts";
import { CutBroker, owed } from "../behaviour/power-cut/support/cut-broker.ts";
import { type MemoryLogger, removeFolder, temporaryFolder } from "../support/in-process.ts";
import { Random } from "../support/random.ts";

const SYNC_TIMEOUT_MS = 600_000;

const folders: string[] = [];
const open: CutBroker[] = [];

afterEach(() => {
  for (const server of open.splice(0)) server.abandon();
});

afterAll(() => {
  for (const folder of folders) removeFolder(folder);
});

function start(changes: Partial<BrokerOptions> = {}): CutBroker {
  const dataPath = temporaryFolder();
  folders.push(dataPath);
  const server = new CutBroker(dataPath, {
    durability: "fsync",
    syncTimeoutMs: SYNC_TIMEOUT_MS,
    idempotencyWindowMs: 3_600_000,
    ...changes,
  });
  open.push(server);
  return server;
}

/** Has the next `times` syncs of files and folders fail whose path matches. */
function fail({ disk }: CutBroker, path: RegExp, times = 1): void {
  let left = times;
  disk.failsToSync = (synced) => path.test(synced) && left-- > 0;
}

/** The paths of the syncs that begin from here on. */
function watchSyncs({ disk }: CutBroker): string[] {
  const synced: string[] = [];
  const { failsToSync } = disk;
  disk.failsToSync = (path) => {
    synced.push(path.replace(/.*bunsq-data\//, ""));
    return failsToSync(path);
  };
  return synced;
}

test("a publish with a key that a sync refused is a new publish when it is repeated, and waits for a sync of its own", async () => {
  const server = start();
  await server.publish("t", "before");
  fail(server, /-t\/.*\.log$/);
  expect(await server.publish("t", "once", { key: "k" })).toStartWith("EIO");
  const synced = watchSyncs(server);
  const [{ log }] = server.broker.registry.topic("t").partitions;
  const before = log.next;
  expect(await server.publish("t", "once", { key: "k" })).toBe("OK");
  expect(log.next).toBe(before + 1);
  expect(synced.some((path) => path.endsWith(".log"))).toBeTrue();
  // Now it is acknowledged, and its repetition is one.
  expect(await server.publish("t", "once", { key: "k" })).toBe("OK");
  expect(log.next).toBe(before + 1);
});

for (const deferMs of [0, 5000]) {
  const what = deferMs > 0 ? "a deferred publish" : "a publish";
  test(`a repetition that comes while ${what} waits for a sync is refused with it, and neither is there after a restart`, async () => {
    const server = start();
    await server.publish("t", "before");
    fail(server, /-t\/.*\.log$|\.msg$/);
    const topic = server.broker.registry.topic("t");
    const outcomes: string[] = [];
    const publish = () =>
      server.broker.publishing.publish(topic.partitions[0], "k", Buffer.from("once"), deferMs).then(
        () => outcomes.push("OK"),
        () => outcomes.push("refused"),
      );
    void publish();
    server.clock.advance(0);
    expect(server.disk.waiting).toBeGreaterThan(0);
    void publish();
    await server.pass(100);
    expect(outcomes).toEqual(["refused", "refused"]);
    // The key is void on the disk as well.
    const again = server.kill();
    open.push(again);
    if (deferMs > 0) expect(again.broker.registry.topic("t").partitions[0].deferredPublishes.count).toBe(0);
    expect(await again.publish("t", "once", { key: "k", deferMs })).toBe("OK");
    if (deferMs > 0) expect(again.broker.registry.topic("t").partitions[0].deferredPublishes.count).toBe(1);
    else expect(again.broker.registry.topic("t").partitions[0].log.next).toBe(3);
  });
}

test("after a kill the repetition of a publish waits for a sync that covers the record it repeats", async () => {
  const server = start();
  await server.publish("t", "before");
  void server.broker.publishing.publish(server.broker.registry.topic("t").partitions[0], "k", Buffer.from("once"), 0).catch(() => {});
  server.clock.advance(0);
  const again = server.kill();
  open.push(again);
  const synced = watchSyncs(again);
  expect(await again.publish("t", "once", { key: "k" })).toBe("OK");
  expect(again.broker.registry.topic("t").partitions[0].log.next).toBe(2);
  expect(synced.some((path) => path.endsWith(".log"))).toBeTrue();
});

test("a failed sync of one topic refuses its own publishes only, and is made again with the next one of any topic", async () => {
  const server = start();
  await server.publish("a", "before");
  await server.publish("b", "before");
  fail(server, /-a\/.*\.log$/, 3);
  const outcomes: string[] = [];
  for (const name of ["a", "b"]) {
    server.broker.publishing.publish(server.broker.registry.topic(name).partitions[0], "", Buffer.from("x"), 0).then(
      () => outcomes.push(`${name} OK`),
      () => outcomes.push(`${name} refused`),
    );
  }
  await server.pass(50);
  expect(outcomes.sort()).toEqual(["a refused", "b OK"]);
  const synced = watchSyncs(server);
  expect(await server.publish("b", "y")).toBe("OK");
  expect(synced.some((path) => path.includes("-a/"))).toBeTrue();
  expect(server.broker.health.text).toStartWith("NOK");
  expect(await server.publish("b", "z")).toBe("OK");
  expect(await server.publish("b", "z")).toBe("OK");
  expect(server.broker.health.text).toBe("OK");
});

test("that a deferred message joined a log is not noted before that log is synced", async () => {
  const server = start();
  for (const name of ["a", "b"]) await server.publish(name, "before");
  expect(await server.publish("a", "deferred", { deferMs: 700 })).toBe("OK");
  await server.pass(300);
  fail(server, /-a\/.*\.log$/, Number.POSITIVE_INFINITY);
  await server.pass(1000, 10);
  expect(server.broker.registry.topic("a").partitions[0].log.next).toBe(2);
  const { disk } = server;
  const statusBytes = () => {
    const [path] = disk.paths().filter((name) => name.endsWith(".done"));
    return path === undefined ? 0 : disk.content(path).length;
  };
  for (let i = 0; i < 3; i++) {
    await server.publish("b", "x");
    await server.pass(20);
    // A head, and the record that it is about to join.
    expect(statusBytes()).toBe(48);
  }
  disk.failsToSync = () => false;
  await server.publish("b", "x");
  await server.pass(20);
  expect(statusBytes()).toBe(72);
});

test("a deferred message of a topic that is acknowledged after the write stays when a sync fails that another topic waits for", async () => {
  const server = start({ durability: "write" });
  for (const name of ["strict", "fast"]) server.broker.registry.topic(name).channel("c");
  server.broker.registry.topic("strict").setDurability("fsync");
  await server.publish("strict", "before");
  fail(server, /\.msg$/);
  const outcomes = Promise.all([server.publish("fast", "deferred", { deferMs: 5000 }), server.publish("strict", "x", { deferMs: 5000 })]);
  expect((await outcomes).map((outcome) => outcome.slice(0, 3))).toEqual(["OK", "EIO"]);
  const { deferredCount } = server.broker.registry.topic("fast").channel("c");
  expect([deferredCount, server.broker.registry.topic("strict").channel("c").deferredCount]).toEqual([1, 0]);
  await server.pass(8000, 50);
  expect(server.broker.registry.topic("fast").partitions[0].log.next).toBe(1);
  expect(server.broker.registry.topic("strict").partitions[0].log.next).toBe(1);
});

test("a deferred message whose sync ends after it is due joins its log only when it is acknowledged", async () => {
  const server = start();
  const topic = server.broker.registry.topic("t");
  const channel = topic.channel("c");
  await server.publish("t", "before");
  fail(server, /\.msg$/);
  let outcome = "";
  server.broker.publishing.publish(topic.partitions[0], "", Buffer.from("deferred"), 100).catch((error) => {
    outcome = error.message;
  });
  // The sync takes longer than the message is deferred.
  server.clock.advance(3000);
  expect([outcome, topic.partitions[0].log.next, channel.deferredCount]).toEqual(["", 1, 0]);
  await server.pass(3000, 50);
  expect([outcome.slice(0, 3), topic.partitions[0].log.next, channel.deferredCount]).toEqual(["EIO", 1, 0]);
});

for (const level of ["write", "fsync"] as const) {
  test(`with ${level}, a last sync that fails is logged, and the next start has everything that was acknowledged`, async () => {
    const server = start({ durability: level });
    server.broker.registry.topic("t").channel("c");
    const bodies = ["now", "soon", "later"];
    for (const [i, body] of bodies.entries()) expect(await server.publish("t", body, { deferMs: [0, 700, 100_000][i] ?? 0 })).toBe("OK");
    fail(server, /./, Number.POSITIVE_INFINITY);
    const { logger } = server.broker;
    // One has joined the log meanwhile, and no sync has covered that.
    await server.pass(2000, 50);
    await server.close();
    expect((logger as MemoryLogger).matching(/^ERROR: cannot sync to the disk/)).toHaveLength(1);
    server.disk.failsToSync = () => false;
    const again = server.reopen();
    open.push(again);
    expect([...owed(again.broker, "t", "c")].sort()).toEqual(bodies.toSorted());
    await again.close();
    const last = again.reopen();
    open.push(last);
    expect([...owed(last.broker, "t", "c")].sort()).toEqual(bodies.toSorted());
    expect((last.broker.logger as MemoryLogger).matching(/^(ERROR|WARNING)/)).toEqual([]);
  });
}

test("a last sync that fails once is made again, and nothing is lost in a power cut after the stop", async () => {
  const server = start({ durability: "write" });
  server.broker.registry.topic("t").channel("c");
  const bodies = ["now", "later"];
  for (const [i, body] of bodies.entries()) await server.publish("t", body, { deferMs: i * 100_000 });
  fail(server, /\.log$/);
  await server.close();
  expect((server.broker.logger as MemoryLogger).matching(/cannot sync to the disk/)).toEqual([]);
  for (let seed = 0; seed < 10; seed++) {
    const after = server.reopen(server.disk.afterCut(server.disk.moment, new Random(seed)));
    expect([...owed(after.broker, "t", "c")].sort()).toEqual(bodies.toSorted());
    after.abandon();
  }
});

test("--sync-every counts messages that only the journal has, and goes by a clock that nobody sets", async () => {
  const server = start({ durability: "write", syncEvery: 10 });
  const topics = Array.from({ length: 6 }, (_, i) => server.broker.registry.topic(`t${i}`));
  const publishAll = async (rounds: number) => {
    for (let round = 0; round < rounds; round++) {
      for (const topic of topics) void server.broker.publishing.publish(topic.partitions[0], "", Buffer.from("x"), 0);
      await server.pass(30, 10);
    }
  };
  await publishAll(2);
  server.clock.setWallClock(-3_600_000);
  await publishAll(200);
  for (const [{ log }] of topics.map(({ partitions }) => partitions)) {
    expect(log.committedNext).toBe(202);
    // At most --sync-every messages, and what a quarter of a second brings.
    expect(log.files?.takeSyncedSequence()).toBeGreaterThanOrEqual(202 - 10 - 20);
  }
});

test("how far a log is synced is noted only after a sync that succeeded, and again when the note could not be saved", async () => {
  const server = start({ durability: "write", syncTimeoutMs: 500 });
  const topic = server.broker.registry.topic("t");
  const { metadata } = server.broker;
  const noted = () => metadata.syncedSequences().get(topic.partitions[0].id);
  fail(server, /\.log$/, Number.POSITIVE_INFINITY);
  await server.publish("t", "x");
  await server.pass(3000, 50);
  expect(noted()).toBe(0);
  server.disk.failsToSync = () => false;
  const { saveAll } = metadata;
  // The transaction fails at its end.
  metadata.saveAll = (save) =>
    saveAll.call(metadata, () => {
      save();
      throw new Error("disk I/O error");
    });
  await server.pass(3000, 50);
  metadata.saveAll = saveAll;
  expect(noted()).toBe(0);
  await server.pass(3000, 50);
  expect(noted()).toBe(1);
});

test("deferred publishes are refused together when some had to be written before the end of the turn, and could not be", async () => {
  const server = start({ durability: "write" });
  const topic = server.broker.registry.topic("t");
  expect(await server.publish("t", "first", { deferMs: 200_000 })).toBe("OK");
  const outcomes: string[] = [];
  const publish = (body: string) =>
    server.broker.publishing.publish(topic.partitions[0], "", Buffer.from(body), 100_000).then(
      () => outcomes.push("OK"),
      (error: Error) => outcomes.push(error.message),
    );
  void publish("second");
  const { write } = server.disk;
  server.disk.write = () => {
    throw Object.assign(new Error("EIO: it failed, write"), { code: "EIO" });
  };
  // A wide bucket is to be moved, and what is staged is written before.
  server.broker.deferred.process(server.broker.turn.nowMs + 170_000);
  server.disk.write = write;
  void publish("third");
  await server.pass(10);
  expect(outcomes).toEqual(["EIO: it failed, write", "EIO: it failed, write"]);
  expect(topic.partitions[0].deferredPublishes.count).toBe(1);
  void publish("fourth");
  await server.pass(10);
  expect(outcomes.at(-1)).toBe("OK");
});
