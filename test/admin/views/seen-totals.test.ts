import { describe, expect, test } from "bun:test";
import { Grants } from "../../../src/admin/access/grants.ts";
import type { BrokerRow, History, LookupRow, Overview, Page, ProducerRow } from "../../../src/admin/console-api.ts";
import type { Sight } from "../../../src/admin/watch/sight.ts";
import type { FakeBroker, FakeLookup, FakeTopic } from "../support/fake-upstream.ts";
import { Watching } from "../support/watching.ts";

const BROKERS = ["a:1", "b:1"];
const OWN = new Grants({ "own.*": "viewer" });
const VIEWS = [
  "/overview",
  "/brokers?sort=-depth",
  "/brokers?sort=-topics",
  "/lookups",
  "/history",
  "/history?range=24h",
  "/topics",
  "/channels",
];

/** Topics of two kinds, with figures that grow. @param kinds which of them there are */
class Traffic {
  private rounds = 1;

  constructor(private readonly kinds: readonly string[]) {}

  topics(broker: number): Record<string, FakeTopic> {
    const topics: Record<string, FakeTopic> = {};
    for (const [at, kind] of this.kinds.entries()) {
      const n = (broker + 1) * (at === 0 ? 7 : 1_000) * this.rounds;
      const channel = { depth: n, message_count: 3 * n, in_flight_count: at + 1, requeue_count: n, timeout_count: n, client_count: 2 };
      topics[`${kind}.x`] = { depth: n, message_count: 2 * n, channels: { c: channel, d: {} } };
      topics[`${kind}.y`] = { depth: 1, channels: {} };
    }
    return topics;
  }

  grow(): void {
    this.rounds++;
  }

  lookup(): FakeLookup {
    const topics = [...this.kinds.map((kind) => `${kind}.x`), ...this.kinds.map((kind) => `${kind}.idle`)];
    return { topics, brokers: BROKERS.map((address) => ({ address, topics, tombstones: topics.map((topic) => topic.endsWith(".x")) })) };
  }
}

/** A cluster with topics of some kinds, after half a minute. */
async function watch(kinds: readonly string[], sights: readonly Sight[]): Promise<Watching> {
  const traffic = new Traffic(kinds);
  const brokers = Object.fromEntries(BROKERS.map((address, at): [string, FakeBroker] => [address, { topics: traffic.topics(at) }]));
  const watching = new Watching(brokers, { lookups: () => ["l:1"], sights: () => sights });
  watching.upstream.lookups.set("l:1", traffic.lookup());
  await watching.start();
  for (let round = 0; round < 15; round++) {
    traffic.grow();
    for (const [at, address] of BROKERS.entries()) watching.upstream.brokers.get(address)!.topics = traffic.topics(at);
    watching.watcher.look();
    await watching.pass(2_000);
  }
  return watching;
}

describe("whoever may see some topics", () => {
  for (const view of VIEWS)
    test(`is shown ${view} as if there were no others`, async () => {
      using some = await watch(["own", "foreign"], [OWN]);
      using only = await watch(["own"], []);
      expect(await some.read<object>(view, OWN)).toEqual(await only.read<object>(view));
      expect(await some.read<object>(view)).not.toEqual(await only.read<object>(view));
    });

  test("is shown the figures of now also if too many sets of roles are in use to keep a history of each", async () => {
    const others = Array.from({ length: 16 }, (_, at) => new Grants({ [`other${at}.*`]: "viewer" }));
    using some = await watch(["own", "foreign"], [...others, OWN]);
    using only = await watch(["own"], []);
    const { spark, brokers, ...seen } = await some.read<Overview>("/overview", OWN);
    const { spark: sparkOfOnly, brokers: brokersOfOnly, ...expected } = await only.read<Overview>("/overview");
    expect(seen).toEqual(expected);
    expect(sparkOfOnly.depth).not.toEqual(spark.depth);
    expect(brokers.map(({ depth, topics }) => [depth, topics])).toEqual(brokersOfOnly.map(({ depth, topics }) => [depth, topics]));
    expect(spark.depth.every((value) => value === null)).toBe(true);
    expect((await some.read<History>("/history", OWN)).series.depth.every((value) => value === null)).toBe(true);
    expect((await some.read<History>("/history", others[0])).series.depth).toContain(0);
  });

  test("is shown of producers what they publish to these topics", async () => {
    const producer = (port: number, counts: [topic: string, count: number][]) => ({
      client_id: `p${port}`,
      remote_address: `10.0.0.1:${port}`,
      publish_errors: 2,
      pub_counts: counts.map(([topic, count]) => ({ topic, count })),
    });
    using watching = new Watching({
      "a:1": {
        topics: { "own.x": { channels: {} }, "foreign.x": { channels: {} } },
        producers: [
          producer(1, [
            ["own.x", 3],
            ["foreign.x", 100],
          ]),
          producer(2, [["foreign.x", 5]]),
        ],
      },
    });
    await watching.start();
    const { rows, total } = await watching.read<Page<ProducerRow>>("/producers", OWN);
    expect(total).toBe(1);
    expect(rows).toMatchObject([{ client_id: "p1", count: 3, published: [{ topic: "own.x", count: 3 }], rate: null, errors: null }]);
    expect((await watching.read<Page<ProducerRow>>("/producers?sort=-count")).rows.map(({ count }) => count)).toEqual([103, 5]);
  });

  test("costs one look at each name, for however many views and polls", async () => {
    let looks = 0;
    const counted: Sight = {
      key: "counted",
      seesAll: false,
      maySee: (topic) => {
        looks++;
        return OWN.maySee(topic);
      },
    };
    using watching = await watch(["own", "foreign"], [counted]);
    for (const view of VIEWS) await watching.read(view, counted);
    const before = looks;
    await watching.pass(10_000);
    for (const view of VIEWS) for (let page = 0; page < 10; page++) await watching.read(view, counted);
    expect(looks).toBe(before);
  });

  test("has a history no more when no role says so", async () => {
    let sights: Sight[] = [OWN];
    using watching = new Watching({ "a:1": { topics: { "own.x": { depth: 4, channels: {} } } } }, { sights: () => sights });
    await watching.start();
    await watching.pass(10_000);
    expect((await watching.read<History>("/history", OWN)).series.depth).toContain(4);
    sights = [];
    await watching.pass(10_000);
    expect((await watching.read<History>("/history", OWN)).series.depth).not.toContain(4);
    expect(await watching.read<Overview>("/overview", OWN)).toMatchObject({ depth: 4 });
  });
});

test("what a broker is as a machine is told to everybody", async () => {
  using watching = new Watching({ "a:1": { topics: { foreign: { channels: {} } }, log_bytes: 5, disk_free_bytes: 6, bunsq_version: "1" } });
  await watching.start();
  const { rows } = await watching.read<Page<BrokerRow>>("/brokers", OWN);
  expect(rows).toMatchObject([{ address: "a:1", log_bytes: 5, disk_free_bytes: 6, topics: 0, tombstones: [] }]);
  expect((await watching.read<Page<LookupRow>>("/lookups", OWN)).rows).toEqual([]);
});
