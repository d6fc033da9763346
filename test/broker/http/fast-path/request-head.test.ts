import { expect, test } from "bun:test";
import { INCOMPLETE, MAX_HEAD_BYTES, OTHER, RequestHead } from "../../../../src/broker/http/fast-path/request-head.ts";

const REQUEST_LINE = "POST /pub?topic=orders HTTP/1.1";
const HOST = "Host: 127.0.0.1:4151";
const LENGTH = "Content-Length: 3";

function lines(...all: string[]): string {
  return `${all.join("\r\n")}\r\n\r\n`;
}

/** What a head is parsed as: `pub topic bytes`, `mpub topic bytes binary`, or why it is not accepted. */
function read(text: string | Buffer, head = new RequestHead()): string {
  const bytes = typeof text === "string" ? Buffer.from(text, "latin1") : text;
  // Not at the start of the buffer, and with other bytes behind it.
  const padded = Buffer.concat([Buffer.from("###"), bytes, Buffer.from("\r\n\r\n")]);
  const length = head.parse(padded, 3, 3 + bytes.length);
  if (length === INCOMPLETE) return "incomplete";
  if (length === OTHER) return "other";
  const topic = padded.toString("latin1", head.topicStart, head.topicEnd);
  return `${length} ${head.batch ? "mpub" : "pub"} ${topic} ${head.bodyBytes}${head.binary ? " binary" : ""}`;
}

test("the heads that clients send are accepted", () => {
  const go = lines(REQUEST_LINE, HOST, "User-Agent: Go-http-client/1.1", LENGTH, "Content-Type: text/plain", "Accept-Encoding: gzip");
  expect(read(go)).toBe(`${go.length} pub orders 3`);
  const curl = lines("POST /pub?topic=a.b_c-9 HTTP/1.1", "Host: nsq", "User-Agent: curl/8.5.0", "Accept: */*", "Content-Length: 1048576");
  expect(read(curl)).toBe(`${curl.length} pub a.b_c-9 1048576`);
  const binary = lines("POST /mpub?topic=t&binary=true HTTP/1.1", "host:[::1]:4151", "connection: Keep-Alive", "content-LENGTH:   12  ");
  expect(read(binary)).toBe(`${binary.length} mpub t 12 binary`);
  const text = lines("POST /mpub?topic=t HTTP/1.1", HOST, LENGTH, "Empty:", "X-Request-Id: 1");
  expect(read(text)).toBe(`${text.length} mpub t 3`);
  const chunks = lines(REQUEST_LINE, HOST, "Trailer: X-Sum", "transfer-encoding: Chunked ");
  expect(read(chunks)).toBe(`${chunks.length} pub orders -1`);
});

test("a head that is cut anywhere is incomplete, and nothing behind its end is parsed", () => {
  const head = new RequestHead();
  for (const text of [
    lines(REQUEST_LINE, HOST, "Accept: */*", "Connection: keep-alive", LENGTH),
    lines("POST /mpub?topic=t&binary=true HTTP/1.1", HOST, LENGTH),
  ]) {
    for (let length = 0; length < text.length; length++)
      expect([length, read(text.slice(0, length), head)]).toEqual([length, "incomplete"]);
    expect(read(text, head)).toStartWith(`${text.length} `);
    expect(read(`${text}abc${text}`, head)).toStartWith(`${text.length} `);
  }
});

