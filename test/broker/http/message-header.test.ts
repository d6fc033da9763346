import { expect, test } from "bun:test";
import { murmur3 } from "../../../src/client/murmur3.ts";
import { requestBytes } from "../../behaviour/differential/support/http-wire.ts";
import { makeTopic } from "../../behaviour/youzan/support/site.ts";
import type { RawClient } from "../../support/raw-client.ts";
import { WithHttp } from "../../support/with-http.ts";

const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TYPES = [
  "application/x-www-form-urlencoded",
  "text/plain;charset=UTF-8",
  "multipart/form-data; boundary=x",
  "Application/Octet-Stream",
];

/** The header of the next message as an extended consumer gets it, and the body. Without a header: the body alone. */
async function next(consumer: RawClient): Promise<string> {
  const { bytes } = await consumer.message();
  if (bytes[30] === 0) return bytes.toString("utf8", 31);
  const to = 33 + bytes.readUInt16BE(31);
  return `${bytes.toString("utf8", 33, to)} ${bytes.toString("utf8", to)}`;
}

/** A broker with a topic and a consumer who gets headers. */
async function site(partitions = 1) {
  const server = WithHttp.start();
  server.broker.registry.topicWith("t", partitions);
  const consumer = await server.started.consumer("t", "c", 100, { extend_support: true });
  return { server, consumer, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** A request on a connection of its own, which may take the fast path. */
async function send(server: WithHttp, target: string, body: string, lines: string[]): Promise<string> {
  const socket = await server.socket();
  socket.write(requestBytes("POST", target, body, lines));
  await socket.until((bytes) => bytes.toString().includes("\r\n\r\n"));
  return socket.received().toString().slice(9, 12);
}

test("what a request says of a header arrives at consumers who know headers, and at no others", async () => {
  await using at = await site();
  const { server, consumer } = at;
  const plain = await server.started.consumer("t", "plain", 100);
  const ext = '{ "a" : "b", "n": 12345678901234567890, "ü":[1] }';
  const cases: [query: string, lines: string[], header: string][] = [
    [`&ext=${encodeURIComponent(ext)}`, [], ext],
    ["", ["X-Nsqext-Region: eu", "x-NSQEXT-b: grün"], '{"b":"grün","region":"eu"}'],
    ["&ext=%7B%22region%22%3A%22us%22%2C%22n%22%3A1%7D", ["X-Nsqext-REGION: eu"], '{"region":"eu","n":1}'],
    ["&key=k%C3%BC", [], '{"##key":"kü"}'],
    ["", ["Message-Key: kü"], '{"##key":"kü"}'],
    ["&key=a", ["Message-Key: b"], '{"##key":"a"}'],
    ["", [`traceparent: ${TRACEPARENT}`, "tracestate: a=1"], `{"traceparent":"${TRACEPARENT}","tracestate":"a=1"}`],
    ["", ["Content-Type: application/json; charset=utf-8"], '{"content-type":"application/json; charset=utf-8"}'],
    ["", ["Content-Type: application/json; charset=utf-8"], '{"content-type":"application/json; charset=utf-8"}'],
    ["", ["Content-Type: text/csv; name=grün"], '{"content-type":"text/csv; name=grün"}'],
    ["", ["Content-Type: text/csv", `traceparent: ${TRACEPARENT}`], `{"content-type":"text/csv","traceparent":"${TRACEPARENT}"}`],
    ["&ext=%7B%22content-type%22%3A%22x%22%7D", ["Content-Type: text/csv"], '{"content-type":"x"}'],
    ["", ["X-Nsqext-__proto__: p"], '{"__proto__":"p"}'],
  ];
  for (const [query, lines, header] of cases) {
    for (const call of ["pub", "mpub"]) {
      expect([
        lines,
        await send(
          server,
          `/${call}?topic=t${query}`,
          "body",
          lines.map((line) => Buffer.from(line).toString("latin1")),
        ),
      ]).toEqual([lines, "200"]);
      expect(await next(consumer)).toBe(`${header} body`);
      expect((await plain.message()).bytes.toString("latin1", 30)).toBe("body");
    }
  }
});

test("without any of it messages are plain, by the fast path and by the other one", async () => {
  await using at = await site();
  const { server, consumer } = at;
  const types = [...TYPES, "*/*", "nothing", "a/b, c/d"].map((type) => `Content-Type: ${type}`);
  const lines = [...types, "traceparent: 00-0-0-00", "tracestate: a=1", "X-Nsqext-: x", "X-Other: 1"];
  for (const line of lines) {
    // The second one is not for the fast path.
    for (const more of [[], ["Connection: keep-alive, keep-alive"]]) {
      expect(await send(server, "/pub?topic=t", line, [line, ...more])).toBe("200");
      expect(await next(consumer)).toBe(line);
    }
  }
  expect(server.broker.registry.topic("t").partitions[0].log.mayHaveHeaders).toBe(false);
});

test("the messages of a batch have the same header, and their key says where they go", async () => {
  await using at = await site(5);
  const { server, consumer } = at;
  for (const key of ["a", "b", "customer 7"]) {
    expect(await server.call("POST", `/mpub?topic=t&key=${encodeURIComponent(key)}`, "one\ntwo\n")).toBe("200 OK");
    for (const body of ["one", "two"]) expect(await next(consumer)).toBe(`{"##key":"${key}"} ${body}`);
    expect(await server.call("POST", `/pub?topic=t&key=${encodeURIComponent(key)}`, "three")).toBe("200 OK");
    expect(await next(consumer)).toBe(`{"##key":"${key}"} three`);
    const counts = server.broker.registry.topic("t").partitions.map(({ messageCount }) => messageCount);
    expect(counts[murmur3(key) % 5]).toBeGreaterThanOrEqual(3);
  }
  expect(await server.call("POST", "/pub?topic=t&key=a&partition=3", "named")).toBe("200 OK");
  expect(server.broker.registry.topic("t").partition(3)?.messageCount).toBe(murmur3("a") % 5 === 3 ? 4 : 1);
});

test("a deferred publish keeps its header, over a restart too", async () => {
  await using at = await site();
  const { server } = at;
  expect(await server.call("POST", "/pub?topic=t&key=k&defer=1500", "later", { "X-Nsqext-A": "b" })).toBe("200 OK");
  await server.restart();
  const again = await server.started.consumer("t", "c", 1, { extend_support: true });
  expect(await next(again)).toBe('{"a":"b","##key":"k"} later');
});

test("a header that cannot be is refused, and so is a partition at another broker", async () => {
  await using at = await site();
  const { server } = at;
  const call = (query: string, headers: Record<string, string> = {}) => server.call("POST", `/pub?topic=t&${query}`, "x", headers);
  const ext = (value: unknown) => call(`ext=${encodeURIComponent(typeof value === "string" ? value : JSON.stringify(value))}`);
  for (const value of ["", "{", "[1]", "1", '"a"', "null"]) expect(await ext(value)).toBe('400 {"message":"E_INVALID_JSON_HEADER"}');
  expect(await ext({ a: "x".repeat(65_534) })).toStartWith("4");
  expect(await ext({ "##key": "" })).toBe('400 {"message":"E_INVALID_JSON_HEADER"}');
  expect(await ext({ "##client_dispatch_tag": "t".repeat(101) })).toBe('400 {"message":"E_INVALID_JSON_HEADER"}');
  for (const id of [1, "x", "18446744073709551616"]) expect(await ext({ "##trace_id": id })).toBe('400 {"message":"INVALID_TRACE_ID"}');
  for (const key of ["", "k".repeat(1_025), encodeURIComponent("é".repeat(513))]) {
    expect(await call(`key=${key}`)).toBe('400 {"message":"INVALID_MESSAGE_KEY"}');
  }
  expect(await call("", { "Message-Key": "" })).toBe('400 {"message":"INVALID_MESSAGE_KEY"}');
  expect(await call(`key=${"k".repeat(1_024)}`)).toBe("200 OK");
  server.broker.registry.topicWith("far", 4, { held: [1] });
  const elsewhere = [..."abcdefgh"].find((key) => murmur3(key) % 4 !== 1);
  for (const query of ["partition=2", `key=${elsewhere}`]) {
    for (const path of ["pub", "mpub"]) {
      expect(await server.call("POST", `/${path}?topic=far&${query}`, "x")).toBe('409 {"message":"PARTITION_NOT_HERE"}');
    }
    const youzan = `/pub_ext?topic=far&ext=%7B%7D&${query}`;
    expect(await server.call("POST", youzan, "x")).toBe('400 {"message":"E_FAILED_ON_NOT_LEADER"}');
  }
  expect(await server.call("POST", "/pub?topic=far&partition=4", "x")).toBe('404 {"message":"PARTITION_NOT_FOUND"}');
});

test("a topic that takes no headers goes without those that nobody asked for", async () => {
  await using server = WithHttp.start();
  makeTopic(server.broker, "t", { extended: false });
  const json = { "Content-Type": "application/json", traceparent: TRACEPARENT };
  expect(await server.call("POST", "/pub?topic=t", "1", json)).toBe("200 OK");
  expect(await send(server, "/pub?topic=t", "2", ["Content-Type: application/json"])).toBe("200");
  expect(await server.call("POST", "/pub?topic=t&defer=0", "3", json)).toBe("200 OK");
  expect(server.broker.registry.topic("t").partitions[0].log.mayHaveHeaders).toBe(false);
  for (const query of ["key=k", "ext=%7B%7D"]) {
    expect(await server.call("POST", `/pub?topic=t&${query}`, "x")).toBe('400 {"message":"E_EXT_NOT_SUPPORT"}');
  }
});

test("Youzan's calls are answered in its words, and say where a message is", async () => {
  await using server = WithHttp.start();
  makeTopic(server.broker, "plain", { extended: false });
  makeTopic(server.broker, "ext", { extended: true }, 3);
  const post = (target: string, body = "abcde", headers?: Record<string, string>) => server.call("POST", target, body, headers);
  const accepts = { Accept: "application/vnd.nsq; version=1.0" };
  const ext = (text: string) => `ext=${encodeURIComponent(text)}`;
  // The cases of the recorded session (test/behaviour/youzan/captures).
  expect(await post("/pubtrace?topic=plain")).toBe('400 {"message":"INVALID_TRACE_ID"}');
  expect(await post(`/pub_ext?topic=plain&${ext('{"k":"v"}')}`)).toBe('400 {"message":"E_EXT_NOT_SUPPORT"}');
  expect(await post("/pub_ext?topic=plain", "x", { "X-Nsqext-A": "b" })).toBe('400 {"message":"E_INVALID_JSON_HEADER"}');
  expect(await post(`/pub_ext?topic=plain&${ext('{"##trace_id":"123"}')}`)).toBe('400 {"message":"E_EXT_NOT_SUPPORT"}');
  const first = JSON.parse((await post("/pubtrace?topic=plain&trace_id=12345")).slice(4));
  const { message_id: id, ...known } = first;
  expect(known).toEqual({ status: "OK", id: 1, trace_id: "12345", queue_offset: 0, rawsize: 35 });
  expect((await server.json("GET", `/message?topic=plain&id=${id}`)).body).toBe("abcde");
  const second = await post("/pubtrace?topic=plain&trace_id=18446744073709551615");
  expect(second).toStartWith('200 {"status":"OK","id":2,"trace_id":"18446744073709551615","queue_offset":');

  expect(await post(`/pub_ext?topic=ext&${ext("{}")}`)).toBe("200 OK");
  const traced = `/pub_ext?topic=ext&partition=2&${ext('{"##trace_id":"7"}')}`;
  // 2 << 50, and 1 for the first message.
  expect(await post(traced, "abcde", accepts)).toStartWith(
    '200 {"status":"OK","id":2251799813685249,"trace_id":"7","queue_offset":0,"rawsize":56,',
  );
  expect(await post(traced)).toStartWith('200 {"status_code":200,"status_txt":"OK","data":{"status":"OK","id":2251799813685250,');

  // Where the first one is, is not known.
  for (const call of [traced, "/pubtrace?topic=plain&trace_id=1"]) {
    const key = { "Idempotency-Key": call };
    expect(await post(call, "x", key)).toStartWith("200 {");
    expect(await post(call, "x", key)).toBe("200 OK");
  }

  for (const call of [`/pub_ext?${ext("{}")}`, "/pubtrace?trace_id=1"]) {
    expect(await post(call)).toBe('400 {"message":"MISSING_ARG_TOPIC"}');
    expect(await post(`${call}&topic=a!`)).toBe('400 {"message":"INVALID_ARG_TOPIC"}');
    expect(await post(`${call}&topic=none`)).toBe('404 {"message":"E_TOPIC_NOT_EXIST"}');
    expect(await post(`${call}&topic=ext&partition=3`)).toBe('404 {"message":"E_TOPIC_NOT_EXIST"}');
    expect(await post(`${call}&topic=ext&partition=zz`)).toBe('400 {"message":"strconv.Atoi: parsing \\"zz\\": invalid syntax"}');
    expect(await post(`${call}&topic=ext&partition=-1`)).toStartWith("200 ");
    expect(await post(`${call}&topic=ext`, "")).toBe('406 {"message":"MSG_EMPTY"}');
  }
  expect(server.broker.registry.topics.has("none")).toBe(false);
  server.broker.publishing.startDraining();
  expect(await post("/pubtrace?topic=plain&trace_id=1")).toBe('400 {"message":"E_FAILED_ON_NOT_WRITABLE"}');
});
