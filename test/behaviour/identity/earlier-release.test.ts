import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { checkDataPath } from "../../../src/broker/check/check.ts";
import { encodeHeader, NO_BYTES } from "../../../src/frame/header.ts";
import { idPrefix } from "../../../src/frame/id.ts";
import { defaultOptions, expectNothing, messages } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";
import { bodiesIn, DataPath, FORMAT_1_DUE_MS } from "./support/data-path.ts";

// support/format-1.json has the files of a data path that release 7d4e2e0 wrote, each compressed. It ran with node id 1:
//
//     topic orders, channel c: "n1 requeued" (REQ with an hour), "n1 finished" (FIN), "n1 waits", a deferred publish of an hour
//     topic waits: "n1 for the first channel"
//
// and then with node id 2:
//
//     orders: "n2 waits", "n2 waits too"; waits: "n2 for the first channel"
//     topic again: deleted with a folder inside its folder, so that the mark "deleted" stayed; made again: "new 1", "new 2"
//     orders, waits, j1, j2, j3, j4: "journal", in the journal only. Then the broker was killed.

const DUE = { clock: { ...systemClock, wallMs: () => FORMAT_1_DUE_MS + 64_000 + performance.now() } };
const NOT_DUE = { clock: { ...systemClock, wallMs: () => FORMAT_1_DUE_MS - 3_000_000 + performance.now() } };

test("a data path of release 7d4e2e0, which ran under two node ids, is taken up under a third one, and everything can be finished", async () => {
  await using data = DataPath.ofFormat1();
  const broker = data.open({ nodeId: 3 }, DUE);
  const consumer = await data.consumer("orders", "c", 10);
  const found = await messages(consumer, 6);
  expect(found.map(({ text, id }) => `${id.slice(0, 6)} ${text}`).toSorted()).toEqual([
    "004000 deferred publish",
    "004000 n1 requeued",
    "004000 n1 waits",
    "008000 journal",
    "008000 n2 waits",
    "008000 n2 waits too",
  ]);
  for (const { id } of found) consumer.command(`FIN ${id}`);
  await expectNothing(consumer);
  const channel = broker.registry.topic("orders").channel("c");
  expect([channel.inFlightCount, channel.depth, channel.deferredCount, channel.timeoutCount]).toEqual([0, 0, 0, 0]);
  await data.close();
  expect(data.log.matching(/ERROR: (?!.*E_FIN_FAILED FIN 0000000000000000)/)).toBeEmpty();
});

test("REQ and TOUCH take ids of every node id that an earlier release wrote into a log", async () => {
  await using data = DataPath.ofFormat1();
  data.open({ nodeId: 3 }, NOT_DUE);
  const consumer = await data.consumer("waits", "first", 10);
  const found = await messages(consumer, 3);
  expect(found.map(({ text }) => text)).toEqual(["n1 for the first channel", "n2 for the first channel", "journal"]);
  for (const { id } of found) consumer.command(`TOUCH ${id}`);
  for (const { id } of found) consumer.command(`REQ ${id} 0`);
  const again = await messages(consumer, 3);
  expect(again.map(({ id, attempts }) => [id, attempts])).toEqual(found.map(({ id }) => [id, 2]));
  // Ids of this topic on another broker, and of another topic on this one and on another broker.
  const sequence = found[0]?.id.slice(6);
  for (const id of ["00c001", "004002", "00c002"].map((prefix) => `${prefix}${sequence}`)) {
    consumer.command(`FIN ${id}`);
    expect((await consumer.next()).text).toBe(`E_FIN_FAILED FIN ${id} failed ID not in flight`);
  }
  for (const { id } of again) consumer.command(`FIN ${id}`);
  await expectNothing(consumer);
});

test("a topic of an earlier release keeps the prefix of its first message, and each has an id that no new topic gets", async () => {
  await using data = DataPath.ofFormat1();
  const broker = data.open({ nodeId: 3 }, NOT_DUE);
  const prefixes = () => [...broker.registry.partitions].map(({ name, log }) => [name, log.prefix]).toSorted();
  expect(prefixes()).toEqual([
    ["again", idPrefix(2, 2)],
    ["j1", idPrefix(2, 3)],
    ["j2", idPrefix(2, 4)],
    ["j3", idPrefix(2, 5)],
    ["j4", idPrefix(2, 6)],
    ["orders", idPrefix(1, 0)],
    ["waits", idPrefix(1, 1)],
  ]);
  const ids = [...broker.registry.partitions].map(({ id }) => id);
  expect(Math.max(...ids)).toBeLessThan(2 ** 32);
  const made = broker.registry.topic("new");
  expect(made.partitions[0].id).toBeGreaterThanOrEqual(2 ** 33);
  expect(made.partitions[0].log.prefix).toBe(idPrefix(3, 7));
  await data.close();
  const store = new Database(join(data.folder, "catalogue.sqlite"));
  const stored = store.query("SELECT name, prefix FROM topics ORDER BY name").values();
  const { user_version } = store.query("PRAGMA user_version").get() as { user_version: number };
  store.close(true);
  expect(stored.map(([name]) => name)).toEqual(["again", "j1", "j2", "j3", "j4", "new", "orders", "waits"]);
  expect(stored.map(([, prefix]) => prefix)).not.toContain(null);
  expect(user_version).toBe(2);
});

