import { describe, expect, test } from "bun:test";
import type { BrokerRow, ChannelRow, Page, TopicRow } from "../../../src/admin/console-api.ts";
import { ANYBODY } from "../support/anybody.ts";
import type { FakeChannel } from "../support/fake-upstream.ts";
import { Watching } from "../support/watching.ts";

/** One broker with one channel, and what its row says after the counters went from one to the other in 2 s. */
async function rowAfter(before: FakeChannel, after: FakeChannel, change: object = {}): Promise<ChannelRow> {
  const broker = { topics: { t: { message_count: 0, channels: { c: before } } } };
  using watching = new Watching({ "a:1": broker });
  await watching.start();
  broker.topics.t.channels.c = after;
  Object.assign(broker, change);
  await watching.pass(2_000);
  const { rows } = await watching.read<Page<ChannelRow>>("/channels");
  return rows[0]!;
}

describe("rates", () => {
  test("are not known before there are two polls, and then follow from the counters", async () => {
    const topic = { message_count: 100, message_bytes: 5, depth: 3, channels: { c: { message_count: 100, depth: 10 } } };
    using watching = new Watching({ "a:1": { topics: { t: topic } } });
    await watching.start();
    const first = (await watching.read<Page<TopicRow>>("/topics")).rows[0]!;
    expect(first).toMatchObject({ in_rate: null, out_rate: null, depth: 13, message_count: 100, message_bytes: 5, channels: 1 });
    Object.assign(topic, { message_count: 300 });
    Object.assign(topic.channels.c, { message_count: 300, depth: 30, in_flight_count: 20 });
    await watching.pass(2_000);
    const second = (await watching.read<Page<TopicRow>>("/topics")).rows[0]!;
    // 200 came, 20 more wait, 20 more are in flight.
    expect(second).toMatchObject({
      in_rate: 100,
      out_rate: 90,
      finish_rate: 80,
      requeue_rate: 0,
      timeout_rate: 0,
      depth: 33,
      in_flight: 20,
    });
  });

  test("count what is delivered again", async () => {
    const row = await rowAfter(
      { message_count: 10, depth: 5, in_flight_count: 5 },
      { message_count: 10, depth: 3, in_flight_count: 4, requeue_count: 6, timeout_count: 2 },
    );
    // Nothing came, three messages are gone. Eight were delivered, failed and came back, and two more left the queue.
    expect(row).toMatchObject({ in_rate: 0, out_rate: 5, finish_rate: 1.5, requeue_rate: 3, timeout_rate: 1 });
  });

  test("leave out a message that is deferred", async () => {
    const row = await rowAfter({ message_count: 10, in_flight_count: 1 }, { message_count: 10, deferred_count: 1, requeue_count: 1 });
    expect(row).toMatchObject({ out_rate: 0, finish_rate: 0, requeue_rate: 0.5, deferred: 1 });
  });

  test("are null once, and never negative, when counters begin anew", async () => {
    const topic = { message_count: 1_000, channels: { c: { message_count: 1_000, timeout_count: 3 } } };
    using watching = new Watching({ "a:1": { topics: { t: topic } } });
    await watching.start();
    for (const [count, rate] of [
      [1_100, 50],
      [20, null],
      [40, 10],
    ] as const) {
      Object.assign(topic, { message_count: count });
      Object.assign(topic.channels.c, { message_count: count });
      await watching.pass(2_000);
      const [topicRow] = (await watching.read<Page<TopicRow>>("/topics")).rows;
      const [channelRow] = (await watching.read<Page<ChannelRow>>("/channels")).rows;
      expect([topicRow!.in_rate, channelRow!.in_rate, channelRow!.out_rate]).toEqual([rate, rate, rate]);
    }
  });

  test("are null after a restart, even if the counters are larger than before", async () => {
    expect(await rowAfter({ message_count: 1 }, { message_count: 1_000 }, { start_time: 2 })).toMatchObject({
      in_rate: null,
      out_rate: null,
    });
  });

  test("of a channel that was emptied are not negative", async () => {
    const row = await rowAfter({ message_count: 10, depth: 0, in_flight_count: 0 }, { message_count: 10, depth: 500 });
    expect(row).toMatchObject({ out_rate: 0, finish_rate: 0 });
  });

  test("are those of a broker that measures them", async () => {
    const rates = { out: [7, 6, 5], finish: [4, 3, 2] };
    const row = await rowAfter({ message_count: 10 }, { message_count: 30, rates, oldest_age_ms: 1_500 });
    expect(row).toMatchObject({ in_rate: 10, out_rate: 7, finish_rate: 4, oldest_age_ms: 1_500 });
  });

  test("of several brokers are added up, as far as they are known", async () => {
    const brokers = {
      "a:1": { topics: { t: { message_count: 0, channels: { c: { message_count: 0 } } } } },
      "b:1": { topics: { t: { message_count: 0, channels: { c: { message_count: 0 } } } }, start_time: 1 },
    };
    using watching = new Watching(brokers);
    await watching.start();
    for (const broker of Object.values(brokers)) broker.topics.t = { message_count: 20, channels: { c: { message_count: 20 } } };
    await watching.pass(2_000);
    const at = async () => [
      (await watching.read<Page<TopicRow>>("/topics")).rows[0]!.in_rate,
      ...(await watching.read<Page<BrokerRow>>("/brokers")).rows.map(({ in_rate }) => in_rate),
    ];
    expect(await at()).toEqual([20, 10, 10]);
    brokers["b:1"].start_time = 2;
    await watching.pass(2_000);
    expect(await at()).toEqual([0, 0, null]);
  });

  test("a deleted topic and a deleted channel are gone with the next poll, and their history with them", async () => {
    const topics: Record<string, { channels: Record<string, FakeChannel> }> = { t: { channels: { c: {}, d: {} } }, u: { channels: {} } };
    using watching = new Watching({ "a:1": { topics } });
    await watching.start();
    delete topics.u;
    delete topics.t!.channels.d;
    await watching.pass(2_000);
    expect((await watching.read<Page<TopicRow>>("/topics")).rows.map(({ topic }) => topic)).toEqual(["t"]);
    expect((await watching.read<Page<ChannelRow>>("/channels")).rows.map(({ channel }) => channel)).toEqual(["c"]);
    expect(watching.views.read("/history?topic=u", ANYBODY.grants)).rejects.toThrow("TOPIC_NOT_FOUND");
    expect(watching.views.read("/topics/t/d", ANYBODY.grants)).rejects.toThrow("CHANNEL_NOT_FOUND");
  });
});
