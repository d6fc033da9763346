import { expect, test } from "bun:test";
import type { MessagePage, MessageRow } from "../../../src/admin/message-api.ts";
import { idsByBroker, joined, searchOf, searchPath } from "../../../src/admin/page/messages/search.ts";
import { VirtualWindow } from "../../../src/admin/page/parts/virtual-window.ts";
import { until } from "../../support/server.ts";

test("only the rows in sight and a few beside them are drawn, wherever the list is scrolled to", () => {
  const rows = new VirtualWindow(32, 8);
  expect(rows.inSight(0, 640, 50_000)).toEqual({ first: 0, end: 29 });
  expect(rows.inSight(32 * 25_000, 640, 50_000)).toEqual({ first: 24_992, end: 25_029 });
  expect(rows.inSight(32 * 50_000, 640, 50_000)).toEqual({ first: 49_971, end: 50_000 });
  // The list has become shorter.
  expect(rows.inSight(32 * 50_000, 640, 3)).toEqual({ first: 0, end: 3 });
});

test("a window around the rows in sight is asked for once, and only when they are not there", async () => {
  const rows = new VirtualWindow(32, 8);
  const asked: number[] = [];
  rows.ask(0, 45, 0, 120, (offset) => asked.push(offset));
  for (let top = 100; top <= 1000; top += 100) rows.ask(top, top + 45, 0, 120, (offset) => asked.push(offset));
  await until("the window is asked for", () => asked.length > 0);
  rows.ask(1000, 1045, 0, 120, (offset) => asked.push(offset));
  expect(asked).toEqual([960]);
  rows.stop();
});

const row = (sequence: number, more: Partial<MessageRow> = {}): MessageRow => ({
  broker: "a:4151",
  topic: "t",
  id: String(sequence),
  sequence,
  timestamp: `2026-11-28T00:00:00.${sequence}Z`,
  size: 0,
  body: "",
  body_bytes: 0,
  ...more,
});
const page = (...sequences: number[]): MessagePage => ({ messages: sequences.map((at) => row(at)), next: null, scanned: 0 });
const sequences = (rows: readonly MessageRow[]) => rows.map(({ sequence }) => sequence);

test("pages of messages join without repeating one, and a tail has the newest in front", () => {
  expect(sequences(joined([row(1), row(2)], page(2, 3).messages, "behind"))).toEqual([1, 2, 3]);
  expect(sequences(joined([row(2), row(1)], page(2, 3, 4).messages, "in front"))).toEqual([4, 3, 2, 1]);
  expect(sequences(joined([row(2), row(1)], page(3, 4).messages, "in front", 3))).toEqual([4, 3, 2]);
});

test("an id belongs to its broker, and a deferred publish has none", () => {
  const ids = idsByBroker([row(1), row(1, { broker: "b:4151" }), row(2), row(3, { id: null })]);
  expect([...ids]).toEqual([
    ["a:4151", ["1", "2"]],
    ["b:4151", ["1"]],
  ]);
});

test("what is looked for is in the address, and what does not fit is put right", () => {
  const search = searchOf(new URLSearchParams("topic=t&channel=c&state=in_flight&match=json&q=$.a = 1"));
  const given = { topic: "t", channel: "c", broker: "", partition: "", state: "in_flight", from: "", match: "json", q: "$.a = 1" } as const;
  expect(search).toEqual(given);
  expect(searchPath({ ...search, partition: "0" })).toContain("&partition=0&");
  expect(searchPath(search)).toBe("/messages?topic=t&channel=c&state=in_flight&match=json&q=%24.a+%3D+1&limit=100");
  // Without a channel nothing waits and nothing is in flight.
  expect(searchOf(new URLSearchParams("topic=t&state=waiting")).state).toBe("log");
  expect(searchOf(new URLSearchParams("topic=t&channel=c&state=nonsense&match=sql"))).toMatchObject({ state: "log", match: "text" });
});

test("without a channel only the log is looked for, since the other states are a channel's", () => {
  const stateOf = (query: string) => searchOf(new URLSearchParams(query)).state;
  expect(["waiting", "in_flight", "deferred", ""].map((state) => stateOf(`topic=t&state=${state}`))).toEqual(Array(4).fill("log"));
  expect(stateOf("topic=t&channel=c&state=deferred")).toBe("deferred");
});
