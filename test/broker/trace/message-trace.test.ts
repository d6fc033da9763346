import { expect, test } from "bun:test";
import type { LifeEvent as ConsoleLifeEvent } from "../../../src/admin/message-api.ts";
import type { LifeEvent } from "../../../src/broker/trace/life.ts";
import { messages } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";
import { WithHttp } from "../../support/with-http.ts";

const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/** The console's type and the broker's are the same. */
async function life(broker: WithHttp, topic: string, id: string, channel?: string): Promise<ConsoleLifeEvent[]> {
  const target = `/message/trace?topic=${topic}&id=${id}${channel === undefined ? "" : `&channel=${channel}`}`;
  const { events } = (await broker.json("GET", target)) as { events: LifeEvent[] };
  return events;
}

function kinds(events: readonly ConsoleLifeEvent[]): string[] {
  return events.map(({ kind, channel, attempts }) => [kind, channel, attempts].filter((part) => part !== null).join(" "));
}

async function traced(changes: Parameters<typeof WithHttp.start>[0] = {}): Promise<WithHttp> {
  const broker = WithHttp.start(changes);
  await broker.call("POST", "/topic/create?topic=t");
  await broker.call("POST", "/channel/create?topic=t&channel=c");
  expect(await broker.json("POST", "/topic/trace?topic=t&on=true")).toMatchObject({ topic_name: "t", on: true });
  return broker;
}

async function idOf(broker: WithHttp, body: string, topic = "t"): Promise<string> {
  const { messages } = (await broker.json("GET", `/topic/messages?topic=${topic}`)) as { messages: { id: string; body: string }[] };
  return messages.find((message) => message.body === body)?.id ?? "";
}

test("a message that was requeued twice, timed out once and finished is followed from publish to finish by its body", async () => {
  await using broker = await traced();
  const producer = await broker.started.client();
  await producer.call("IDENTIFY", JSON.stringify({ client_id: "maker", hostname: "host-m" }));
  for (const body of ["other", "the one", "another"]) await producer.call("PUB t", body);
  const identity = { client_id: "worker", hostname: "host-w", msg_timeout: 1000 };
  const worker = await broker.started.consumer("t", "c", 1, identity);
  let attempts = 0;
  for (let finished = 0; finished < 3; ) {
    const { text, id } = await worker.message();
    const deliveries = text === "the one" ? ++attempts : 0;
    if (deliveries === 1) worker.command(`REQ ${id} 0`);
    else if (deliveries === 2) worker.command(`REQ ${id} 400`);
    else if (deliveries === 3) worker.command(`TOUCH ${id}`);
    else {
      worker.command(`FIN ${id}`);
      finished++;
    }
  }
  await until("nothing is in flight", () => broker.broker.registry.topics.get("t")?.channels.get("c")?.inFlightCount === 0);
  const events = await life(broker, "t", await idOf(broker, "the one"));
  expect(kinds(events)).toEqual([
    "published",
    "delivered c 1",
    "requeued c 1",
    "delivered c 2",
    "requeued c 2",
    "delivered c 3",
    "touched c 3",
    "timed_out c 3",
    "delivered c 4",
    "finished c 4",
  ]);
  expect(events[0]?.by).toMatch(/^maker on host-m \(127\.0\.0\.1:\d+\)$/);
  for (const { by } of events.slice(1)) expect(by).toMatch(/^worker on host-w \(127\.0\.0\.1:\d+\)$/);
  expect(events.filter(({ kind }) => kind === "requeued").map(({ delay_ms }) => delay_ms)).toEqual([0, 400]);
  const times = events.map(({ time }) => time);
  expect(times).toEqual([...times].sort((a, b) => a - b));
  expect(Math.abs((times[0] ?? 0) - Date.now())).toBeLessThan(60_000);
  expect(await broker.json("GET", `/message?topic=t&id=${await idOf(broker, "the one")}`)).toMatchObject({ traced: true });
});

test("a batch and its run of deliveries are told for each message of it", async () => {
  await using broker = await traced();
  const producer = await broker.started.client();
  producer.mpub("t", ["a", "b", "c"]);
  await producer.response();
  const worker = await broker.started.consumer("t", "c", 10);
  const got = await messages(worker, 3);
  // Not in their order, so that they are no run.
  for (const { id } of [got[1], got[0], got[2]] as { id: string }[]) worker.command(`FIN ${id}`);
  for (const { id } of got) {
    await until("it is recorded", async () => kinds(await life(broker, "t", id)).includes("finished c 1"));
    const events = await life(broker, "t", id);
    expect(kinds(events)).toEqual(["published", "delivered c 1", "finished c 1"]);
    expect(events[0]?.detail).toBe("one of 3 in a batch");
  }
});