test("anything unusual is for Bun.serve()", () => {
  const odd: Record<string, string> = {
    "another method": lines("PUT /pub?topic=t HTTP/1.1", HOST, LENGTH),
    "another path": lines("POST /ping?topic=t HTTP/1.1", HOST, LENGTH),
    "a longer path": lines("POST /pub/?topic=t HTTP/1.1", HOST, LENGTH),
    "an absolute target": lines("POST http://x/pub?topic=t HTTP/1.1", HOST, LENGTH),
    "no topic": lines("POST /pub?topic= HTTP/1.1", HOST, LENGTH),
    "no query": lines("POST /pub HTTP/1.1", HOST, LENGTH),
    "a defer": lines("POST /pub?topic=t&defer=5 HTTP/1.1", HOST, LENGTH),
    "an escaped topic": lines("POST /pub?topic=%74 HTTP/1.1", HOST, LENGTH),
    "a topic with a plus": lines("POST /pub?topic=a+b HTTP/1.1", HOST, LENGTH),
    "a topic of 65 letters": lines(`POST /pub?topic=${"t".repeat(65)} HTTP/1.1`, HOST, LENGTH),
    "binary on /pub": lines("POST /pub?topic=t&binary=true HTTP/1.1", HOST, LENGTH),
    "binary=1": lines("POST /mpub?topic=t&binary=1 HTTP/1.1", HOST, LENGTH),
    "binary=trueish": lines("POST /mpub?topic=t&binary=trueish HTTP/1.1", HOST, LENGTH),
    "another key behind": lines("POST /mpub?topic=t&binary=true&x=1 HTTP/1.1", HOST, LENGTH),
    "the topic second": lines("POST /mpub?binary=true&topic=t HTTP/1.1", HOST, LENGTH),
    "HTTP/1.0": lines("POST /pub?topic=t HTTP/1.0", HOST, LENGTH),
    "two spaces": lines("POST  /pub?topic=t HTTP/1.1", HOST, LENGTH),
    "a bare line feed": `${REQUEST_LINE}\n${HOST}\n${LENGTH}\n\n`,
    "a bare line feed behind a header": `${REQUEST_LINE}\r\n${HOST}\n${LENGTH}\r\n\r\n`,
    "a bare carriage return": `${REQUEST_LINE}\r\n${HOST}\r${LENGTH}\r\n\r\n`,
    "an empty line before it": `\r\n${lines(REQUEST_LINE, HOST, LENGTH)}`,
    "no host": lines(REQUEST_LINE, LENGTH),
    "an empty host": lines(REQUEST_LINE, "Host:", LENGTH),
    "two hosts": lines(REQUEST_LINE, HOST, HOST, LENGTH),
    "a host of strange letters": lines(REQUEST_LINE, "Host: a/b", LENGTH),
    "no length": lines(REQUEST_LINE, HOST),
    "a length of nothing": lines(REQUEST_LINE, HOST, "Content-Length: 0"),
    "an empty length": lines(REQUEST_LINE, HOST, "Content-Length:"),
    "a signed length": lines(REQUEST_LINE, HOST, "Content-Length: +3"),
    "a negative length": lines(REQUEST_LINE, HOST, "Content-Length: -3"),
    "a length that is none": lines(REQUEST_LINE, HOST, "Content-Length: 3a"),
    "a length with a space in it": lines(REQUEST_LINE, HOST, "Content-Length: 3 3"),
    "an endless length": lines(REQUEST_LINE, HOST, "Content-Length: 00000000003"),
    "two lengths": lines(REQUEST_LINE, HOST, LENGTH, LENGTH),
    "chunks twice": lines(REQUEST_LINE, HOST, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "chunks of something else": lines(REQUEST_LINE, HOST, "Transfer-Encoding: gzip, chunked"),
    "chunks and a proper length": lines(REQUEST_LINE, HOST, LENGTH, "Transfer-Encoding: chunked"),
    "a proper length and chunks": lines(REQUEST_LINE, HOST, "Transfer-Encoding: chunked", LENGTH),
    "chunks and a length": lines(REQUEST_LINE, HOST, LENGTH, "transfer-encoding: identity"),
    "an expectation": lines(REQUEST_LINE, HOST, LENGTH, "Expect: 100-continue"),
    "an upgrade": lines(REQUEST_LINE, HOST, LENGTH, "Upgrade: h2c"),
    "a trailer that would be a length": lines(REQUEST_LINE, HOST, "Transfer-Encoding: chunked", "Trailer: X-Sum, content-Length"),
    "a connection to close": lines(REQUEST_LINE, HOST, LENGTH, "Connection: close"),
    "a connection of several words": lines(REQUEST_LINE, HOST, LENGTH, "Connection: keep-alive, Upgrade"),
    "an idempotency key": lines(REQUEST_LINE, HOST, LENGTH, "Idempotency-Key: 1"),
    "a header of NSQ's": lines(REQUEST_LINE, HOST, LENGTH, "X-NSQ-Tag: a"),
    "a folded header": lines(REQUEST_LINE, HOST, LENGTH, "Accept: a", " b"),
    "a header without a colon": lines(REQUEST_LINE, HOST, LENGTH, "nonsense"),
    "a header without a name": lines(REQUEST_LINE, HOST, LENGTH, ": x"),
    "a space before a colon": lines(REQUEST_LINE, HOST, "Content-Length : 3"),
    "a control character in a value": lines(REQUEST_LINE, HOST, LENGTH, "Accept: a\tb"),
    "a letter beyond ASCII in a value": lines(REQUEST_LINE, HOST, LENGTH, "Accept: \xe9"),
    "a nul": lines(REQUEST_LINE, HOST, LENGTH, "Accept: \0"),
    "many headers": lines(REQUEST_LINE, HOST, LENGTH, ...Array.from({ length: 60 }, (_, i) => `A${i}: b`)),
    "a head without end": `${REQUEST_LINE}\r\nAccept: ${"a".repeat(MAX_HEAD_BYTES)}`,
    "a long head": lines(REQUEST_LINE, HOST, LENGTH, `Accept: ${"a".repeat(MAX_HEAD_BYTES)}`),
    "something that is not HTTP": "  V2IDENTIFY\n",
  };
  for (const [what, text] of Object.entries(odd)) expect([what, read(text)]).toEqual([what, "other"]);
});

test("a head that is changed anywhere is parsed correctly, or not accepted", () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  console.log(`seed ${seed}`);
  let state = seed;
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  // The rules of the parser as a regular expression.
  const pattern =
    /^POST \/(?:pub\?topic=[.\w-]{1,64}|mpub\?topic=[.\w-]{1,64}(?:&binary=true)?) HTTP\/1\.1\r\n((?:[\w-]+: *[ -~]*\r\n){0,48})\r\n/;
  const expected = (text: string): boolean => {
    const match = pattern.exec(text);
    if (match === null) return false;
    const headers = match[1]
      .split("\r\n")
      .slice(0, -1)
      .map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).replace(/^ +| +$/g, "")]);
    const of = (name: string) => headers.filter(([key]) => key === name).map(([, value]) => value);
    const special = headers.some(([key]) => /^(te|expect|upgrade|idempotency-key|x-nsq-.*)$/.test(key));
    return (
      !special &&
      of("host").length === 1 &&
      /^[\w.:[\]-]+$/.test(of("host")[0]) &&
      (of("transfer-encoding").length === 0
        ? of("content-length").length === 1 && /^\d{1,10}$/.test(of("content-length")[0]) && Number(of("content-length")[0]) > 0
        : of("transfer-encoding").join().toLowerCase() === "chunked" && of("content-length").length === 0) &&
      !of("trailer").some((value) => /content-length|transfer-encoding|trailer/i.test(value)) &&
      of("connection").every((value) => value.toLowerCase() === "keep-alive")
    );
  };
  const originals = [
    lines(REQUEST_LINE, HOST, LENGTH),
    lines(REQUEST_LINE, HOST, "Trailer: a", "Transfer-Encoding: chunked"),
    lines(REQUEST_LINE, HOST, "Te-x: 1", "Connection: keep-alive", "Content-Length: 12"),
    lines("POST /mpub?topic=t&binary=true HTTP/1.1", HOST, "Accept: */*", LENGTH, "X-NSQ: a"),
  ].map((text) => Buffer.from(text));
  const interesting = Buffer.from("\r\n :0-aAtT&=%\0\x7f\xff9");
  const head = new RequestHead();
  let taken = 0;
  for (let i = 0; i < 50_000; i++) {
    const bytes = Buffer.from(originals[random(originals.length)]);
    for (let changes = random(3); changes >= 0; changes--) {
      const at = random(bytes.length);
      // Some changes swap two bytes, others replace one.
      if (random(4) === 0 && at > 0) bytes[at] = bytes[at - 1];
      else bytes[at] = random(3) === 0 ? random(256) : interesting[random(interesting.length)];
    }
    const text = bytes.toString("latin1");
    const result = read(bytes, head);
    const should = expected(text);
    if (/^\d/.test(result) !== should) throw new Error(`seed ${seed}: ${JSON.stringify(text)} is taken as ${result}, should be ${should}`);
    if (should) taken++;
  }
  expect(taken).toBeGreaterThan(1000);
});
