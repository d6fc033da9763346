import { Database } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { MetadataStore } from "../../../src/broker/storage/metadata/metadata-store.ts";
import type { SettingsJson } from "../../../src/broker/topics/channel/channel-settings.ts";
import type { Topic } from "../../../src/broker/topics/topic.ts";
import { FailingDatabase } from "../../support/failing-database.ts";
import { InProcess, numbers } from "../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { until } from "../../support/server.ts";
import { Collector, TimedBroker } from "../../support/timed-broker.ts";

const FILTER = { type: 1, filter_ext_key: "region", filter_data: "eu" };
const DEAD = { max_attempts: 3, dead_letter_topic: "dead" };

let timed: TimedBroker;
afterEach(() => timed?.end());

/** Starts a broker whose topic "t" has a number of partitions. */
function start(partitions = 1): Topic {
  timed = new TimedBroker();
  return timed.broker.registry.topicWith("t", partitions);
}

/** What the table has, as `topic/channel`. */
function rows({ channelSettings }: Pick<MetadataStore, "channelSettings">): string[] {
  return channelSettings.load().map(({ topic, channel }) => `${topic}/${channel}`);
}

/** Changes the metadata store of a broker that is closed. */
function change(server: InProcess, sql: string): void {
  const store = new Database(join(server.dataPath, "bunsq-data", "catalogue.sqlite"), { readwrite: true, create: false });
  store.run(sql);
  store.close(true);
}

/** How many messages a new consumer gets that finishes none. */
function taken(topic: Topic, channelName: string): number {
  const consumer = new Collector();
  topic.channel(channelName).addConsumer(consumer);
  topic.channel(channelName).markDirty();
  timed.clock.advance(10);
  return consumer.received.length;
}

