import { describe, expect, test } from "bun:test";
import type { LookupRow, Overview, Page, TopicDetail, TopicRow } from "../../../src/admin/console-api.ts";
import { until } from "../../support/server.ts";
import { Console } from "../support/console.ts";
import { Watching } from "../support/watching.ts";
import { WithAdmin } from "../support/with-admin.ts";

const HOUR_MS = 3_600_000;

describe("what was done by the console", () => {
  /** Polls take longer than any test: what is shown was asked because of what was done. */
  const site = () => WithAdmin.start({ pollIntervalMs: HOUR_MS });

  async function watched(count = 2): Promise<WithAdmin> {
    const started = site();
    await until("all brokers are watched", async () => {
      const { rows } = await started.get("/brokers");
      return rows.length === count && rows.every(({ down }: { down?: string }) => down === undefined);
    });
    return started;
  }

  test("is in the next answer: topics and channels that it has made, paused and deleted", async () => {
    await using console = await watched();
    await console.post("/actions", { action: "create", topic: "t", channel: "c" });
    expect(await console.get("/topics/t")).toMatchObject({ brokers: 2, channels: 1, paused: 0 });
    await console.post("/actions", { action: "pause", topic: "t" });
    expect(await console.get("/topics/t")).toMatchObject({ paused: 2 });
    await console.post("/actions", { action: "delete", topic: "t", broker: console.addresses[0], confirm: "t" });
    expect(await console.get("/topics/t")).toMatchObject({ brokers: 1 });
    await console.post("/actions", { action: "delete", topic: "t", confirm: "t" });
    expect((await fetch(console.url("/topics/t"))).status).toBe(404);
  });

  test("is in the next answer also if a script has done it by nsqadmin's calls, or published a message", async () => {
    await using console = await watched();
    const legacy = (path: string, method: string, body: string) => fetch(console.url("").replace("/api/v1", path), { method, body });
    expect((await legacy("/api/topics", "POST", '{"topic":"t","channel":"c"}')).status).toBe(200);
    expect(await console.get("/topics")).toMatchObject({ total: 1, rows: [{ topic: "t", brokers: 2 }] });
    await console.post("/messages", { action: "publish", topic: "t", body: "aGk=", preview: false });
    expect(await console.get("/topics/t")).toMatchObject({ message_count: 1 });
    expect((await legacy("/api/topics/t/c", "DELETE", "")).status).toBe(200);
    expect(await console.get("/topics/t")).toMatchObject({ channels: 0 });
  });

  test("comes to pages by their streams", async () => {
    await using brokers = await watched();
    await using console = new Console({ nsqdHttpAddresses: [...brokers.addresses], pollIntervalMs: HOUR_MS });
    const stream = await console.stream("/topics");
    await console.until<Overview>("both are watched", "/overview", ({ brokers: rows }) => rows.every(({ down }) => down === undefined));
    const init = { method: "POST", headers: { "Content-Type": "application/json" } };
    await fetch(`${console.origin}/api/v1/actions`, { ...init, body: JSON.stringify({ action: "create", topic: "t" }) });
    await until("the topic", () => (stream.views.get("/topics")?.rows as TopicRow[] | undefined)?.[0]?.brokers === 2);
    stream.close();
  });
});

describe("a refresh", () => {
  const STATS = "/stats";

  async function watching(): Promise<Watching> {
    const started = new Watching({ "a:1": { topics: {} }, "b:1": { topics: {} } }, { pollMs: HOUR_MS });
    await started.start();
    return started;
  }

  test("asks only the servers that were changed, once for all changes that come while one is under way", async () => {
    using on = await watching();
    const before = on.upstream.askedFor("a:1", STATS);
    for (let change = 0; change < 100; change++) {
      on.watcher.noteChange("a:1");
      on.watcher.refresh();
    }
    await on.settle();
    await on.pass(3_000);
    expect(on.upstream.askedFor("a:1", STATS)).toBe(before + 2);
    expect(on.upstream.askedFor("b:1", STATS)).toBe(before);
  });

  test("is made at most four times a second, and not for a server that is not watched", async () => {
    using on = await watching();
    const before = on.upstream.askedFor("a:1", STATS);
    for (let change = 0; change < 1_000; change++) {
      on.watcher.noteChange("a:1");
      on.watcher.noteChange("elsewhere:1");
      on.watcher.refresh();
      on.clock.advance(10);
      await on.settle();
    }
    const asked = on.upstream.askedFor("a:1", STATS) - before;
    expect(asked).toBeGreaterThan(30);
    expect(asked).toBeLessThanOrEqual(42);
    expect(on.upstream.askedFor("elsewhere:1", "")).toBe(0);
  });

  test("is waited for by views, for a second at most", async () => {
    using on = await watching();
    const answer = Promise.withResolvers<void>();
    Object.assign(on.upstream.brokers.get("a:1")!, { delay: answer.promise, topics: { t: { channels: {} } } });
    on.watcher.noteChange("a:1");
    on.watcher.refresh();
    let shown: Page<TopicRow> | undefined;
    const reading = on.read<Page<TopicRow>>("/topics").then((page) => {
      shown = page;
    });
    await on.settle();
    expect(shown).toBeUndefined();
    await on.pass(1_000);
    await reading;
    expect(shown?.total).toBe(0);
    answer.resolve();
    await on.settle();
    await on.pass(2_000);
    on.watcher.noteChange("a:1");
    on.watcher.refresh();
    expect((await on.read<TopicDetail>("/topics/t")).topic).toBe("t");
  });

  test("asks a server again whose answer under way may be older than the change", async () => {
    using on = await watching();
    const broker = on.upstream.brokers.get("a:1")!;
    const answer = Promise.withResolvers<void>();
    broker.delay = answer.promise;
    on.watcher.noteChange("a:1");
    on.watcher.refresh();
    await on.settle();
    const before = on.upstream.askedFor("a:1", STATS);
    on.watcher.noteChange("a:1");
    on.watcher.refresh();
    answer.resolve();
    delete broker.delay;
    await on.settle();
    await on.pass(1_000);
    expect(on.upstream.askedFor("a:1", STATS)).toBe(before + 1);
  });

  test("asks lookups for topics that only they have", async () => {
    using on = new Watching({}, { brokers: () => [], lookups: () => ["l:1"], pollMs: HOUR_MS });
    on.upstream.lookups.set("l:1", { topics: [], brokers: [] });
    await on.start();
    on.upstream.lookups.get("l:1")!.topics.push("t");
    expect((await on.read<Page<LookupRow>>("/lookups")).rows).toMatchObject([{ topics: 0 }]);
    on.watcher.noteChange("l:1");
    on.watcher.refresh();
    expect(await on.read<Page<TopicRow>>("/topics")).toMatchObject({ total: 1, rows: [{ topic: "t", inactive: true }] });
  });
});
