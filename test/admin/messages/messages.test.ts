import { expect, test } from "bun:test";
import type { MessagePage, MessageRow, TailEvent } from "../../../src/admin/message-api.ts";
import { messages, numbers } from "../../support/in-process.ts";
import { missing, testUnless } from "../../support/needs.ts";
import { startServer, until } from "../../support/server.ts";
import { WithAdmin } from "../support/with-admin.ts";

const CHANNEL = "topic=t&channel=ch";

function textOf({ body }: MessageRow): string {
  return Buffer.from(body, "base64").toString();
}

/** Publishes bodies in turn to the brokers. */
async function fill({ brokers }: WithAdmin, bodies: readonly string[]): Promise<void> {
  for (const { broker } of brokers) broker.registry.topic("t").channel("ch");
  for (const [at, body] of bodies.entries()) {
    const response = await brokers[at % brokers.length]?.fetch("POST", "/pub?topic=t", body);
    expect(response?.status).toBe(200);
  }
}

/** All pages of a list. */
async function pages(site: WithAdmin, query: string): Promise<MessagePage[]> {
  const found: MessagePage[] = [];
  for (let from = ""; ; ) {
    const page: MessagePage = await site.get(`/messages?${query}${from}`);
    found.push(page);
    if (page.next === null) return found;
    from = `&from=${encodeURIComponent(page.next)}`;
  }
}

async function textsOf(site: WithAdmin, query: string): Promise<string[]> {
  return (await pages(site, query)).flatMap(({ messages }) => messages.map(textOf));
}

test("messages of several brokers are one list by time, page by page", async () => {
  await using site = WithAdmin.start();
  await fill(site, numbers(25));
  const [whole] = await pages(site, "topic=t&limit=1000");
  const rows = whole?.messages ?? [];
  const times = rows.map(({ timestamp }) => timestamp);
  expect([times, rows.map(textOf).sort()]).toEqual([times.toSorted(), numbers(25).sort()]);
  for (const limit of [1, 3, 7, 25]) expect(await textsOf(site, `topic=t&limit=${limit}`)).toEqual(rows.map(textOf));
  expect(await textsOf(site, `topic=t&broker=${site.addresses[1]}`)).toEqual(numbers(25).filter((_, at) => at % 2 === 1));
  const [page] = await pages(site, `topic=t&broker=${site.addresses[0]}&limit=100`);
  expect([page?.beginning, page?.end, page?.scanned]).toEqual([0, 13, 13]);
});

test("messages of a channel: waiting, in flight with whom, and deferred", async () => {
  await using site = WithAdmin.start({}, [], 1);
  await fill(site, numbers(12));
  const [broker] = site.brokers;
  const consumer = await broker?.started.consumer("t", "ch", 4, { client_id: "worker", hostname: "host" });
  const [first, second] = consumer === undefined ? [] : await messages(consumer, 4);
  consumer?.command("RDY 0");
  consumer?.command(`REQ ${first?.id} 0`);
  consumer?.command(`REQ ${second?.id} 60000`);
  const channel = broker?.broker.registry.topic("t").channel("ch");
  await until("one is deferred", () => channel?.deferredCount === 1 && channel.inFlightCount === 2);
  for (const limit of [1, 4, 100]) {
    expect(await textsOf(site, `${CHANNEL}&state=waiting&limit=${limit}`)).toEqual(["0", ...numbers(8, 4)]);
    expect(await textsOf(site, `${CHANNEL}&state=in_flight&limit=${limit}`)).toEqual(["2", "3"]);
    expect(await textsOf(site, `${CHANNEL}&state=deferred&limit=${limit}`)).toEqual(["1"]);
  }
  const [held] = (await site.get(`/messages?${CHANNEL}&state=in_flight`)).messages;
  expect(held).toMatchObject({ channel: "ch", state: "in_flight", attempts: 1, client: { client_id: "worker", hostname: "host" } });
  const detail = await site.get(`/message?topic=t&id=${held.id}`);
  expect(detail).toMatchObject({ id: held.id, life: [], channels: [{ channel: "ch", state: "in_flight", attempts: 1 }] });
});

test("a message's body is cut in lists, and whole by itself", async () => {
  await using site = WithAdmin.start();
  await fill(site, ["x".repeat(100_000)]);
  const [row] = (await site.get("/messages?topic=t")).messages;
  expect([row.size, row.body_bytes, textOf(row).length]).toEqual([100_000, 3072, 3072]);
  const detail = await site.get(`/message?topic=t&id=${row.id}`);
  expect([detail.body_bytes, textOf(detail)]).toEqual([100_000, "x".repeat(100_000)]);
});