test("publishes over HTTP are by their address, with the trace context that came with them, on the fast path and beside it", async () => {
  await using broker = await traced();
  const headers = { traceparent: TRACEPARENT };
  expect(await broker.call("POST", "/pub?topic=t", "fast", headers)).toBe("200 OK");
  expect(await broker.call("POST", "/pub?topic=t", "slow", { ...headers, "idempotency-key": "k" })).toBe("200 OK");
  expect(await broker.call("POST", "/pub?topic=t", "slow", { ...headers, "idempotency-key": "k" })).toBe("200 OK");
  expect(await broker.call("POST", "/mpub?topic=t", "m1\nm2", headers)).toBe("200 OK");
  expect(await broker.call("POST", "/pub?topic=t", "bad", { traceparent: TRACEPARENT.replace("00-", "ff-") })).toBe("200 OK");
  for (const body of ["fast", "slow", "m1", "m2", "bad"]) {
    const [published, ...rest] = await life(broker, "t", await idOf(broker, body));
    expect(rest).toEqual([]);
    expect(published).toMatchObject({ kind: "published", by: "HTTP 127.0.0.1", channel: null });
    if (body === "bad") expect(published?.detail).toBeNull();
    else expect(published?.detail).toContain(`traceparent ${TRACEPARENT}`);
  }
});

test("a message's life has the trace id of Youzan's clients, and the message is found by it", async () => {
  await using broker = await traced();
  const client = await broker.started.client();
  const id = Buffer.alloc(8);
  id.writeBigUInt64BE(12_345n);
  client.command("PUB_TRACE t", Buffer.concat([id, Buffer.from("pub")]));
  const header = '{"##trace_id":"18446744073709551615"}';
  client.command("PUB_EXT t", Buffer.concat([Buffer.from([0, header.length]), Buffer.from(`${header}ext`)]));
  for (let i = 0; i < 2; i++) expect((await client.next()).type).toBe("response");
  expect(await broker.call("POST", "/pubtrace?topic=t&trace_id=12345", "http")).toStartWith("200 ");
  expect(await broker.call("POST", "/pub?topic=t", "none")).toBe("200 OK");
  const found = async (traceId: string) =>
    (await broker.json("GET", `/topic/messages?topic=t&trace_id=${traceId}`)).messages.map(({ body }: { body: string }) => body);
  expect(await found("12345")).toEqual(["pub", "http"]);
  expect(await found("18446744073709551615")).toEqual(["ext"]);
  expect(await found("7")).toEqual([]);
  for (const [body, traceId] of [
    ["pub", "12345"],
    ["ext", "18446744073709551615"],
    ["http", "12345"],
    ["none", undefined],
  ] as const) {
    const answer = await broker.json("GET", `/message/trace?topic=t&id=${await idOf(broker, body)}`);
    expect([body, answer.trace_id]).toEqual([body, traceId]);
    expect([body, answer.events[0].detail]).toEqual([body, traceId === undefined ? null : `trace id ${traceId}`]);
  }
  for (const wrong of ["", "x", "18446744073709551616", "-1"]) {
    expect(await broker.call("GET", `/topic/messages?topic=t&trace_id=${wrong}`)).toBe('400 {"message":"INVALID_TRACE_ID"}');
  }
});

