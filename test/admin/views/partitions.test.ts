import { expect, test } from "bun:test";
import type { ChannelDetail, ClientRow, Page, TopicDetail, TopicRow } from "../../../src/admin/console-api.ts";
import type { PartitionRow } from "../../../src/admin/partition-api.ts";
import type { FakeBroker, FakeTopic } from "../support/fake-upstream.ts";
import { Watching } from "../support/watching.ts";

/** What a broker tells of a topic with some of six partitions, two messages in each. */
function topicWith(indexes: readonly number[], here: string): FakeTopic {
  return {
    partition_num: 6,
    partitions_here: here,
    channels: { c: { depth: 2 * indexes.length }, d: {} },
    partitions: indexes.map((partition) => ({
      ...{ partition, depth: 1, message_count: 2, message_bytes: 20, log_bytes: 90 },
      channels: [
        { channel_name: "c", depth: 2, in_flight_count: 1, blocked_count: partition, message_count: 3 },
        { channel_name: "d", depth: 4, in_flight_count: 0, message_count: 5 },
      ],
    })),
  };
}

function bunsq(topics: FakeBroker["topics"]): FakeBroker {
  return { bunsq_version: "0.1.0", topics };
}

async function watch(brokers: Record<string, FakeBroker>): Promise<Watching> {
  const watching = new Watching(brokers);
  await watching.start();
  return watching;
}

const rowsOf = async (watching: Watching, query: string) => (await watching.read<Page<PartitionRow>>(`/partitions?${query}`)).rows;

test("a topic that is spread over brokers is one, and partitions that nobody has are named", async () => {
  const brokers = {
    "a:1": bunsq({ t: topicWith([0, 1], "0-1") }),
    "b:1": bunsq({ t: topicWith([4], "4"), one: { channels: {} } }),
    "go:1": { topics: { one: { channels: {} } } },
  };
  using watching = await watch(brokers);
  const partitions = { count: 6, missing: 3, missing_indexes: "2-3,5" };
  expect((await watching.read<TopicDetail>("/topics/t")).partitions).toEqual(partitions);
  expect((await watching.read<ChannelDetail>("/topics/t/c")).partitions).toEqual(partitions);
  const { rows } = await watching.read<Page<TopicRow>>("/topics");
  expect(rows.map(({ topic, partitions }) => [topic, partitions?.count])).toEqual([
    ["one", undefined],
    ["t", 6],
  ]);
  const listed = await rowsOf(watching, "topic=t");
  expect(listed.map(({ partition, broker }) => `${partition} ${broker}`)).toEqual(["0 a:1", "1 a:1", "2 ", "3 ", "4 b:1", "5 "]);
  // What waits for a topic is in it and in its channels.
  expect(listed[4]).toMatchObject({ depth: 7, in_flight: 1, blocked: 4, message_count: 2, message_bytes: 20, log_bytes: 90 });
  expect(listed[2]).toMatchObject({ key: "2|", depth: 0, message_bytes: null });
  expect(listed[2]).not.toHaveProperty("down");
  expect((await rowsOf(watching, "topic=t&channel=c&sort=-blocked"))[0]).toMatchObject({
    ...{ partition: 4, depth: 2, in_flight: 1, blocked: 4, message_count: 3, message_bytes: null, log_bytes: null },
  });
  expect(await rowsOf(watching, "topic=one")).toEqual([]);
  await expect(watching.read("/partitions?topic=x")).rejects.toThrow("TOPIC_NOT_FOUND");
  await expect(watching.read("/partitions?topic=t&channel=x")).rejects.toThrow("CHANNEL_NOT_FOUND");
});

test("a partition of a broker that is down is missing, and it is said who had it", async () => {
  const brokers: Record<string, FakeBroker> = {
    "a:1": bunsq({ t: topicWith([0, 1, 2, 3], "0-3") }),
    "b:1": bunsq({ t: topicWith([4, 5], "4-5") }),
  };
  using watching = await watch(brokers);
  expect((await watching.read<TopicDetail>("/topics/t")).partitions).toEqual({ count: 6, missing: 0, missing_indexes: "" });
  brokers["b:1"]!.down = "connection refused";
  await watching.pass(4_000);
  expect((await watching.read<TopicDetail>("/topics/t")).partitions).toEqual({ count: 6, missing: 2, missing_indexes: "4-5" });
  const [, , , , four] = await rowsOf(watching, "topic=t");
  expect(four).toMatchObject({ partition: 4, broker: "", down: ["b:1"] });
});

