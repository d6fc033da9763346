import { describe, expect, test } from "bun:test";
import type { BrokerRow, ChannelDetail, Overview, Page, TopicDetail, TopicRow } from "../../../src/admin/console-api.ts";
import type { FakeBroker } from "../support/fake-upstream.ts";
import { START_MS, Watching } from "../support/watching.ts";

const HOUR_MS = 3_600_000;

function broker(): FakeBroker {
  const channel = { depth: 7, message_count: 20, paused: true, read_failure: "no such file" };
  return { topics: { t: { depth: 9, message_count: 20, message_bytes: 100, channels: { c: channel } } } };
}

describe("a broker that has gone down", () => {
  test("stays in the lists of its topic and channel with its last figures, since when and why", async () => {
    using watching = new Watching({ "a:1": broker(), "b:1": broker() });
    await watching.start();
    const { topics } = watching.upstream.brokers.get("a:1")!;
    topics.t!.message_count = 30;
    await watching.pass(2_000);
    Object.assign(watching.upstream.brokers.get("a:1")!, { down: "connection refused" });
    await watching.pass(10_000);
    const topic = await watching.read<TopicDetail>("/topics/t");
    const since = topic.by_broker[0]?.down_since ?? 0;
    expect(since).toBeGreaterThan(START_MS + 2_000);
    expect(since).toBeLessThanOrEqual(START_MS + 6_000);
    const down = { down: "connection refused", down_since: since, in_rate: null, out_rate: null, finish_rate: null };
    expect(topic.by_broker).toMatchObject([
      { broker: "a:1", ...down, message_count: 30, message_bytes: 100 },
      { broker: "b:1", message_count: 20 },
    ]);
    expect(topic.by_broker[1]).not.toHaveProperty("down");
    const channel = await watching.read<ChannelDetail>("/topics/t/c");
    expect(channel.by_broker).toMatchObject([{ broker: "a:1", ...down, depth: 7 }, { broker: "b:1" }]);
    // What is known to be so now.
    expect(channel.findings.filter(({ broker: of }) => of === "a:1")).toEqual([]);
    expect(topic).toMatchObject({ brokers: 1, message_count: 20 });
    expect((await watching.read<Page<BrokerRow>>("/brokers")).rows[0]).toMatchObject({ down: "connection refused", down_since: since });
  });

  test("is as any other when it answers again, without what it has lost", async () => {
    using watching = new Watching({ "a:1": broker(), "b:1": broker() });
    await watching.start();
    const gone = watching.upstream.brokers.get("a:1")!;
    gone.down = "connection refused";
    await watching.pass(10_000);
    delete gone.down;
    gone.topics.u = { channels: {} };
    delete gone.topics.t;
    await watching.pass(40_000);
    expect((await watching.read<TopicDetail>("/topics/t")).by_broker.map(({ broker: of }) => of)).toEqual(["b:1"]);
    expect((await watching.read<Page<BrokerRow>>("/brokers")).rows[0]).not.toHaveProperty("down_since");
  });

  test("is forgotten with its topics after a day", async () => {
    using watching = new Watching({ "a:1": { topics: { only: { depth: 3, channels: { c: {} } } } }, "b:1": broker() });
    await watching.start();
    watching.upstream.brokers.get("a:1")!.down = "connection refused";
    await watching.pass(10_000);
    for (let hour = 0; hour < 23; hour++) {
      watching.clock.advance(HOUR_MS);
      await watching.settle();
    }
    const row = (await watching.read<TopicDetail>("/topics/only")).by_broker[0];
    expect(row).toMatchObject({ broker: "a:1", depth: 3 });
    watching.clock.advance(2 * HOUR_MS);
    await watching.settle();
    await watching.pass(60_000);
    expect((await watching.read<Page<TopicRow>>("/topics")).rows.map(({ topic }) => topic)).toEqual(["t"]);
    expect(await watching.read<Overview>("/overview")).toMatchObject({ topics: 1, channels: 1 });
    expect((await watching.read<Page<BrokerRow>>("/brokers")).rows[0]).toMatchObject({ address: "a:1", topics: 0, depth: 0 });
  });

  test("is forgotten 15 minutes after the last lookup has listed it", async () => {
    using watching = new Watching({ "b:1": broker() }, { brokers: () => [], lookups: () => ["l:1"] });
    watching.upstream.brokers.set("a:1", broker());
    const lookup = { topics: ["t"], brokers: ["a:1", "b:1"].map((address) => ({ address, topics: ["t"] })) };
    watching.upstream.lookups.set("l:1", lookup);
    await watching.start();
    watching.upstream.brokers.get("a:1")!.down = "connection refused";
    lookup.brokers.shift();
    const brokers = async () => (await watching.read<TopicDetail>("/topics/t")).by_broker.map(({ broker: of }) => of);
    await watching.pass(14 * 60_000);
    expect(await brokers()).toEqual(["a:1", "b:1"]);
    await watching.pass(2 * 60_000);
    expect(await brokers()).toEqual(["b:1"]);
  });
});