test("messages are found by text, regular expression and JSON path, at all brokers", async () => {
  await using site = WithAdmin.start();
  await fill(
    site,
    numbers(40).map((n) => JSON.stringify({ order: Number(n), to: { name: n === "17" ? "Ann" : "Bob" }, items: [n] })),
  );
  const ordersFor = async (match: string, q: string) => {
    const found = await textsOf(site, `topic=t&match=${match}&q=${encodeURIComponent(q)}&limit=3`);
    // Brokers publish within the same millisecond, so the order among them is not that of the requests.
    return found.map((text) => (JSON.parse(text) as { order: number }).order).sort((a, b) => a - b);
  };
  expect(await ordersFor("text", '"Ann"')).toEqual([17]);
  expect(await ordersFor("regexp", '"order":3\\d')).toEqual(numbers(10, 30).map(Number));
  expect(await ordersFor("regexp", "(?i)ANN")).toEqual([17]);
  expect(await ordersFor("json", '$.to.name = "Ann"')).toEqual([17]);
  expect(await ordersFor("json", "$.order > 36")).toEqual([37, 38, 39]);
  expect(await ordersFor("json", '$.items[0] = "5"')).toEqual([5]);
});

test("a search ends at its bound, says what it has looked at, and goes on from there", async () => {
  await using site = WithAdmin.start({}, [], 1);
  const { broker } = site.brokers[0]?.started ?? {};
  const topic = broker?.registry.topic("t");
  if (broker === undefined || topic === undefined) throw new Error("there is no broker");
  const many = 25_000;
  await Promise.all(
    Array.from({ length: many }, (_, n) => broker.publishing.publish(topic.partitions[0], "", Buffer.from(`body ${n}`), 0)),
  );
  const found = await pages(site, "topic=t&match=text&q=body%2024999");
  expect(found.length).toBeGreaterThanOrEqual(3);
  expect(Math.max(...found.map(({ scanned }) => scanned))).toBeLessThanOrEqual(10_000);
  expect(found.reduce((sum, { scanned }) => sum + scanned, 0)).toBe(many);
  expect(found.flatMap(({ messages }) => messages.map(textOf))).toEqual(["body 24999"]);
});

test("hostile patterns and places are refused or answered, and other calls go on meanwhile", async () => {
  await using site = WithAdmin.start();
  await fill(site, [`${"a".repeat(500_000)}!`, "[".repeat(200_000), "aab"]);
  const refused = (query: string) => site.refusal(fetch(site.url(`/messages?topic=t&${query}`)));
  const q = (match: string, text: string) => refused(`match=${match}&q=${encodeURIComponent(text)}`);
  expect(await textsOf(site, `topic=t&match=regexp&q=${encodeURIComponent("^(a+)+b$")}`)).toEqual(["aab"]);
  let isAnswered = false;
  const slow = site.get(`/messages?topic=t&match=regexp&q=${encodeURIComponent("(a|b|ab)*[ab]{300}[^a]{300}c")}`).then((page) => {
    isAnswered = true;
    return page;
  });
  // The second call is answered before the first: the loop was not held.
  await site.get("/activity");
  expect(isAnswered).toBe(false);
  expect((await slow).messages).toEqual([]);
  expect(await textsOf(site, `topic=t&match=json&q=${encodeURIComponent("$.a")}`)).toEqual([]);
  for (const text of ["(", "(?=a)", "(a)\\1", "(a{1000}){1000}"]) expect(await q("regexp", text)).toBe("400 INVALID_ARG_Q");
  expect(await q("json", "$.a = x")).toBe("400 INVALID_ARG_Q");
  expect(await q("text", "x".repeat(1001))).toBe("400 INVALID_ARG_Q");
  expect(await q("other", "x")).toBe("400 INVALID_ARG_MATCH");
  expect(await refused("limit=0")).toBe("400 INVALID_ARG_LIMIT");
  expect(await refused("state=waiting")).toBe("400 MISSING_ARG_CHANNEL");
  expect(await refused("state=other")).toBe("400 INVALID_ARG_STATE");
  expect(await refused("state=waiting&channel=none")).toBe("404 CHANNEL_NOT_FOUND");
  expect(await refused("broker=127.0.0.1:1")).toBe("404 BROKER_NOT_FOUND");
  expect(await site.refusal(fetch(site.url("/messages?topic=none")))).toBe("404 TOPIC_NOT_FOUND");
  expect(await site.refusal(fetch(site.url("/message?topic=t&id=0123456789abcdef")))).toBe("404 MESSAGE_NOT_FOUND");
  const place = (value: unknown) => `from=next:${Buffer.from(JSON.stringify(value)).toString("base64url")}`;
  const good = { t: "t", c: "", s: "log", e: false, b: [[site.addresses[0], "1", 0]] };
  expect((await site.get(`/messages?topic=t&${place(good)}`)).messages.map(textOf)).toEqual(["aab"]);
  for (const bad of [
    null,
    1,
    [],
    { ...good, t: "u" },
    { ...good, b: [[1, "1", 0]] },
    { ...good, b: [["a:1", "a&b=", 0]] },
    { ...good, b: [["a:1", "1", -1]] },
  ])
    expect(await refused(place(bad))).toBe("400 INVALID_ARG_FROM");
  for (const from of ["next:", "next:!!", "nonsense"]) expect(await refused(`from=${from}`)).toBe("400 INVALID_ARG_FROM");
  // A place cannot make the console ask another server.
  const elsewhere = await site.get(`/messages?topic=t&${place({ ...good, b: [["127.0.0.1:1", "1", 0]] })}`);
  expect(elsewhere).toMatchObject({ messages: [], unavailable: [{ broker: "127.0.0.1:1" }] });
});

