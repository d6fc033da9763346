import { describe, expect, test } from "bun:test";
import type { ChannelRow, Overview, Page, TopicRow } from "../../../src/admin/console-api.ts";
import { ANYBODY } from "../support/anybody.ts";
import { Watching } from "../support/watching.ts";

async function watchTopics(depths: Record<string, number>, more: object = {}) {
  const topics = Object.fromEntries(
    Object.entries(depths).map(([name, depth]) => [name, { depth, message_count: 1, channels: {}, ...more }]),
  );
  const watching = new Watching({ "a:1": { topics } });
  await watching.start();
  return watching;
}

async function names(watching: Watching, query: string): Promise<string[]> {
  return (await watching.read<Page<TopicRow>>(`/topics?${query}`)).rows.map(({ topic }) => topic);
}

describe("a list", () => {
  test("is sorted either way, equal rows by their names", async () => {
    using watching = await watchTopics({ d: 1, b: 3, a: 1, c: 2 });
    expect(await names(watching, "")).toEqual(["a", "b", "c", "d"]);
    expect(await names(watching, "sort=-topic")).toEqual(["d", "c", "b", "a"]);
    expect(await names(watching, "sort=depth")).toEqual(["a", "d", "c", "b"]);
    expect(await names(watching, "sort=-depth")).toEqual(["b", "c", "a", "d"]);
  });

  test("has what is not known at its end, either way", async () => {
    const topics = {
      known: { channels: { c: { oldest_age_ms: 5 } } },
      unknown: { channels: { c: {} } },
      old: { channels: { c: { oldest_age_ms: 9 } } },
    };
    using watching = new Watching({ "a:1": { topics } });
    await watching.start();
    expect(await names(watching, "sort=oldest_age_ms")).toEqual(["known", "old", "unknown"]);
    expect(await names(watching, "sort=-oldest_age_ms")).toEqual(["old", "known", "unknown"]);
  });

  test("is filtered by a part of a name in any case, and cut into pages", async () => {
    const depths = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`Orders-${String(i).padStart(2, "0")}`, i]));
    using watching = await watchTopics({ ...depths, other: 1, "with#ephemeral": 1 });
    expect(await names(watching, "filter=%23")).toEqual(["with#ephemeral"]);
    const { rows, total, offset } = await watching.read<Page<TopicRow>>("/topics?filter=orders&sort=-depth&offset=10&limit=5");
    expect([rows.map(({ depth }) => depth), total, offset]).toEqual([[19, 18, 17, 16, 15], 30, 10]);
    expect(await names(watching, "filter=orders&offset=100")).toEqual([]);
  });

  test.each(["sort=nonsense", "sort=-", "limit=1001", "limit=-1", "limit=x", "offset=1e3", `filter=${"x".repeat(301)}`])(
    "is refused for %s",
    async (query) => {
      using watching = await watchTopics({ a: 1 });
      expect(watching.views.read(`/topics?${query}`, ANYBODY.grants)).rejects.toThrow(`INVALID_ARG_${query.split("=")[0]!.toUpperCase()}`);
    },
  );

  test("of a topic or a broker has its figures alone", async () => {
    const at = (depth: number) => ({ topics: { t: { channels: { c: { depth } } }, [`only${depth}`]: { channels: {} } } });
    using watching = new Watching({ "a:1": at(1), "b:1": at(2) });
    await watching.start();
    const channels = async (query: string) => (await watching.read<Page<ChannelRow>>(`/channels?${query}`)).rows;
    expect(await channels("topic=t")).toMatchObject([{ depth: 3, brokers: 2 }]);
    expect(await channels("topic=only1")).toEqual([]);
    expect(await channels("broker=b:1")).toMatchObject([{ depth: 2, brokers: 1 }]);
    const { rows } = await watching.read<Page<TopicRow>>("/topics?broker=a:1");
    expect(rows).toMatchObject([
      { topic: "only1", depth: 0 },
      { topic: "t", depth: 1, brokers: 1 },
    ]);
    expect(watching.views.read("/topics?broker=c:1", ANYBODY.grants)).rejects.toThrow("BROKER_NOT_FOUND");
  });

  test.each(["/", "", "/nonsense", "/topics/", "/topics/a/b/c", "/brokers/a:1", "topics", "/topics/%zz"])(
    "view %p is not found",
    async (view) => {
      using watching = await watchTopics({ a: 1 });
      expect(watching.views.read(view, ANYBODY.grants)).rejects.toThrow("NOT_FOUND");
    },
  );

  test("of the worst channels has ten at most, and none that is well", async () => {
    const channels = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`c${i}`, { depth: (i * 7) % 40 }]));
    using watching = new Watching({ "a:1": { topics: { t: { channels } } } });
    await watching.start();
    const { worst } = await watching.read<Overview>("/overview");
    expect(worst.depth.map(({ depth }) => depth)).toEqual([39, 38, 37, 36, 35, 34, 33, 32, 31, 30]);
    expect(worst.timeout_rate).toEqual([]);
    expect(worst.oldest_age_ms).toEqual([]);
  });
});