test("a publish's tracestate is kept with its traceparent, and one that is not valid is dropped alone", async () => {
  await using broker = await traced();
  const longest = `a=${"x".repeat(254)},b=${"y".repeat(253)}`;
  const publish = async (body: string, tracestate: string, more: Record<string, string> = {}) =>
    expect(await broker.call("POST", "/pub?topic=t", body, { traceparent: TRACEPARENT, tracestate, ...more })).toBe("200 OK");
  const { traceparent, ...besideTheFastPath } = { traceparent: TRACEPARENT, "idempotency-key": "k" };
  await publish("fast", "rojo=1, congo=2");
  await publish("slow", "rojo=1, congo=2", besideTheFastPath);
  await publish("longest", longest);
  await publish("invalid", "rojo");
  await publish("after", "last=1");
  const body = "alone";
  await broker.call("POST", "/pub?topic=t", body, { tracestate: "rojo=1" });
  await broker.call("POST", "/pub?topic=t", "badParent", { tracestate: "rojo=1", traceparent: traceparent.slice(1) });
  // Several headers are one list.
  const socket = await broker.socket();
  const head = `Host: x\r\nContent-Length: 7\r\ntraceparent: ${TRACEPARENT}\r\ntracestate: a=1\r\nTracestate: b=2\r\n`;
  socket.write(`POST /pub?topic=t HTTP/1.1\r\n${head}\r\nseveral`);
  const expected: [string, string | null][] = [
    ["fast", `traceparent ${TRACEPARENT}; tracestate rojo=1,congo=2`],
    ["slow", `traceparent ${TRACEPARENT}; tracestate rojo=1,congo=2`],
    ["longest", `traceparent ${TRACEPARENT}; tracestate ${longest}`],
    ["invalid", `traceparent ${TRACEPARENT}`],
    ["after", `traceparent ${TRACEPARENT}; tracestate last=1`],
    [body, null],
    ["badParent", null],
    ["several", `traceparent ${TRACEPARENT}; tracestate a=1,b=2`],
  ];
  for (const [name, detail] of expected) {
    await until(`${name} is there`, async () => (await idOf(broker, name)) !== "");
    const events = await life(broker, "t", await idOf(broker, name));
    expect([name, events.map((event) => event.detail)]).toEqual([name, [detail]]);
  }
});

test("a batch and a deferred publish keep their tracestate for each of their messages, over a restart", async () => {
  await using broker = await traced();
  const headers = { traceparent: TRACEPARENT, tracestate: `rojo=${"x".repeat(100)}` };
  const text = `traceparent ${TRACEPARENT}; tracestate ${headers.tracestate}`;
  expect(await broker.call("POST", "/mpub?topic=t", "m1\nm2", headers)).toBe("200 OK");
  expect(await broker.call("POST", "/pub?topic=t&defer=20", "late", headers)).toBe("200 OK");
  await until("it is due", async () => (await idOf(broker, "late")) !== "");
  await broker.restart();
  for (const name of ["m1", "m2"]) {
    expect((await life(broker, "t", await idOf(broker, name)))[0]?.detail).toBe(`one of 2 in a batch; ${text}`);
  }
  const [deferred, joined] = await life(broker, "t", await idOf(broker, "late"));
  expect(deferred).toMatchObject({ kind: "deferred", detail: text });
  expect(joined).toMatchObject({ kind: "published" });
});

