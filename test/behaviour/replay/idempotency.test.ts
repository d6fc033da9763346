import { expect, test } from "bun:test";
import { readdirSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { type Disk, systemDisk } from "../../../src/broker/storage/disk/disk.ts";
import { INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES } from "../../../src/broker/storage/log/index-format.ts";
import { messageAfter } from "../../support/due.ts";
import { expectNothing, messages, numbers, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { RawClient, sized } from "../../support/raw-client.ts";
import { startServer, until } from "../../support/server.ts";
import { SteppedClock } from "../../support/stepped-clock.ts";
import { WithHttp } from "../../support/with-http.ts";

function keyed(key: string): Record<string, string> {
  return { "Idempotency-Key": key };
}

/** A client that negotiated keys. */
async function producer(server: WithHttp): Promise<RawClient> {
  const client = await server.started.client();
  const answer = JSON.parse(await client.call("IDENTIFY", JSON.stringify({ feature_negotiation: true, idempotency: true })));
  expect(answer.idempotency).toBeTrue();
  return client;
}

function count(server: WithHttp, topic = "t"): number {
  return server.broker.registry.topic(topic).partitions[0].log.committedNext;
}

test.each(["write", "fsync"] as const)(
  "a publish with a key that came before is answered like the first, and not published again: %s",
  async (durability) => {
    await using server = WithHttp.start({ durability });
    for (let i = 0; i < 3; i++) expect(await server.call("POST", "/pub?topic=t", "a", keyed("one"))).toBe("200 OK");
    for (let i = 0; i < 3; i++) expect(await server.call("POST", "/mpub?topic=t", "b\nc", keyed("two"))).toBe("200 OK");
    for (let i = 0; i < 2; i++) expect(await server.call("POST", "/pub?topic=t", "no key")).toBe("200 OK");
    // In another topic the same key is another message.
    expect(await server.call("POST", "/pub?topic=u", "a", keyed("one"))).toBe("200 OK");
    for (let i = 0; i < 2; i++) expect(await server.call("POST", "/pub?topic=t&defer=100", "late", keyed("three"))).toBe("200 OK");
    const consumer = await server.started.consumer("t", "ch", 10);
    expect((await messages(consumer, 6)).map(({ text }) => text)).toEqual(["a", "b", "c", "no key", "no key", "late"]);
    await expectNothing(consumer);
    expect(count(server, "u")).toBe(1);
  },
);

test("repetitions that arrive before the first publish is committed are one message", async () => {
  await using server = WithHttp.start();
  const answers = await Promise.all(numbers(40).map((text) => server.call("POST", "/pub?topic=t", text, keyed(`${Number(text) % 4}`))));
  expect(new Set(answers)).toEqual(new Set(["200 OK"]));
  expect(count(server)).toBe(4);
});

test("over TCP a client that negotiated keys sends the key after the topic", async () => {
  const clock = new SteppedClock();
  await using server = WithHttp.start({}, {}, { clock });
  const client = await producer(server);
  const batch = Buffer.concat([Buffer.from([0, 0, 0, 2]), sized("b"), sized("c")]);
  for (let i = 0; i < 3; i++) {
    client.command("PUB t one", "a");
    client.command("MPUB t two", batch);
    client.command("DPUB t 100 three", "late");
    client.command("DPUB t 0 four", "now");
    client.command("PUB t", "no key");
  }
  for (let i = 0; i < 15; i++) expect(await client.response()).toBe("OK");
  // Keys over HTTP and TCP are the same.
  expect(await server.call("POST", "/pub?topic=t", "a", keyed("one"))).toBe("200 OK");
  const consumer = await server.started.consumer("t", "ch", 20);
  const got = (await messages(consumer, 7)).map(({ text }) => text);
  expect(got).toEqual(["a", "b", "c", "now", "no key", "no key", "no key"]);
  expect((await messageAfter(clock, 100, consumer)).text).toBe("late");
  await expectNothing(consumer);
  client.command(`PUB t ${"k".repeat(256)}`, "a");
  expect((await client.next()).text).toBe("E_INVALID PUB idempotency key longer than 255 bytes");
});

test("for a client that did not negotiate keys, text after the topic is ignored, as nsqd ignores it", async () => {
  await using server = WithHttp.start();
  const client = await server.started.client();
  const answer = JSON.parse(await client.call("IDENTIFY", JSON.stringify({ feature_negotiation: true })));
  expect(answer).not.toHaveProperty("idempotency");
  for (let i = 0; i < 2; i++) expect(await client.call("PUB t key", "a")).toBe("OK");
  expect(count(server)).toBe(2);
});

test("a key counts for the window, and no longer", async () => {
  await using server = WithHttp.start({ idempotencyWindowMs: 50 });
  expect(await server.call("POST", "/pub?topic=t", "a", keyed("k"))).toBe("200 OK");
  await until("the key does not count any more", async () => {
    expect(await server.call("POST", "/pub?topic=t", "a", keyed("k"))).toBe("200 OK");
    return count(server) === 2;
  });
});

test("keys are bounded: the oldest are evicted first, and one warning says so", async () => {
  await using server = WithHttp.start({ idempotencyKeys: 10 });
  const client = await producer(server);
  for (const key of numbers(500)) expect(await client.call(`PUB t ${key}`, "a")).toBe("OK");
  expect(server.broker.keys.size).toBe(10);
  for (const key of ["490", "499"]) expect(await client.call(`PUB t ${key}`, "a")).toBe("OK");
  expect(count(server)).toBe(500);
  expect(await client.call("PUB t 100", "a")).toBe("OK");
  expect(count(server)).toBe(501);
  expect(server.started.log.matching(/--idempotency-keys=10/)).toHaveLength(1);
  const folder = join(server.started.dataPath, "bunsq-data/keys");
  expect(readdirSync(folder).length).toBeLessThan(5);
});

test("without a window keys are ignored", async () => {
  await using server = WithHttp.start({ idempotencyWindowMs: 0 });
  for (let i = 0; i < 2; i++) expect(await server.call("POST", "/pub?topic=t", "a", keyed("k"))).toBe("200 OK");
  expect(count(server)).toBe(2);
  const client = await server.started.client();
  const answer = JSON.parse(await client.call("IDENTIFY", JSON.stringify({ feature_negotiation: true, idempotency: true })));
  expect(answer.idempotency).toBeFalse();
});

test("a bad key is refused", async () => {
  await using server = WithHttp.start();
  for (const key of ["", "k".repeat(256), "schl\u00fcssel"]) {
    expect(await server.call("POST", "/pub?topic=t", "a", keyed(key))).toBe('400 {"message":"INVALID_IDEMPOTENCY_KEY"}');
    expect(await server.call("POST", "/mpub?topic=t", "a", keyed(key))).toBe('400 {"message":"INVALID_IDEMPOTENCY_KEY"}');
  }
  expect(await server.call("POST", "/pub?topic=t", "a", keyed("k".repeat(255)))).toBe("200 OK");
});

test("keys survive several clean restarts, and go with their topic when it is deleted", async () => {
  await using server = WithHttp.start();
  for (const [key, defer] of [
    ["one", ""],
    ["two", "&defer=600000"],
  ])
    expect(await server.call("POST", `/pub?topic=t${defer}`, "a", keyed(key))).toBe("200 OK");
  for (let i = 0; i < 3; i++) {
    await server.restart();
    expect(await server.call("POST", "/pub?topic=t", "a", keyed("one"))).toBe("200 OK");
    expect(await server.call("POST", "/pub?topic=t", "a", keyed("two"))).toBe("200 OK");
    expect(count(server)).toBe(1);
  }
  await server.call("POST", "/topic/delete?topic=t");
  await server.restart();
  expect(await server.call("POST", "/pub?topic=t", "a", keyed("one"))).toBe("200 OK");
  expect(count(server)).toBe(2);
});

test("whenever the broker is killed, a publish that its producer tries again is one message", async () => {
  const dataPath = temporaryFolder();
  let server = await startServer({ dataPath });
  const acknowledged = new Set<number>();
  for (let round = 0; round < 4; round++) {
    const client = await RawClient.connect(server.tcpPort);
    await client.call("IDENTIFY", JSON.stringify({ idempotency: true }));
    // The publishes of all earlier rounds again, and new ones; the kill comes in the middle.
    const keys = numbers(60 * (round + 1));
    for (const key of keys) client.command(`PUB t key-${key}`, key);
    const wanted = 60 * round + 30;
    await until("some are acknowledged", () => client.frames.length >= wanted || client.closed);
    await server.stop("SIGKILL");
    await client.untilClosed();
    for (let i = 0; i < client.frames.length; i++) {
      expect(client.frames[i].text).toBe("OK");
      acknowledged.add(Number(keys[i]));
    }
    server = await startServer({ dataPath });
  }
  // A producer that got no answer publishes everything again.
  const client = await RawClient.connect(server.tcpPort);
  await client.call("IDENTIFY", JSON.stringify({ idempotency: true }));
  const all = numbers(240);
  for (const key of all) expect(await client.call(`PUB t key-${key}`, key)).toBe("OK");
  expect(acknowledged.size).toBeGreaterThan(100);
  await client.call("SUB t ch");
  client.command("RDY 500");
  const got = (await messages(client, 240)).map(({ text }) => Number(text)).toSorted((a, b) => a - b);
  expect(got).toEqual(all.map(Number));
  await expectNothing(client);
  await server.stop();
  removeFolder(dataPath);
}, 20_000);

test("a publish that the disk refused can be tried again with its key, and is one message then, also after a restart", async () => {
  let refuse = false;
  const disk: Disk = {
    ...systemDisk,
    write: (fd, buffer, from, length, position) => {
      if (refuse && buffer.includes("refused")) throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
      return systemDisk.write(fd, buffer, from, length, position);
    },
  };
  await using server = WithHttp.start({}, {}, { disk });
  expect(await server.call("POST", "/pub?topic=t", "first", keyed("first"))).toBe("200 OK");
  refuse = true;
  expect(await server.call("POST", "/pub?topic=t", "refused", keyed("again"))).toStartWith("503");
  refuse = false;
  // It gets the sequence that the refused message would have had.
  const other = await server.started.client();
  await until("there is room again", async () => (await server.call("POST", "/pub?topic=t", "other")) === "200 OK");
  other.close();
  await server.restart();
  for (let i = 0; i < 2; i++) expect(await server.call("POST", "/pub?topic=t", "refused", keyed("again"))).toBe("200 OK");
  expect(await server.call("POST", "/pub?topic=t", "first", keyed("first"))).toBe("200 OK");
  expect(count(server)).toBe(3);
});

test("a key is dropped when the disk lost its message, so that the producer's repetition is accepted", async () => {
  await using server = WithHttp.start();
  expect(await server.call("POST", "/pub?topic=t", "kept", keyed("one"))).toBe("200 OK");
  expect(await server.call("POST", "/pub?topic=t", "lost", keyed("two"))).toBe("200 OK");
  const topics = join(server.started.dataPath, "bunsq-data/topics");
  await server.restart(undefined, () => {
    const folder = join(topics, readdirSync(topics).find((name) => name.endsWith("-t")) ?? "");
    for (const name of readdirSync(folder)) {
      if (name.endsWith(".log")) truncateSync(join(folder, name), 34 + "kept".length);
      if (name.endsWith(".idx")) truncateSync(join(folder, name), INDEX_HEADER_BYTES + INDEX_ENTRY_BYTES);
    }
  });
  for (let i = 0; i < 2; i++) {
    expect(await server.call("POST", "/pub?topic=t", "kept", keyed("one"))).toBe("200 OK");
    expect(await server.call("POST", "/pub?topic=t", "lost", keyed("two"))).toBe("200 OK");
  }
  const consumer = await server.started.consumer("t", "ch", 10);
  expect((await messages(consumer, 2)).map(({ text }) => text)).toEqual(["kept", "lost"]);
  await expectNothing(consumer);
});

test("keys whose window is over are evicted, though no new ones come", async () => {
  await using server = WithHttp.start({ idempotencyWindowMs: 300 });
  for (const key of numbers(20)) expect(await server.call("POST", "/pub?topic=t", "a", keyed(key))).toBe("200 OK");
  await until("all are evicted", () => server.broker.keys.size === 0);
});
