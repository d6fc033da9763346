import { beforeEach, expect, test } from "bun:test";
import type { StreamEvent } from "../../../src/admin/console-api.ts";
import { LiveStore } from "../../../src/admin/page/state/live-store.ts";

interface Opened {
  views: readonly string[];
  isClosed: boolean;
  send(event: StreamEvent): void;
  opened(): void;
  lose(): void;
}

const streams: Opened[] = [];
const loaded: string[] = [];
/** What waits, with its time in ms. */
let waiting: { ms: number; callback: () => void }[] = [];
let store: LiveStore;
let unwatch: (() => void)[] = [];

beforeEach(() => {
  streams.length = 0;
  loaded.length = 0;
  waiting = [];
  unwatch = [];
  store = new LiveStore({
    connect: (views, send, opened, lose) => {
      const stream: Opened = { views, isClosed: false, send, opened, lose };
      streams.push(stream);
      return {
        close: () => {
          stream.isClosed = true;
        },
      };
    },
    load: async (view) => {
      loaded.push(view);
      if (view === "/topics/gone") throw new Error("TOPIC_NOT_FOUND");
      return { loaded: view };
    },
    later: (ms, callback) => {
      const timer = { ms, callback };
      waiting.push(timer);
      return () => {
        waiting = waiting.filter((other) => other !== timer);
      };
    },
  });
});

const last = () => streams.at(-1)!;

/** Lets the time pass that something waits for. */
function pass(): void {
  for (const { callback } of waiting.splice(0)) callback();
}

/** Watches views, and waits until the stream is opened. */
function watch(...views: string[]): void {
  unwatch.push(...views.map((view) => store.watch(view)));
  pass();
}

test("views that are watched together come by one stream", () => {
  watch("/overview", "/topics?limit=200");
  expect(streams.map(({ views }) => views)).toEqual([["/overview", "/topics?limit=200"]]);
  last().send({ event: "full", view: "/overview", data: { depth: 1 } });
  last().send({ event: "delta", view: "/overview", data: { set: { depth: 2 } } });
  expect(store.view("/overview").data.value).toEqual({ depth: 2 });
  expect(store.status.value.state).toBe("live");
});

test("another view opens another stream, and the data of the one before stay for the way back", () => {
  watch("/topics");
  last().send({ event: "full", view: "/topics", data: { rows: [] } });
  unwatch.pop()?.();
  watch("/brokers");
  expect(streams[0]?.isClosed).toBe(true);
  expect(last().views).toEqual(["/brokers"]);
  expect(store.view("/topics").data.value).toEqual({ rows: [] });
  // What the closed stream still says does not count.
  streams[0]?.send({ event: "full", view: "/brokers", data: "late" });
  expect(store.view("/brokers").data.value).toBeUndefined();
});

test("a view that nobody watches any more ends the stream", () => {
  watch("/topics");
  unwatch.pop()?.();
  pass();
  expect(last().isClosed).toBe(true);
  expect(store.status.value.state).toBe("idle");
});

test("a change that does not fit what is there opens the stream anew", () => {
  watch("/topics");
  last().send({ event: "full", view: "/topics", data: { rows: [{ topic: "a" }] } });
  last().send({ event: "delta", view: "/topics", data: { order: ["a", "b"] } });
  expect(streams.length).toBe(2);
  expect(store.view("/topics").data.value).toEqual({ rows: [{ topic: "a" }] });
});

test("while the stream is lost, views are loaded by calls, and it says when the next try is", async () => {
  watch("/topics", "/topics/gone");
  const before = Date.now();
  last().lose();
  expect(store.status.value.state).toBe("lost");
  expect(store.status.value.retryAt).toBeGreaterThanOrEqual(before + 1000);
  await Promise.resolve();
  expect(loaded.sort()).toEqual(["/topics", "/topics/gone"]);
  expect(store.view("/topics").data.value).toEqual({ loaded: "/topics" });
  expect(store.view("/topics/gone").error.value).toEqual(new Error("TOPIC_NOT_FOUND"));
});

test("each try waits twice as long as the one before, until one succeeds", () => {
  watch("/topics");
  const waits: number[] = [];
  for (let tries = 0; tries < 7; tries++) {
    last().lose();
    waits.push(...waiting.map(({ ms }) => ms));
    pass();
    // A lost stream that is tried again is not live yet.
    expect(store.status.value.state).toBe("lost");
  }
  expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  expect(streams.length).toBe(8);
  last().opened();
  expect(store.status.value.state).toBe("live");
  last().lose();
  expect(waiting.map(({ ms }) => ms)).toEqual([1000]);
});

test("a view that there is not any more says why, and the others go on", () => {
  watch("/topics/orders", "/overview");
  last().send({ event: "full", view: "/topics/orders", data: { topic: "orders" } });
  last().send({ event: "full", view: "/overview", data: { depth: 1 } });
  last().send({ event: "error", view: "/topics/orders", data: { status: 404, message: "TOPIC_NOT_FOUND" } });
  expect(store.view("/topics/orders").data.value).toBeUndefined();
  expect(String(store.view("/topics/orders").error.value)).toBe("ApiError: TOPIC_NOT_FOUND");
  expect(store.view("/overview").data.value).toEqual({ depth: 1 });
});

test("of the activity the newest is kept, and not without end", () => {
  watch("/overview");
  const activity = { user: "ada", from: "", action: "pause", topic: "a", channel: "", server: "", ok: true, detail: "" };
  for (let time = 0; time < 600; time++) last().send({ event: "activity", data: { ...activity, time } });
  expect(store.activity.value.length).toBe(500);
  expect(store.activity.value[0]?.time).toBe(599);
});

test("a page that nobody sees has no stream, and one that is seen again has what was shown until the new comes", () => {
  watch("/overview");
  last().send({ event: "full", view: "/overview", data: { depth: 1 } });
  store.pause();
  expect([last().isClosed, store.status.value.state]).toEqual([true, "idle"]);
  // What begins to be watched meanwhile waits, too.
  watch("/topics");
  store.reconnect();
  expect(streams.length).toBe(1);
  expect(store.view("/overview").data.value).toEqual({ depth: 1 });
  store.resume();
  expect(streams.length).toBe(2);
  expect(last().views.toSorted()).toEqual(["/overview", "/topics"]);
  store.resume();
  expect(streams.length).toBe(2);
});

test("a lost stream is not tried again while nobody sees the page", () => {
  watch("/overview");
  last().lose();
  store.pause();
  pass();
  expect(streams.length).toBe(1);
});