test("the id that a deferred publish gets when it is due leads to both of its events", async () => {
  await using broker = await traced();
  const producer = await broker.started.client();
  await producer.call("DPUB t 30", "late");
  expect(await broker.call("POST", "/pub?topic=t&defer=30", "late too", { traceparent: TRACEPARENT })).toBe("200 OK");
  const worker = await broker.started.consumer("t", "c", 5);
  for (const { id, text } of await messages(worker, 2)) {
    const events = await life(broker, "t", id);
    expect(kinds(events)).toEqual(["deferred", "published", "delivered c 1"]);
    expect(events[0]).toMatchObject({ delay_ms: 30 });
    expect(events[0]?.by).toMatch(text === "late" ? /^127\.0\.0\.1 on 127\.0\.0\.1 \(/ : /^HTTP 127\.0\.0\.1$/);
    expect(events[1]?.by).toBe(events[0]?.by as string);
    if (text === "late too") expect(events[0]?.detail).toBe(`traceparent ${TRACEPARENT}`);
  }
});

test("what operators do to a message is in its trace, in every state that it may have", async () => {
  await using broker = await traced();
  for (const body of ["in flight", "deferred", "waiting"]) await broker.call("POST", "/pub?topic=t", body);
  const worker = await broker.started.consumer("t", "c", 2);
  const [first, second] = await messages(worker, 2);
  worker.command(`REQ ${second?.id} 600000`);
  const channel = broker.broker.registry.topics.get("t")?.channels.get("c");
  await until("it is stored", () => channel?.partitions[0].deferrals.storedCount === 1);
  const waiting = await idOf(broker, "waiting");
  worker.command("RDY 0");
  // What was delivered meanwhile is put back.
  for (const id of [first?.id, second?.id, waiting]) {
    expect(await broker.call("POST", `/message/requeue?topic=t&channel=c&id=${id}&defer=700000`)).toBe("200");
    expect(await broker.call("POST", `/message/finish?topic=t&channel=c&id=${id}`)).toBe("200");
    const events = await life(broker, "t", id ?? "");
    const own = events.filter(({ by }) => by === "operator at 127.0.0.1");
    expect(kinds(own).map((text) => text.replace(/ \d$/, ""))).toEqual(["requeued c", "finished c"]);
    expect(own[0]).toMatchObject({ delay_ms: 700_000, detail: "an operator's call" });
  }
});

test("a consumer that leaves, a seek, an emptying and a deletion are in the trace of a message that they concern", async () => {
  await using broker = await traced();
  for (const body of ["a", "b"]) await broker.call("POST", "/pub?topic=t", body);
  const worker = await broker.started.consumer("t", "c", 1);
  const { id } = await worker.message();
  const b = await idOf(broker, "b");
  worker.close();
  const channel = () => broker.broker.registry.topics.get("t")?.channels.get("c");
  await until("the consumer is gone", () => channel()?.consumers.length === 0);
  await broker.json("POST", "/channel/seek?topic=t&channel=c&to=beginning");
  await broker.call("POST", "/channel/empty?topic=t&channel=c");
  await broker.call("POST", "/channel/empty?topic=t&channel=c");
  await broker.json("POST", "/channel/seek?topic=t&channel=c&to=sequence:1");
  await broker.call("POST", "/channel/delete?topic=t&channel=c");
  const events = await life(broker, "t", id);
  expect(kinds(events)).toEqual(["published", "delivered c 1", "requeued c 1", "moved c", "discarded c"]);
  expect(events[2]?.detail).toBe("its consumer disconnected");
  expect(events[4]?.detail).toBe("the channel was emptied");
  const others = await life(broker, "t", b);
  expect(kinds(others)).toEqual(["published", "discarded c", "moved c", "discarded c"]);
  expect(others.at(-1)?.detail).toBe("the channel was deleted");
});

test("messages of an emptied topic, and those that an ephemeral channel drops, are discarded", async () => {
  await using broker = WithHttp.start({ memQueueSize: 2 });
  await broker.call("POST", "/topic/create?topic=t");
  await broker.json("POST", "/topic/trace?topic=t&on=true");
  await broker.call("POST", "/pub?topic=t", "gone");
  const id = await idOf(broker, "gone");
  await broker.call("POST", "/topic/empty?topic=t");
  const [, emptied] = await life(broker, "t", id);
  expect(emptied).toMatchObject({ kind: "discarded", channel: null, detail: "the topic was emptied" });
  await broker.started.consumer("t", "c#ephemeral");
  await broker.call("POST", "/mpub?topic=t", "1\n2\n3\n4");
  const dropped = await idOf(broker, "2");
  await until("it is recorded", async () => kinds(await life(broker, "t", dropped)).includes("discarded c#ephemeral"));
  expect(kinds(await life(broker, "t", await idOf(broker, "3")))).toEqual(["published"]);
});

test("one channel alone can be traced, and its messages begin with their timestamp", async () => {
  await using broker = await traced();
  expect(await broker.json("POST", "/topic/trace?topic=t&on=false")).toMatchObject({ on: false });
  await broker.call("POST", "/channel/create?topic=t&channel=d");
  expect(await broker.json("POST", "/channel/trace?topic=t&channel=d&on=true")).toMatchObject({ on: true, own: true });
  expect(await broker.json("GET", "/channel/trace?topic=t&channel=c")).toMatchObject({ on: false, own: false });
  expect(await broker.json("GET", "/topic/trace?topic=t")).toMatchObject({ on: false, channels: ["d"] });
  await broker.call("POST", "/pub?topic=t", "x");
  const workers = [await broker.started.consumer("t", "c", 1), await broker.started.consumer("t", "d", 1)];
  for (const worker of workers) {
    worker.command(`FIN ${(await worker.message()).id}`);
  }
  const id = await idOf(broker, "x");
  await until("it is recorded", async () => kinds(await life(broker, "t", id)).includes("finished d 1"));
  const events = await life(broker, "t", id);
  expect(kinds(events)).toEqual(["published", "delivered d 1", "finished d 1"]);
  expect(events[0]).toMatchObject({ by: null, detail: "by the message's timestamp; the topic was not traced" });
  // With the topic traced, one channel can be looked at.
  await broker.json("POST", "/topic/trace?topic=t&on=true");
  await broker.call("POST", "/pub?topic=t", "y");
  const both = await idOf(broker, "y");
  for (const worker of workers) await worker.message();
  expect(kinds(await life(broker, "t", both))).toHaveLength(3);
  expect(kinds(await life(broker, "t", both, "c"))).toEqual(["published", "delivered c 1"]);
});

test("Youzan's calls do the same, and the settings hold over a restart", async () => {
  await using broker = WithHttp.start();
  for (const call of ["/topic/create?topic=t", "/topic/create?topic=u", "/channel/create?topic=u&channel=c"])
    await broker.call("POST", call);
  expect(await broker.call("POST", "/message/trace/enable?topic=t")).toBe("200");
  expect(await broker.call("POST", "/message/trace/enable?topic=u&channel=c&slow=true")).toBe("200");
  expect(await broker.call("POST", "/message/trace/enable?topic=u&channel=none")).toBe('404 {"message":"CHANNEL_NOT_FOUND"}');
  expect(await broker.call("POST", "/message/trace/enable")).toBe('400 {"message":"MISSING_ARG_TOPIC"}');
  await broker.restart();
  expect(await broker.json("GET", "/topic/trace?topic=t")).toMatchObject({ on: true, channels: [] });
  expect(await broker.json("GET", "/topic/trace?topic=u")).toMatchObject({ on: false, channels: ["c"] });
  await broker.call("POST", "/pub?topic=t", "x");
  const id = await idOf(broker, "x");
  expect(kinds(await life(broker, "t", id))).toEqual(["published"]);
  expect(await broker.call("POST", "/message/trace/disable?topic=t")).toBe("200");
  expect(await broker.call("POST", "/message/trace/disable?topic=u&channel=c")).toBe("200");
  await broker.restart();
  expect(await broker.json("GET", "/topic/trace?topic=t")).toMatchObject({ on: false, channels: [] });
  expect(await broker.json("GET", "/channel/trace?topic=u&channel=c")).toMatchObject({ on: false });
  // What was recorded is still there.
  expect(kinds(await life(broker, "t", id))).toEqual(["published"]);
});

test("a topic that is deleted and made again is not traced", async () => {
  await using broker = await traced();
  await broker.call("POST", "/topic/delete?topic=t");
  await broker.call("POST", "/topic/create?topic=t");
  expect(await broker.json("GET", "/topic/trace?topic=t")).toMatchObject({ on: false });
  await broker.restart();
  expect(await broker.json("GET", "/topic/trace?topic=t")).toMatchObject({ on: false });
});

test("calls for traces check their arguments", async () => {
  await using broker = await traced();
  for (const [method, target, answer] of [
    ["POST", "/topic/trace?topic=t", '400 {"message":"MISSING_ARG_ON"}'],
    ["POST", "/topic/trace?topic=t&on=1", '400 {"message":"INVALID_ARG_ON"}'],
    ["POST", "/topic/trace?topic=none&on=true", '404 {"message":"TOPIC_NOT_FOUND"}'],
    ["POST", "/channel/trace?topic=t&channel=none&on=true", '404 {"message":"CHANNEL_NOT_FOUND"}'],
    ["GET", "/message/trace?topic=t", '400 {"message":"MISSING_ARG_ID"}'],
    ["GET", "/message/trace?topic=t&id=x", '400 {"message":"INVALID_ARG_ID"}'],
    ["GET", "/message/trace?id=0000000000000000", '400 {"message":"MISSING_ARG_TOPIC"}'],
  ] as const) {
    expect(await broker.call(method, target)).toBe(answer);
  }
  await broker.restart({ traceBytes: 0 });
  expect(await broker.call("POST", "/topic/trace?topic=t&on=true")).toBe('400 {"message":"TRACING_DISABLED"}');
  expect(await broker.json("GET", "/topic/trace?topic=t")).toMatchObject({ on: false });
  await broker.restart({});
  expect(await broker.json("GET", "/topic/trace?topic=t")).toMatchObject({ on: true });
});
