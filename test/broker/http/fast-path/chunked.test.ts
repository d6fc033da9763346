import { expect, test } from "bun:test";
import { BAD_TRAILER, ChunkedBody, ENDED, MORE, UNUSUAL } from "../../../../src/broker/http/fast-path/chunked-body.ts";
import { readResponses } from "../../../behaviour/differential/support/http-wire.ts";
import { Random, seedFromEnvironment } from "../../../support/random.ts";
import { until } from "../../../support/server.ts";
import { WithHttp } from "../../../support/with-http.ts";

/** Decodes a text in pieces. @returns what it says, its data, and what is behind it */
function decode(text: string, cut: (left: number) => number = (left) => left): [status: number, data: string, behind: string] {
  const bytes = Buffer.from(text, "latin1");
  const body = new ChunkedBody();
  let data = "";
  let at = 0;
  while (at < bytes.length && body.status === MORE) {
    const end = at + cut(bytes.length - at);
    while (at < end && body.status === MORE) {
      at = body.feed(bytes, at, end);
      data += bytes.toString("latin1", body.dataFrom, body.dataTo);
    }
  }
  return [body.status, data, bytes.toString("latin1", at)];
}

test("bodies in chunks are decoded, with extensions and trailer fields, and nothing behind them is", () => {
  expect(decode("5\r\nhello\r\n0\r\n\r\nPOST")).toEqual([ENDED, "hello", "POST"]);
  expect(decode('3\r\na\r\n\r\n0A;x=1;y="z"\r\n0123456789\r\n000\r\n\r\n')).toEqual([ENDED, "a\r\n0123456789", ""]);
  expect(decode("5 \r\nhello\r\n0\r\nX-Sum: 1\r\nother:\r\n\r\nnext")).toEqual([ENDED, "hello", "next"]);
  expect(decode("5\r\nhel")).toEqual([MORE, "hel", ""]);
});

test.each([
  "\r\n",
  "x\r\n",
  " 5\r\nhello\r\n",
  "+5\r\nhello\r\n",
  "-5\r\nhello\r\n",
  "0x5\r\nhello\r\n",
  "5\nhello\r\n",
  "5\r\nhelloX\r\n",
  "5\r\nhello\n0\r\n",
  "5\r\nhello\rX",
  "123456789\r\n",
  "5 x\r\nhello\r\n",
  "5;\x01\r\nhello\r\n",
  `5;${"x".repeat(5000)}`,
  `${"1;".padEnd(4000, "x")}\r\na\r\n`.repeat(10),
])("%j is no body in chunks", (text) => expect(decode(text)[0]).toBe(UNUSUAL));

test.each([
  "0\r\nno field\r\n\r\n",
  "0\r\n: x\r\n\r\n",
  "0\r\nX Y: z\r\n\r\n",
  "0\r\nX: \x00\r\n\r\n",
  "0\r\nX: 1\n\n",
  "0\r\n folded\r\n\r\n",
  `0\r\nX: ${"y".repeat(5000)}`,
  `0\r\n${`X: ${"y".repeat(1000)}\r\n`.repeat(10)}\r\n`,
])("the trailer section of %j is none", (text) => expect(decode(text)[0]).toBe(BAD_TRAILER));

const seed = seedFromEnvironment();

test(`a body says the same however it is cut (BUNSQ_SEED=${seed})`, () => {
  const random = Random.forPart(seed, 0);
  for (let round = 0; round < 3000; round++) {
    let text = "";
    for (let chunks = random.int(0, 4); chunks > 0; chunks--) {
      const data = "x\r\n0".repeat(random.int(1, 5));
      text += `${data.length.toString(16)}${random.pick(["", "", ";e=1"])}\r\n${data}\r\n`;
    }
    text += `0\r\n${random.pick(["", "", "X: 1\r\n", "X: 1\r\ny:\r\n"])}\r\n${random.pick(["", "GET"])}`;
    if (random.chance(0.5)) {
      const at = random.int(0, text.length - 1);
      text = text.slice(0, at) + random.pick(["\r", "\n", "0", "", "\x00", "\r\n", ";"]) + text.slice(at + 1);
    }
    expect([text, ...decode(text, (left) => random.int(1, Math.min(left, 7)))]).toEqual([text, ...decode(text)]);
  }
});

/** The head of a publish in chunks. */
function head(path: string, ...headers: string[]): string {
  return [`POST ${path} HTTP/1.1`, "Host: x", "Transfer-Encoding: chunked", ...headers, "", ""].join("\r\n");
}

async function statuses(http: WithHttp, request: string, count: number, cut = request.length): Promise<string[]> {
  const socket = await http.socket();
  for (let at = 0; at < request.length; at += cut) {
    socket.write(Buffer.from(request.slice(at, at + cut), "latin1"));
    if (cut < request.length) await new Promise(setImmediate);
  }
  return (await readResponses(socket, count, false)).map(({ statusLine, body }) => `${statusLine.split(" ")[1]} ${body}`.trimEnd());
}

const published = (http: WithHttp, topic = "t") => http.broker.registry.topics.get(topic)?.messageCount ?? 0;