/** Reads a tail's events until a condition holds, and then disconnects. */
async function tailUntil(site: WithAdmin, query: string, act: () => Promise<void>, isEnough: (events: readonly TailEvent[]) => boolean) {
  const disconnect = new AbortController();
  const response = await fetch(site.url(`/tail?${query}`), { signal: disconnect.signal });
  expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream; charset=utf-8"]);
  await act();
  const events: TailEvent[] = [];
  let text = "";
  for await (const piece of response.body ?? []) {
    text += Buffer.from(piece).toString();
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const [, event, data] = /^event: (\w+)\ndata: (.*)$/.exec(text.slice(0, end)) ?? [];
      text = text.slice(end + 2);
      if (event !== undefined) events.push({ event, data: JSON.parse(data ?? "") } as TailEvent);
    }
    if (isEnough(events)) break;
  }
  disconnect.abort();
  return events.flatMap((one) => (one.event === "messages" ? one.data.messages.map(textOf) : [`unavailable ${one.data.broker}`]));
}

test("a tail shows what is published from then on, and consumes nothing", async () => {
  await using site = WithAdmin.start();
  await fill(site, numbers(5));
  const count = (events: readonly TailEvent[]) =>
    events.reduce((sum, one) => sum + (one.event === "messages" ? one.data.messages.length : 0), 0);
  const all = await tailUntil(
    site,
    "topic=t",
    () => fill(site, numbers(10, 100)),
    (events) => count(events) >= 10,
  );
  expect(all.toSorted()).toEqual(numbers(10, 100));
  const some = await tailUntil(
    site,
    "topic=t&match=regexp&q=7%24",
    () => fill(site, numbers(10, 200)),
    (events) => count(events) >= 1,
  );
  expect(some).toEqual(["207"]);
  expect(site.brokers.map(({ broker }) => broker.registry.topic("t").channel("ch").depth)).toEqual([13, 12]);
  expect(await site.refusal(fetch(site.url("/tail?topic=none")))).toBe("404 TOPIC_NOT_FOUND");
  expect(await site.refusal(fetch(site.url("/tail?topic=t&match=regexp&q=(")))).toBe("400 INVALID_ARG_Q");
});

test("a page that begins at the end goes on as a tail does", async () => {
  await using site = WithAdmin.start();
  await fill(site, numbers(3));
  const first: MessagePage = await site.get("/messages?topic=t&from=end");
  expect([first.messages.length, first.next === null]).toEqual([0, false]);
  await fill(site, numbers(2, 10));
  const second: MessagePage = await site.get(`/messages?topic=t&from=${encodeURIComponent(first.next ?? "")}`);
  expect(second.messages.map(textOf).sort()).toEqual(["10", "11"]);
  expect((await site.get(`/messages?topic=t&from=${encodeURIComponent(second.next ?? "")}`)).messages).toEqual([]);
});

testUnless(missing("nsqd"))("a broker that cannot show its messages, and one that is down, are said to be", async () => {
  await using nsqd = await startServer({ program: "nsqd", args: ["--broadcast-address=127.0.0.1"] });
  const go = `127.0.0.1:${nsqd.httpPort}`;
  await using site = WithAdmin.start({}, [go, "127.0.0.1:1"], 1);
  await nsqd.http("POST", "/pub?topic=t", "theirs");
  await fill(site, ["ours"]);
  const page: MessagePage = await site.get("/messages?topic=t");
  expect(page.messages.map(textOf)).toEqual(["ours"]);
  const told = new Map(page.unavailable?.map(({ broker, message }) => [broker, message]));
  expect(told.get(go)).toContain("cannot show its messages");
  expect(told.get("127.0.0.1:1")).toContain("connection refused");
  const events = await tailUntil(
    site,
    "topic=t",
    () => fill(site, ["more"]),
    (all) => all.some(({ event }) => event === "messages"),
  );
  expect(events.toSorted()).toEqual(["more", "unavailable 127.0.0.1:1", `unavailable ${go}`].toSorted());
});