test("what an earlier release had in its journal, its buckets and its rows is there, and the stale mark deletes nothing", async () => {
  await using data = DataPath.ofFormat1();
  const broker = data.open({ nodeId: 3 }, NOT_DUE);
  for (const name of ["j1", "j2", "j3", "j4"]) expect(bodiesIn(broker, name)).toEqual(["made", "journal"]);
  expect(bodiesIn(broker, "again")).toEqual(["new 1", "new 2"]);
  expect(data.log.matching(/WARNING: TOPIC\(again\): its folder was marked as deleted before the topic was made again/)).toHaveLength(1);
  expect(broker.registry.topic("orders").channel("c").deferredCount).toBe(2);
  await data.close();
  const again = data.open({ nodeId: 4 }, NOT_DUE);
  expect(bodiesIn(again, "again")).toEqual(["new 1", "new 2"]);
  expect(again.registry.topic("orders").channel("c").deferredCount).toBe(2);
  expect(data.log.matching(/WARNING|ERROR/)).toHaveLength(1);
});

test("a topic of an earlier release gets partitions, messages with headers and a channel with an order, and loses nothing", async () => {
  await using data = DataPath.ofFormat1();
  const broker = data.open({ nodeId: 3 }, DUE);
  const topic = broker.registry.topicWith("orders", 3);
  topic.channel("c").changeSettings({ order: "partition" });
  const header = encodeHeader({ traceId: 0n, key: Buffer.from("k"), tag: NO_BYTES, text: Buffer.from("{}") });
  for (const partition of topic.partitions) {
    await broker.publishing.publish(partition, "", Buffer.from(`with a header ${partition.index}`), 0, undefined, header);
  }
  await data.close();
  const again = data.open({ nodeId: 4 }, DUE);
  again.registry.topic("orders").channel("c").changeSettings({ order: "partition" });
  const consumer = await data.consumer("orders", "c", 10);
  const found: string[] = [];
  while (found.length < 9) {
    const { id, text } = await consumer.message();
    found.push(text);
    consumer.command(`FIN ${id}`);
  }
  const before = ["deferred publish", "journal", "n1 requeued", "n1 waits", "n2 waits", "n2 waits too"];
  expect(found.toSorted()).toEqual([...before, "with a header 0", "with a header 1", "with a header 2"]);
  await expectNothing(consumer);
  expect(data.log.matching(/ERROR: (?!.*E_FIN_FAILED FIN 0000000000000000)/)).toBeEmpty();
});

test("a check of a data path of an earlier release says what a start would do", async () => {
  await using data = DataPath.ofFormat1();
  const lines: string[] = [];
  expect(await checkDataPath(defaultOptions({ dataPath: data.path }), false, (line) => lines.push(line))).toBeTrue();
  expect(lines.filter((line) => /^topic /.test(line)).toSorted()).toEqual(
    ["again", "j1", "j2", "j3", "j4", "orders", "waits"].map((name) => `topic ${name}:`),
  );
  expect(lines.join("\n")).toMatch(/topic again:\n {2}1 segments, 2 messages/);
  expect(lines.filter((line) => /1 more messages in the journal/.test(line))).toHaveLength(6);
  expect(data.exists("topics/00002-again/deleted")).toBeTrue();
});

test("a store of an earlier release that is lost takes no deferred message to another topic", async () => {
  await using data = DataPath.ofFormat1();
  data.loseStoreAndBackup();
  const broker = data.open({ nodeId: 3 }, DUE);
  expect(
    data.log.matching(
      /ERROR: 2 deferred messages belong to topics or channels that the metadata store does not know; .* kept as .*unclaimed\.damaged/,
    ),
  ).toHaveLength(1);
  const channels = [...broker.registry.topics.values()].map((topic) => topic.channel("c"));
  broker.registry.releaseAdopted();
  await until("all is released", () => channels.every(({ topic }) => topic.depth === 0));
  expect(channels.map(({ deferredCount }) => deferredCount)).toEqual(channels.map(() => 0));
  for (const name of broker.registry.topics.keys()) expect(bodiesIn(broker, name)).not.toContain("deferred publish");
});
