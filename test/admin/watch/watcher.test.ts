import { describe, expect, test } from "bun:test";
import type { BrokerRow, History, LookupRow, Overview, Page, TopicDetail, TopicRow } from "../../../src/admin/console-api.ts";
import { ANYBODY } from "../support/anybody.ts";
import { START_MS, Watching } from "../support/watching.ts";

const STATS = "/stats";

function broker(messages = 0) {
  return { topics: { t: { message_count: messages, channels: { c: { message_count: messages, depth: messages } } } } };
}

describe("a watcher", () => {
  test("shows a broker that is down, with why, and goes on with the others", async () => {
    const [a, b] = [broker(5), { ...broker(7), down: "" } as ReturnType<typeof broker> & { down?: string }];
    delete b.down;
    using watching = new Watching({ "a:1": a, "b:1": b });
    await watching.start();
    expect(await watching.read<Overview>("/overview")).toMatchObject({ depth: 12, topics: 1, channels: 1 });
    b.down = "connect: connection refused";
    await watching.pass(2_000);
    const { rows } = await watching.read<Page<BrokerRow>>("/brokers");
    expect(rows.map(({ down }) => down)).toEqual([undefined, "connect: connection refused"]);
    expect(rows[1]!.in_rate).toBeNull();
    expect(await watching.read<Overview>("/overview")).toMatchObject({ depth: 5, message_count: 5 });
    const topic = await watching.read<TopicDetail>("/topics/t");
    expect(topic.brokers).toBe(1);
    expect(topic.by_broker.map(({ broker: address, down }) => [address, down])).toEqual([
      ["a:1", undefined],
      ["b:1", "connect: connection refused"],
    ]);
    expect(watching.logger.matching(/b:1 does not answer/)).toHaveLength(1);
    delete b.down;
    await watching.pass(10_000);
    expect((await watching.read<Page<BrokerRow>>("/brokers")).rows[1]!.down).toBeUndefined();
    expect(await watching.read<Overview>("/overview")).toMatchObject({ depth: 12 });
    expect(watching.logger.matching(/b:1 answers again/)).toHaveLength(1);
  });

  test("asks a broker that is down less and less often", async () => {
    using watching = new Watching({ "a:1": { ...broker(), down: "no route" } });
    await watching.start();
    const times: number[] = [];
    for (let second = 1; second <= 120; second++) {
      watching.watcher.look();
      const before = watching.upstream.askedFor("a:1", STATS);
      await watching.pass(1_000);
      if (watching.upstream.askedFor("a:1", STATS) > before) times.push(second);
    }
    expect(times).toEqual([2, 6, 14, 30, 60, 90, 120]);
  });

  test("never asks one broker twice at the same time, and shows the others meanwhile", async () => {
    const answer = Promise.withResolvers<void>();
    using watching = new Watching({ "slow:1": { ...broker(1), delay: answer.promise }, "a:1": broker(2) });
    await watching.start();
    await watching.pass(20_000);
    expect(watching.upstream.askedFor("slow:1", STATS)).toBe(1);
    expect(watching.upstream.askedFor("a:1", STATS)).toBeGreaterThan(5);
    expect(await watching.read<Overview>("/overview")).toMatchObject({ depth: 2 });
    answer.resolve();
    await watching.pass(3_000);
    expect(await watching.read<Overview>("/overview")).toMatchObject({ depth: 3 });
  });

  test("polls every 2 s while somebody looks, and every 10 s otherwise", async () => {
    using watching = new Watching({ "a:1": broker() });
    await watching.start();
    await watching.pass(29_000);
    const looking = watching.upstream.askedFor("a:1", STATS);
    expect(looking).toBe(15);
    await watching.pass(5_000);
    const idle = watching.upstream.askedFor("a:1", STATS);
    await watching.pass(60_000);
    expect(watching.upstream.askedFor("a:1", STATS) - idle).toBe(6);
    watching.watcher.look();
    await watching.settle();
    expect(watching.upstream.askedFor("a:1", STATS) - idle).toBe(7);
  });

  test("asks a broker with thousands of channels less often", async () => {
    const channels = Object.fromEntries(Array.from({ length: 7_999 }, (_, i) => [`c${i}`, {}]));
    using watching = new Watching({ "a:1": { topics: { t: { channels } } } });
    await watching.start();
    await watching.pass(23_000);
    expect(watching.upstream.askedFor("a:1", STATS)).toBe(3);
  });

  test("finds brokers by lookups, knows tombstones and topics that no broker has, and keeps a broker that they lost", async () => {
    using watching = new Watching({ "a:1": broker(), "b:1": broker() }, { brokers: () => [], lookups: () => ["l:1", "m:1"] });
    const [l, m] = [
      { brokers: [{ address: "a:1", topics: ["t", "u"], tombstones: [true, false] }], topics: ["t", "u", "gone"] },
      { brokers: [{ address: "b:1", topics: ["t"] }], topics: ["t"] },
    ];
    watching.upstream.lookups.set("l:1", l);
    watching.upstream.lookups.set("m:1", m);
    await watching.start();
    const brokers = async () => (await watching.read<Page<BrokerRow>>("/brokers")).rows;
    expect(await brokers()).toMatchObject([
      { address: "a:1", lookups: ["l:1"], tombstones: ["t"], hostname: "host of a:1" },
      { address: "b:1", lookups: ["m:1"], tombstones: [] },
    ]);
    const { rows } = await watching.read<Page<TopicRow>>("/topics?sort=topic");
    expect(rows.map(({ topic, inactive, brokers: at }) => [topic, inactive, at])).toEqual([
      ["gone", true, 0],
      ["t", undefined, 2],
      ["u", true, 0],
    ]);
    expect(await watching.read<TopicDetail>("/topics/gone")).toMatchObject({ inactive: true, by_broker: [] });
    expect((await watching.read<TopicDetail>("/topics/t")).by_broker.map(({ tombstoned }) => tombstoned)).toEqual([true, false]);

    // One lookup is down, and what it said still holds. The other has lost its broker, which is down.
    Object.assign(l, { down: "timeout" });
    m.brokers.length = 0;
    Object.assign(watching.upstream.brokers.get("b:1")!, { down: "refused" });
    await watching.pass(20_000);
    expect(await watching.read<Page<LookupRow>>("/lookups")).toMatchObject({
      rows: [{ address: "l:1", down: "timeout" }, { address: "m:1" }],
    });
    expect(await brokers()).toMatchObject([{ address: "a:1" }, { address: "b:1", down: "refused", lookups: [] }]);
    await watching.pass(16 * 60_000);
    expect((await brokers()).map(({ address }) => address)).toEqual(["a:1"]);
  });

  test("says that a broker is draining, and why it is down afterwards, until it answers again", async () => {
    const a: ReturnType<typeof broker> & { down?: string; draining?: true } = broker();
    using watching = new Watching({ "a:1": a });
    await watching.start();
    const row = async () => (await watching.read<Page<BrokerRow>>("/brokers")).rows[0];
    expect((await row())?.draining).toBeUndefined();
    a.draining = true;
    await watching.pass(2_000);
    expect(await row()).toMatchObject({ draining: true });
    a.down = "connection refused";
    await watching.pass(2_000);
    expect(await row()).toMatchObject({ down: "it was drained (connection refused)" });
    expect((await row())?.draining).toBeUndefined();
    delete a.down;
    delete a.draining;
    await watching.pass(60_000);
    expect((await row())?.down).toBeUndefined();
    a.down = "connection refused";
    await watching.pass(10_000);
    expect(await row()).toMatchObject({ down: "connection refused" });
  });

  test("records history and sparklines, and leaves out the time in which a broker was down", async () => {
    const a: ReturnType<typeof broker> & { down?: string } = broker();
    using watching = new Watching({ "a:1": a });
    await watching.start();
    for (let second = 0; second < 120; second += 2) {
      a.topics.t.message_count += 20;
      a.topics.t.channels.c = { message_count: a.topics.t.message_count, depth: 4 };
      if (second === 60) a.down = "refused";
      if (second === 90) delete a.down;
      watching.watcher.look();
      await watching.pass(2_000);
    }
    const { rows } = await watching.read<Page<TopicRow>>("/topics");
    expect(rows[0]!.spark.step_s).toBe(4);
    expect(rows[0]!.spark.in_rate).toHaveLength(30);
    expect(rows[0]!.spark.in_rate.filter((rate) => rate === null).length).toBeGreaterThan(6);
    expect(rows[0]!.spark.in_rate.at(-1)).toBe(10);
    expect((await watching.read<Overview>("/overview")).spark.in_rate).toHaveLength(60);
    const history = await watching.read<History>("/history?topic=t");
    expect(history.step_s).toBe(10);
    expect(history.from + 359 * 10_000).toBe(START_MS + 120_000 - ((START_MS + 120_000) % 10_000));
    // It was asked again after 2, 4, 8 and 16 s.
    expect(history.series.depth.slice(-13)).toEqual([4, 4, 4, 4, 4, 4, 4, null, null, 4, 4, 4, 4]);
    // A topic has what its channels deliver.
    expect(history.series.out_rate.at(-1)).toBe(10);
    const ofChannel = await watching.read<History>("/history?topic=t&channel=c");
    expect(ofChannel.series.out_rate).toEqual(history.series.out_rate);
    // To a channel comes what comes to its topic.
    expect(ofChannel.series.in_rate).toEqual(history.series.in_rate);
    expect((await watching.read<History>("/history")).series.in_rate.at(-1)).toBe(10);
    expect(watching.views.read("/history?range=1y", ANYBODY.grants)).rejects.toThrow("INVALID_ARG_RANGE");
  });

  test("asks nobody after it was closed, and does not complain of what it ended itself", async () => {
    const answer = Promise.withResolvers<void>();
    using watching = new Watching({ "a:1": broker(), "slow:1": { ...broker(), delay: answer.promise } });
    await watching.start();
    watching.watcher.close();
    const asked = watching.upstream.asked.length;
    await watching.pass(60_000);
    expect(watching.upstream.asked.length).toBe(asked);
    answer.resolve();
    await watching.settle();
    expect(watching.logger.lines).toEqual([]);
  });
});