test("a publish in chunks with a trailer section is published and answered 200, wherever it is cut", async () => {
  await using http = WithHttp.start();
  const request = `${head("/pub?topic=t", "Trailer: X-Sum")}5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n`;
  const lines = `${head("/mpub?topic=t")}4\r\na\nb\n\r\n2\r\nc\n\r\n0\r\nX-Sum: 1\r\n\r\n`;
  expect(await statuses(http, request, 1)).toEqual(["200 OK"]);
  expect(await statuses(http, request, 1, 1)).toEqual(["200 OK"]);
  expect(await statuses(http, request, 1, 13)).toEqual(["200 OK"]);
  expect(await statuses(http, lines, 1, 7)).toEqual(["200 OK"]);
  expect(await statuses(http, request + lines + request, 3)).toEqual(["200 OK", "200 OK", "200 OK"]);
  expect(await http.bodies("t", 11)).toEqual(["hello", "hello", "hello", "a", "b", "c", "hello", "a", "b", "c", "hello"]);
});

test("a large body in chunks is published whole, and its memory is freed", async () => {
  await using http = WithHttp.start();
  const data = "x".repeat(50_000);
  const request = `${head("/pub?topic=t")}${`c350\r\n${data}\r\n`.repeat(10)}0\r\nX: 1\r\n\r\n`;
  expect(await statuses(http, request, 1, 64 * 1024)).toEqual(["200 OK"]);
  const [body] = await http.bodies("t", 1);
  expect(body).toBe(data.repeat(10));
});

test("what is refused in chunks is refused as before, and not published", async () => {
  await using http = WithHttp.start({ maxMsgSizeBytes: 100 });
  const body = (...chunks: string[]) => `${chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("")}0\r\n\r\n`;
  const long = "y".repeat(80);
  expect(await statuses(http, head("/pub?topic=t") + body(), 1)).toEqual(['400 {"message":"MSG_EMPTY"}']);
  expect(await statuses(http, head("/pub?topic=t") + body(long, long), 1)).toEqual(['413 {"message":"MSG_TOO_BIG"}']);
  expect(await statuses(http, head("/mpub?topic=t") + body(`a\n${long}`, `${long}\n`), 1)).toEqual(['413 {"message":"MSG_TOO_BIG"}']);
  expect(await statuses(http, head("/mpub?topic=t&binary=true") + body("\0\0\0\x01\0\0"), 1)).toEqual(['413 {"message":"BAD_MESSAGE"}']);
  expect(published(http)).toBe(0);
});

test.each(["5\r\nhello\r\nzz\r\n", "5\r\nhelloX\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\nno field\r\n\r\n", "5\r\nhello\r\n0\r\nX: 1\n\n"])(
  "%j is answered 400, and nothing is published",
  async (body) => {
    await using http = WithHttp.start();
    for (const cut of [6, 11, 1000]) expect((await statuses(http, head("/pub?topic=t") + body, 1, cut))[0]).toStartWith("400");
    expect(published(http)).toBe(0);
  },
);

test("a body that never ends publishes nothing, and leaves nothing behind", async () => {
  await using http = WithHttp.start();
  const socket = await http.socket();
  socket.write(`${head("/pub?topic=t")}5\r\nhello\r\n0\r\nX-Sum: 1\r\n`);
  await http.call("GET", "/ping");
  socket.destroy();
  const { load } = (http.http as unknown as { api: { front: { load: { underWay: number } } } }).api.front;
  await until("it is gone", () => load.underWay === 0);
  expect(published(http)).toBe(0);
});

const WITH_TRAILER = "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";

for (const announced of [[], ["Trailer: X-Sum"]]) {
  const how = announced.length === 0 ? "not announced" : "announced";
  test(`of what Bun.serve() answers 400 because of a trailer section, which was ${how}, nothing is published`, async () => {
    await using http = WithHttp.start();
    const forms = [
      head("/pub?topic=t&defer=1", ...announced),
      head("/mpub?topic=%74", ...announced),
      head("/pub?topic=t", "Idempotency-Key: k", ...announced),
      head("/pub?topic=t", "Connection: close", ...announced),
    ];
    for (const form of forms) expect((await statuses(http, form + WITH_TRAILER, 1))[0]).toStartWith("400");
    const plain = `GET /ping HTTP/1.1\r\nHost: x\r\n\r\n`;
    expect((await statuses(http, plain + head("/pub?topic=t", ...announced) + WITH_TRAILER, 2))[1]).toStartWith("400");
    expect(published(http)).toBe(0);
    for (const form of forms) expect(await statuses(http, `${form}5\r\nhello\r\n0\r\n\r\n`, 1)).toEqual(["200 OK"]);
  });
}

test("a body in chunks waits for room in the budget for large bodies, and is published then", async () => {
  await using http = WithHttp.start({}, { bodyBytes: 300_000 });
  const data = "x".repeat(50_000);
  const sockets = await Promise.all([http.socket(), http.socket(), http.socket()]);
  const start = `${head("/pub?topic=t")}${`c350\r\n${data}\r\n`.repeat(4)}`;
  for (const socket of sockets) socket.write(start);
  for (const socket of sockets) socket.write(`c350\r\n${data}\r\n0\r\nX: 1\r\n\r\n`);
  for (const socket of sockets) expect((await readResponses(socket, 1, false))[0].statusLine).toContain("200");
  expect((await http.bodies("t", 3)).every((body) => body === data.repeat(5))).toBe(true);
});
