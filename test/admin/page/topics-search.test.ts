import { expect, test } from "bun:test";
import type { MessagePage, MessageRow } from "../../../src/admin/message-api.ts";
import { TopicsSearch, type TopicsSource } from "../../../src/admin/page/messages/topics-search.ts";
import { ApiError } from "../../../src/admin/page/state/api-error.ts";

const row = (topic: string, time: string): MessageRow => ({
  broker: "a:4151",
  topic,
  id: `${topic}-${time}`,
  sequence: 1,
  timestamp: time,
  size: 1,
  body: "",
  body_bytes: 1,
});
const page = (messages: MessageRow[], next: string | null = null, more: Partial<MessagePage> = {}): MessagePage => ({
  messages,
  next,
  scanned: 10,
  ...more,
});

/** Topics whose pages are given one after the other; what was asked for is noted. */
function sourceOf(topics: Record<string, (MessagePage | Error)[]>): TopicsSource & { asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    topics: async () => Object.keys(topics),
    page: async (topic, from) => {
      asked.push(`${topic} ${from ?? "beginning"}`);
      const next = topics[topic]?.shift();
      if (next === undefined || next instanceof Error) throw next ?? new Error("asked once too often");
      return next;
    },
  };
}

test("each topic gets one step of a round, and the next round goes on only where a topic has more", async () => {
  const source = sourceOf({
    large: [page([], "p2"), page([row("large", "3")], "p3"), page([])],
    small: [page([row("small", "2")])],
    other: [page([row("other", "1")], "q2"), page([])],
  });
  let changes = 0;
  const search = new TopicsSearch(source, () => changes++);
  await search.goOn();
  expect(source.asked.sort()).toEqual(["large beginning", "other beginning", "small beginning"]);
  expect([search.found.begun, search.found.finished, search.found.topics, search.hasMore]).toEqual([3, 1, 3, true]);
  source.asked.length = 0;
  await search.goOn();
  expect(source.asked.sort()).toEqual(["large p2", "other q2"]);
  expect(search.found.rows.map(({ topic }) => topic)).toEqual(["other", "small", "large"]);
  await search.goOn();
  expect([search.found.finished, search.found.scanned, search.hasMore]).toEqual([3, 60, false]);
  expect(changes).toBe(7);
});

test("a topic that is gone or cannot be read does not end the search; one that is refused does", async () => {
  const source = sourceOf({
    gone: [new ApiError(404, "TOPIC_NOT_FOUND", "")],
    broken: [new ApiError(502, "UPSTREAM_ERROR", "no answer")],
    fine: [page([row("fine", "1")], null, { unavailable: [{ broker: "go:4151", message: "nsqd" }] })],
    too: [page([], null, { unavailable: [{ broker: "go:4151", message: "nsqd" }] })],
  });
  const search = new TopicsSearch(source, () => {});
  await search.goOn();
  expect([search.found.rows.length, search.found.finished, search.hasMore]).toEqual([1, 4, false]);
  expect(search.found.unavailable.map(({ broker }) => broker).sort()).toEqual(["go:4151", "topic broken"]);

  const refused = new TopicsSearch(sourceOf({ a: [new ApiError(400, "INVALID_ARG_Q", "")], b: [page([])] }), () => {});
  expect(refused.goOn()).rejects.toThrow("INVALID_ARG_Q");
});

test("a search waits to be told to go on when it has found enough, or is stopped, and goes on with the topics that are left", async () => {
  const many = (topic: string) => Array.from({ length: 100 }, (_, i) => row(topic, String(1000 + i)));
  const topics = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`t${i}`, [page(many(`t${i}`))]]));
  const search = new TopicsSearch(sourceOf(topics), () => {});
  await search.goOn();
  // Three are looked at at the same time.
  expect(search.found.rows.length).toBe(300);
  expect(search.hasMore).toBe(true);
  await search.goOn();
  expect([search.found.rows.length, search.found.finished]).toEqual([600, 6]);

  const source = sourceOf({ a: [page([])], b: [page([])], c: [page([])], d: [page([])], e: [page([])] });
  const stopped = new TopicsSearch(source, () => stopped.stop());
  await stopped.goOn();
  const { length } = source.asked;
  expect(length).toBeLessThan(5);
  expect(stopped.hasMore).toBe(true);
});