/** The body of a PUB_EXT. */
function withHeader(header: object, body: string): Buffer {
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(2);
  length.writeUInt16BE(json.length);
  return Buffer.concat([length, json, Buffer.from(body)]);
}

test("messages of all partitions are one list, page by page, and those of one are to be had alone", async () => {
  await using site = WithAdmin.start();
  const [one, other] = site.brokers;
  await one?.call("POST", "/topic/create?topic=t&partition_num=5&partitions=0,1,3");
  await other?.call("POST", "/topic/create?topic=t&partition_num=5&partitions=4");
  await fill(site, numbers(24));
  const [whole] = await pages(site, "topic=t&limit=1000");
  const rows = whole?.messages ?? [];
  const times = rows.map(({ timestamp }) => timestamp);
  expect([times, rows.map(textOf).sort()]).toEqual([times.toSorted(), numbers(24).sort()]);
  expect([...new Set(rows.map(({ partition }) => partition))].sort()).toEqual([0, 1, 3, 4]);
  for (const limit of [1, 5]) expect(await textsOf(site, `topic=t&limit=${limit}`)).toEqual(rows.map(textOf));
  const third = rows.filter(({ partition }) => partition === 3);
  expect(await textsOf(site, "topic=t&partition=3&limit=2")).toEqual(third.map(textOf));
  expect((await textsOf(site, "topic=t&channel=ch&state=waiting&limit=3")).sort()).toEqual(numbers(24).sort());
  // The only one that a broker has is named by it as well.
  expect(await textsOf(site, `topic=t&partition=4&broker=${site.addresses[1]}`)).toHaveLength(12);
  const [page] = await pages(site, `topic=t&broker=${site.addresses[0]}&from=${third[1]?.id}`);
  expect(page?.messages.map(textOf)).toEqual(third.slice(1).map(textOf));
  const detail = await site.get(`/message?topic=t&id=${third[0]?.id}`);
  expect([detail.partition, detail.channels[0].state]).toEqual([3, "waiting"]);
  expect(await site.refusal(fetch(site.url("/messages?topic=t&partition=2")))).toBe("404 PARTITION_NOT_FOUND");
  for (const bad of ["x", "1024", "-1"]) {
    expect(await site.refusal(fetch(site.url(`/messages?topic=t&partition=${bad}`)))).toBe("400 INVALID_ARG_PARTITION");
  }
  const finished = await site.post("/messages", {
    ...{ action: "finish", topic: "t", channel: "ch", preview: false },
    select: { state: "waiting", partition: 3, limit: 100 },
  });
  expect(finished).toMatchObject({ count: third.length, done: third.length, failed: [] });
});

test("key, tag, trace id and header of a message are shown, and found", async () => {
  await using site = WithAdmin.start({}, [], 1);
  await fill(site, ["plain"]);
  const client = await site.brokers[0]?.started.client();
  await client?.call("IDENTIFY", JSON.stringify({ extend_support: true }));
  const header = { "##key": "user-7", "##client_dispatch_tag": "red", "##trace_id": "18446744073709551615", region: "eu" };
  await client?.call("PUB_EXT t", withHeader(header, "with a header"));
  await client?.call("PUB_EXT t", withHeader({ region: "us" }, "elsewhere"));
  const search = async (match: string, q: string) => {
    const page: MessagePage = await site.get(`/messages?topic=t&match=${match}&q=${encodeURIComponent(q)}`);
    return page.messages.map(textOf);
  };
  const [{ messages: rows } = { messages: [] }] = await pages(site, "topic=t");
  expect(rows[1]).toMatchObject({ key: "user-7", tag: "red", trace_id: "18446744073709551615", headers: header });
  for (const name of ["key", "tag", "trace_id", "headers", "partition"]) expect(rows[0]).not.toHaveProperty(name);
  expect(await site.get(`/message?topic=t&id=${rows[1]?.id}`)).toMatchObject({ key: "user-7", headers: header });
  expect(await search("key", "user-7")).toEqual(["with a header"]);
  expect(await search("key", "user")).toEqual([]);
  expect(await search("header", "user")).toEqual(["with a header"]);
  expect(await search("header", '"region":"us"')).toEqual(["elsewhere"]);
  expect(await search("header", "1844674407370955161")).toEqual(["with a header"]);
  expect(await search("text", "user-7")).toEqual([]);
});