test("brokers that tell different counts are told of, and one that tells nonsense does no harm", async () => {
  const broken = { ...topicWith([], "0-x,,-3,9999-99999,7"), partition_num: "many", partitions: "none" };
  using watching = await watch({
    "a:1": bunsq({ t: { partition_num: 2, channels: {} }, u: broken }),
    "b:1": bunsq({
      t: { partition_num: 3, channels: {} },
      huge: { partition_num: 1e12, channels: {} },
      part: { partition_num: 2.5, channels: {} },
    }),
  });
  expect((await watching.read<TopicDetail>("/topics/t")).partitions).toEqual({ count: 3, missing: 0, missing_indexes: "", differs: true });
  expect(await watching.read<TopicDetail>("/topics/u")).not.toHaveProperty("partitions");
  expect(await rowsOf(watching, "topic=u")).toEqual([]);
  const countOf = async (topic: string) => (await watching.read<TopicDetail>(`/topics/${topic}`)).partitions?.count;
  expect([await countOf("huge"), await countOf("part")]).toEqual([1_024, 2]);
});

test("polls leave partitions out, and they are asked for while somebody looks at them alone", async () => {
  using watching = await watch({ "a:1": bunsq({ t: topicWith([0], "0") }) });
  await watching.read("/topics/t");
  await watching.read("/topics/t/c");
  await watching.pass(6_000);
  const withPartitions = () =>
    watching.upstream.asked.filter((path) => path.includes("/stats") && !path.includes("include_partitions=false"));
  expect(withPartitions()).toEqual([]);
  await Promise.all([rowsOf(watching, "topic=t&channel=c"), rowsOf(watching, "topic=t&channel=c&sort=-depth")]);
  expect(withPartitions()).toEqual(["a:1/stats?format=json&include_clients=false&include_mem=false&topic=t&channel=c"]);
  await watching.pass(60_000);
  expect(withPartitions()).toHaveLength(1);
});

test("how a channel delivers is shown, with a message that fails again and again and with dead letters", async () => {
  const delivery = { blocked_count: 3, filtered_count: 5, dead_letter_count: 2 };
  const settings = { order: "key", max_attempts: 9, dead_letter_topic: "dead" };
  const limits = { skip: true, client_limits: [{ prefix: "10.1.", ready: 5 }], rate_limit_kb: 64 };
  const told = { ...settings, ...limits, ...delivery };
  using watching = await watch({
    "a:1": bunsq({ t: { channels: { c: { delivery: { ...told, most_tried: { id: "0a", attempts: 4 } } }, plain: {} } } }),
    "b:1": bunsq({ t: { channels: { c: { delivery: { ...told, most_tried: { id: "0b", attempts: 7 } } } } } }),
    "go:1": { topics: { t: { channels: { c: {}, go: {} } } } },
  });
  const { delivery: shown, order, most_attempts, findings } = await watching.read<ChannelDetail>("/topics/t/c");
  expect(shown).toEqual({
    ...settings,
    order: "key",
    filter: null,
    limits: { ...limits, skip_zan_test: false, rate_limit: 0 },
    differs: false,
    ...{ blocked: 6, filtered: 10, dead_letters: 4 },
    most_tried: { id: "0b", attempts: 7, broker: "b:1" },
  });
  expect([order, most_attempts]).toEqual(["key", 7]);
  expect(findings).toEqual([
    {
      kind: "poison",
      text: "A message was delivered 7 times and is not finished. All of its key wait behind it. It goes to dead after 9 attempts.",
      broker: "b:1",
      message: "0b",
    },
    { kind: "dead_letters", text: "4 messages were given up and moved to dead since the brokers started.", topic: "dead" },
  ]);
  const plain = await watching.read<ChannelDetail>("/topics/t/plain");
  expect([plain.delivery?.order, plain.order, plain.findings]).toEqual(["none", undefined, []]);
  expect(await watching.read<ChannelDetail>("/topics/t/go")).not.toHaveProperty("delivery");
  const { skip: _, ...others } = told;
  watching.upstream.brokers.set("b:1", bunsq({ t: { channels: { c: { delivery: others } } } }));
  await watching.pass(3_000);
  expect((await watching.read<ChannelDetail>("/topics/t/c")).delivery?.differs).toBe(true);
});

test("consumers are shown with what they want of their channel", async () => {
  const filter = { type: 1, filter_ext_key: "k", filter_data: "v" };
  const clients = [
    { client_id: "a", remote_address: "10.0.0.1:1", desired_tag: "red", ext_filter: filter, channel_order: "key", partition: 0 },
    { client_id: "b", remote_address: "10.0.0.1:2" },
  ];
  using watching = await watch({ "a:1": bunsq({ t: { channels: { c: { client_count: 2, clients } } } }) });
  const { rows } = await watching.read<Page<ClientRow>>("/clients?topic=t");
  expect(rows[0]).toMatchObject({ tag: "red", filter, order: "key", partition: 0 });
  for (const name of ["tag", "filter", "order", "partition"]) expect(rows[1]).not.toHaveProperty(name);
});