describe("the settings of a channel", () => {
  test("outlive kills and clean ends, are in force before the first message is delivered, and are those of each channel", async () => {
    const topic = start(2);
    topic.channel("plain");
    topic.channel("ordered").changeSettings({ order: "partition" });
    topic.channel("all").changeSettings({ order: "key", filter: FILTER, ...DEAD });
    for (const body of numbers(8)) await timed.publish(body);
    timed.kill();
    const json = (name: string) => timed.topic.channels.get(name)?.settings.toJson();
    const all = { order: "key", filter: expect.objectContaining(FILTER), ...DEAD };
    expect([json("plain"), json("ordered"), json("all")]).toEqual([{}, { order: "partition" }, all]);
    expect([taken(timed.topic, "plain"), taken(timed.topic, "ordered"), taken(timed.topic, "all")]).toEqual([8, 2, 0]);
    timed.topic.channel("ordered").changeSettings({ order: "none" });
    await timed.restart();
    expect([json("plain"), json("ordered"), json("all")]).toEqual([{}, {}, all]);
    expect(rows(timed.broker.metadata)).toEqual(["t/all"]);
  });

  test("are after a kill at any time those of the last change that was carried out", () => {
    const seed = seedFromEnvironment();
    const random = Random.forPart(seed, 1);
    console.log(`settings over kills: BUNSQ_SEED=${seed}`);
    start(2);
    const names = ["a", "b", "c"];
    const expected = new Map<string, string>();
    for (let round = 0; round < 12; round++) {
      for (let step = random.int(0, 6); step > 0; step--) {
        const name = random.pick(names);
        const what = random.next();
        if (what < 0.2) {
          timed.topic.deleteChannel(name);
          expected.delete(name);
          continue;
        }
        const changes: SettingsJson = random.pick([
          { order: "key" },
          { order: "none" },
          { order: "partition" },
          { filter: FILTER },
          { filter: null },
          DEAD,
        ]);
        const channel = timed.topic.channel(name);
        channel.changeSettings(changes);
        expected.set(name, channel.settings.encode());
      }
      timed.kill();
      const found = [...timed.topic.channels.values()].map(({ name, settings }) => [name, settings.encode()] as const);
      expect(new Map(found), `round ${round}`).toEqual(expected);
      const withRow = [...expected].filter(([, settings]) => settings !== "{}").map(([name]) => `t/${name}`);
      expect(rows(timed.broker.metadata).toSorted()).toEqual(withRow.toSorted());
    }
  });

  test("are in force in partitions that the topic gets later, at once and after a kill", async () => {
    const topic = start(1);
    topic.channel("c").changeSettings({ order: "partition" });
    timed.broker.registry.topicWith("t", 3);
    for (const body of numbers(9)) await timed.publish(body);
    expect(taken(timed.topic, "c")).toBe(3);
    timed.kill();
    expect(taken(timed.topic, "c")).toBe(3);
  });

  test("go with the channel and with the topic, and one of that name begins anew", async () => {
    const topic = start(2);
    for (const name of ["a", "b"]) topic.channel(name).changeSettings({ order: "key" });
    timed.broker.registry.topic("u").channel("a").changeSettings({ order: "key" });
    topic.deleteChannel("a");
    expect(rows(timed.broker.metadata)).toEqual(["t/b", "u/a"]);
    expect(topic.channel("a").settings.order).toBe("none");
    timed.broker.registry.deleteTopic("t");
    expect(rows(timed.broker.metadata)).toEqual(["u/a"]);
    expect(timed.broker.metadata.topicSettings.load().settings.size).toBe(0);
    timed.kill();
    expect(timed.topic.channel("b").settings.order).toBe("none");
    expect(timed.broker.registry.topic("u").channel("a").settings.order).toBe("key");
  });

  test("stay as they are when the store cannot be written, and the call is refused", () => {
    const channel = start().channel("c");
    channel.changeSettings({ order: "key" });
    {
      using _ = new FailingDatabase((call) => {
        if (call === "write") throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR" });
      });
      expect(() => channel.changeSettings({ order: "partition" })).toThrow("NOT_STORED");
      expect(() => channel.changeSettings({ order: "none" })).toThrow("NOT_STORED");
    }
    expect(channel.settings.order).toBe("key");
    timed.kill();
    expect(timed.topic.channel("c").settings.order).toBe("key");
  });

  test("of what is ephemeral are in memory only", async () => {
    timed = new TimedBroker();
    const { registry, metadata } = timed.broker;
    registry.topic("t").channel("c#ephemeral").changeSettings({ order: "key" });
    registry.topic("t#ephemeral").channel("c").changeSettings({ order: "key" });
    registry.topicWith("u#ephemeral", 1, { extended: true, channelOrder: "key" });
    expect(registry.topic("u#ephemeral").channel("c").settings.order).toBe("key");
    expect([rows(metadata), metadata.topicSettings.load().settings.size, metadata.formatVersion]).toEqual([[], 0, 2]);
  });

  test("have the data path refused by earlier releases, from the first ones on", () => {
    const channel = start().channel("c");
    channel.changeSettings({});
    expect(timed.broker.metadata.formatVersion).toBe(2);
    channel.changeSettings({ order: "key" });
    expect(timed.broker.metadata.formatVersion).toBe(3);
    channel.changeSettings({ order: "none" });
    expect([rows(timed.broker.metadata), timed.broker.metadata.formatVersion]).toEqual([[], 3]);
  });

  test("are in the backup of the metadata store", async () => {
    await using server = InProcess.start();
    server.broker.registry.topicWith("t", 1, { extended: true }).channel("c").changeSettings({ order: "key" });
    await server.publish("t", "x");
    await server.close();
    for (const ending of ["", "-wal", "-shm"]) rmSync(join(server.dataPath, "bunsq-data", `catalogue.sqlite${ending}`), { force: true });
    server.reopen();
    expect(server.log.matching(/restored from its backup/).length).toBe(1);
    const topic = server.broker.registry.topic("t");
    expect([topic.settings, topic.channels.get("c")?.settings.order]).toEqual([{ partitions: 1, extended: true }, "key"]);
  });

  test("in a damaged row are told and counted, the channel delivers as by default, and all others have theirs", async () => {
    await using server = InProcess.start();
    const topic = server.broker.registry.topic("t");
    for (const name of ["a", "b"]) topic.channel(name).changeSettings({ order: "key" });
    await server.close();
    change(server, `UPDATE channel_settings SET settings = '{"order":"none"}' WHERE channel = 'a'`);
    server.reopen();
    const orders = () => [...server.broker.registry.topic("t").channels.values()].map(({ settings }) => settings.order);
    expect([orders(), server.broker.registry.topic("t").corruptRegions]).toEqual([["none", "key"], 1]);
    expect(server.log.matching(/ERROR: CHANNEL\(a\) of t: its settings in the metadata store are damaged/).length).toBe(1);
    await server.restart();
    expect([orders(), server.broker.registry.topic("t").corruptRegions]).toEqual([["none", "key"], 0]);
  });

  test("that this release cannot use are told and counted, and stay in the store", async () => {
    await using server = InProcess.start();
    server.broker.registry.topic("t").channel("a");
    server.broker.metadata.channelSettings.save("t", "a", '{"order":"by-moonlight"}');
    for (let i = 1; i <= 2; i++) {
      await server.restart();
      const topic = server.broker.registry.topic("t");
      expect([topic.channels.get("a")?.settings.order, topic.corruptRegions]).toEqual(["none", 1]);
      expect(server.log.matching(/ERROR: CHANNEL\(a\) of t: its settings cannot be used \(order: it must be/).length).toBe(i);
    }
    server.broker.registry.topic("t").channel("a").changeSettings({ order: "key" });
    await server.restart();
    expect(server.broker.registry.topic("t").channels.get("a")?.settings.order).toBe("key");
  });

  test("of channels and topics that are gone are removed", async () => {
    await using server = InProcess.start();
    server.broker.registry.topic("t").channel("a");
    const { channelSettings, topicSettings } = server.broker.metadata;
    channelSettings.save("t", "gone", '{"order":"key"}');
    channelSettings.save("gone", "a", '{"order":"key"}');
    topicSettings.save("gone", { partitions: 3 });
    await server.restart();
    expect(server.log.matching(/WARNING: CHANNEL\(gone\) of t: there are settings for it, but it is gone/).length).toBe(1);
    const { metadata, registry } = server.broker;
    expect([rows(metadata), metadata.topicSettings.load().settings.size, registry.topics.size]).toEqual([[], 0, 1]);
  });
});

describe("the settings of a topic", () => {
  test("are not those that one of its name has left, and neither are its channels'", () => {
    start();
    const { metadata, registry } = timed.broker;
    metadata.topicSettings.save("new", { partitions: 1, ordered: true });
    metadata.channelSettings.save("new", "a", '{"order":"key"}');
    registry.topic("new").channel("a");
    timed.kill();
    const topic = timed.broker.registry.topic("new");
    expect([topic.settings, topic.channel("a").settings.order]).toEqual([{ partitions: 1 }, "none"]);
  });

  test("stay as they are when the store cannot be written, and the call is refused", () => {
    const topic = start(2);
    {
      using _ = new FailingDatabase((call) => {
        if (call === "write") throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR" });
      });
      expect(() => timed.broker.registry.topicWith("t", 2, { extended: true })).toThrow("disk I/O error");
      expect(() => timed.broker.registry.topicWith("t", 3, { ordered: true })).toThrow("disk I/O error");
    }
    expect([topic.settings, topic.partitions.length]).toEqual([{ partitions: 2 }, 2]);
    timed.kill();
    expect([timed.topic.settings, timed.topic.partitions.length]).toEqual([{ partitions: 2 }, 2]);
  });

  test("outlive a kill, change one by one, and without any there is no row", async () => {
    start();
    const { registry } = timed.broker;
    registry.topicWith("t", 1, { ordered: true, extended: false });
    registry.topicWith("t", 1, { channelOrder: "key" });
    timed.kill();
    expect(timed.topic.settings).toEqual({ partitions: 1, ordered: true, extended: false, channelOrder: "key" });
    timed.broker.registry.topicWith("t", 1, { ordered: false, channelOrder: "none" });
    await timed.restart();
    expect(timed.topic.settings).toEqual({ partitions: 1, extended: false });
    timed.broker.registry.topicWith("u", 1, { multiPart: true });
    timed.broker.registry.topicWith("u", 1, { multiPart: false });
    expect([...timed.broker.metadata.topicSettings.load().settings.keys()]).toEqual(["t"]);
  });

  test("give channels that are made later their order, which stays theirs", async () => {
    const topic = start(2);
    topic.channel("before");
    timed.broker.registry.topicWith("t", 2, { channelOrder: "partition" });
    topic.channel("after");
    for (const body of numbers(8)) await timed.publish(body);
    timed.kill();
    timed.broker.registry.topicWith("t", 2, { channelOrder: "none" });
    expect([taken(timed.topic, "before"), taken(timed.topic, "after")]).toEqual([8, 2]);
    timed.kill();
    expect(timed.topic.channel("after").settings.order).toBe("partition");
  });

  test("that are lost leave a topic with the partitions that are there, and none is invented", async () => {
    await using server = InProcess.start();
    server.broker.registry.topicWith("t", 6, { held: [1, 3], ordered: true }).channel("c");
    await server.publish("t", ...numbers(4));
    await server.close();
    change(server, "DELETE FROM topic_settings");
    for (let round = 0; round < 2; round++) {
      server.reopen();
      const topic = server.broker.registry.topic("t");
      expect(topic.settings).toEqual({ partitions: 4, held: [1, 3] });
      expect(topic.partitions.map(({ name, depth }) => [name, depth])).toEqual([
        ["t@1", 0],
        ["t@3", 0],
      ]);
      expect(topic.channel("c").depth).toBe(4);
      expect(server.broker.registry.corruptRegions).toBe(round === 0 ? 1 : 0);
      expect(
        server.log.matching(/ERROR: TOPIC\(t\): the metadata store has lost its settings; it goes on with its partitions 1, 3,/).length,
      ).toBe(1);
      expect(server.log.matching(/are missing/)).toEqual([]);
      await server.close();
    }
    server.reopen();
    server.broker.registry.topicWith("t", 6, { held: [1, 3] });
    expect(server.broker.registry.topic("t").settings).toEqual({ partitions: 6, held: [1, 3] });
  });

  test.each(["UPDATE topic_settings SET settings = replace(settings, '6', '5')", "UPDATE topic_settings SET settings = '{', seal = 0"])(
    "in a damaged row are told: %s",
    async (damage) => {
      await using server = InProcess.start();
      server.broker.registry.topicWith("t", 6, { held: [1, 3] });
      server.broker.registry.topicWith("one", 1, { extended: true });
      await server.close();
      change(server, damage);
      server.reopen();
      expect(server.log.matching(/ERROR: TOPIC\(t\): its settings in the metadata store are damaged/).length).toBe(1);
      expect(server.broker.registry.topic("t").settings).toEqual({ partitions: 4, held: [1, 3] });
      expect(server.broker.registry.corruptRegions).toBeGreaterThan(0);
      await server.restart();
      expect(server.broker.registry.corruptRegions).toBe(0);
    },
  );

  test("are those of what is there when store and backup are lost, with folders only", async () => {
    await using server = InProcess.start();
    server.broker.registry.topicWith("t", 6, { held: [1, 3] });
    await server.publish("t", ...numbers(4));
    await server.close();
    const folder = join(server.dataPath, "bunsq-data");
    for (const name of ["catalogue.sqlite", "catalogue.sqlite-wal", "topics/catalogue.copy"]) rmSync(join(folder, name), { force: true });
    server.reopen();
    const topic = server.broker.registry.topic("t");
    expect(topic.partitions.map(({ name, depth }) => [name, depth])).toEqual([
      ["t@1", 2],
      ["t@3", 2],
    ]);
    expect(existsSync(join(folder, "topics", "00000-t"))).toBeFalse();
    expect(server.log.matching(/the metadata store has lost its settings/).length).toBe(1);
    await until("the backup is renewed", () => existsSync(join(folder, "topics", "catalogue.copy")));
  });
});
