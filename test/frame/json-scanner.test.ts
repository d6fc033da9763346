import { expect, test } from "bun:test";
import { HeaderTemplate } from "../../src/frame/header-template.ts";
import { useIdPrefix } from "../../src/frame/id.ts";
import { JsonHeaderReader, readJsonHeader } from "../../src/frame/json-header.ts";
import { JsonScanner } from "../../src/frame/json-scanner.ts";
import { recordBytes, writeRecord } from "../../src/frame/layout.ts";
import { MessageBatch } from "../../src/frame/message-batch.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";

const scanner = new JsonScanner();
const NAMES = ["##key", "##trace_id", "##client_dispatch_tag", "##ke", "##keyy", "a", "", "ü", "##trace-id", "#"];
const TIME = { high: 0x18000000, low: 1 };

/** Whether the scanner takes a text, which stands between other bytes. */
function scans(text: Buffer): boolean {
  return scanner.scan(Buffer.concat([Buffer.from('"}]'), text, Buffer.from(']}"')]), 3, 3 + text.length);
}

function parses(text: Buffer): boolean {
  try {
    JSON.parse(text.toString());
    return true;
  } catch {
    return false;
  }
}

test("what JSON.parse() takes is taken, and nothing else", () => {
  const texts = [
    ...["", " ", "null", "true", "false", "nul", "nulll", "truefalse", "tru e", "TRUE", "undefined", "NaN", "Infinity", "-Infinity"],
    ...["0", "-0", "00", "01", "-", "+1", "1.", ".5", "1.5", "-1.5e10", "1e", "1e+", "1E-7", "1e5.5", "0x1", "1_0", "--1", "1 2"],
    ...[
      '""',
      '"',
      '"a',
      'a"',
      '"a" "b"',
      "'a'",
      '"\\',
      '"\\"',
      '"\\u12"',
      '"\\u12G4"',
      '"\\u1234"',
      '"\\x"',
      '"\\/\\b\\f\\n\\r\\t\\\\"',
      '"\\u"',
    ],
    ...['"\t"', '"\n"', '"\x00"', '"\x1f"', '"\x7f"', '"\u2028"', '"\ud800"', '"é鍵🔑"'],
    ...["[]", "[ ]", "[,]", "[1,]", "[1", "[1 2]", "[[],{}]", "]", "[}", "{]", "{}", "{ }", "{,}", '{"a"}', '{"a":}', '{"a":1,}', '{"a":1'],
    ...[
      '{"a":1 "b":2}',
      "{a:1}",
      "{1:2}",
      '{"a":1,"a":2}',
      '{"a":{"b":[{"c":null}]}}',
      '{"a"::1}',
      '{"a":1}}',
      '[{"a":1}]]',
      "\v1",
      "\u00a01",
      "1\f",
    ],
    ...[" \t\r\n[ 1 , 2 ]\r\n", "\ufeff1", "/**/1", "[1]//", '{"__proto__":1}'],
  ];
  for (const text of texts) expect([text, scans(Buffer.from(text))]).toEqual([text, parses(Buffer.from(text))]);
  for (const bytes of [
    [0xff],
    [0x22, 0xff, 0xc3, 0x22],
    [0x22, 0xed, 0xa0, 0x80, 0x22],
    [0xef, 0xbb, 0xbf, 0x31],
    [0x31, 0x00],
    [0x22, 0xc3, 0x22, 0x22],
  ]) {
    expect([bytes, scans(Buffer.from(bytes))]).toEqual([bytes, parses(Buffer.from(bytes))]);
  }
});

test("nesting is as deep as a header may be long", () => {
  for (const [open, close] of [
    ["[", "]"],
    ['{"a":', "}"],
  ] as const) {
    const depth = Math.floor(65_534 / (open.length + close.length)) - 1;
    expect(scans(Buffer.from(`${open.repeat(depth)}1${close.repeat(depth)}`))).toBe(true);
    expect(scans(Buffer.from(`${open.repeat(depth)}1${close.repeat(depth - 1)}`))).toBe(false);
    expect(scans(Buffer.from(`${open.repeat(depth)}1${close.repeat(depth + 1)}`))).toBe(false);
  }
});

/** JSON of any kind, in which the broker's members are frequent. */
function someJson(random: Random, depth: number): string {
  const space = () => random.pick(["", "", "", " ", "\n", "\t "]);
  const kind = depth === 0 ? random.int(0, 4) : random.int(0, 6);
  if (kind === 0) return random.pick(["null", "true", "false"]);
  if (kind === 1) return random.pick(["0", "-1", "1.5", "12e3", "1E-2", "18446744073709551616"]);
  if (kind <= 4)
    return random.pick([
      '"x"',
      '"123"',
      '""',
      '"\\u0041b"',
      '"18446744073709551615"',
      '"18446744073709551616"',
      '"ü\\n"',
      `"${"9".repeat(random.int(1, 120))}"`,
    ]);
  const count = random.int(0, 4);
  if (kind === 5) return `[${space()}${Array.from({ length: count }, () => someJson(random, depth - 1)).join(`${space()},${space()}`)}]`;
  return someObject(random, depth - 1);
}

function someObject(random: Random, depth: number): string {
  const space = () => random.pick(["", "", "", " ", "\r\n"]);
  const members = Array.from({ length: random.int(0, 5) }, () => {
    const name = random.pick(NAMES);
    const written = random.int(0, 9) === 0 ? JSON.stringify(name).replace("k", "\\u006b").replace("#", "\\u0023") : JSON.stringify(name);
    return `${space()}${written}${space()}:${space()}${someJson(random, depth)}${space()}`;
  });
  return `${space()}{${members.join(",")}}${space()}`;
}

test("random JSON, whole and damaged, is read as by JSON.parse()", () => {
  const seed = seedFromEnvironment();
  const random = new Random(seed);
  const reader = new JsonHeaderReader();
  for (let round = 0; round < 20_000; round++) {
    const text = Buffer.from(random.int(0, 3) === 0 ? someJson(random, 3) : someObject(random, 2));
    if (round % 2 === 1 && text.length > 0) {
      for (let i = random.int(1, 2); i > 0; i--)
        text[random.int(0, text.length - 1)] = random.pick([...Buffer.from('{}[]",:\\ x01u\x00\x1f'), 0xff, 0xc3]);
    }
    const what = `BUNSQ_SEED=${seed}, round ${round}: ${JSON.stringify(text.toString("latin1"))}`;
    expect([what, scans(text)]).toEqual([what, parses(text)]);
    const read = readJsonHeader(text, 0, text.length);
    const error = reader.read(text, 0, text.length, undefined);
    const isUtf8 = Buffer.from(text.toString()).equals(text);
    if ("code" in read) {
      // A byte that is no UTF-8 is one byte of a tag or key, and three where JSON.parse() has replaced it.
      if (isUtf8 || !read.text.includes("longer than")) expect([what, error]).toEqual([what, read]);
      continue;
    }
    expect([what, error, reader.isTraced, reader.traceId]).toEqual([what, undefined, read.isTraced, read.traceId]);
    const key = reader.encodedKey ?? text.subarray(reader.keyFrom, reader.keyTo);
    // Bytes that are no UTF-8 stay in a key as they are.
    expect([what, Buffer.from(key).toString()]).toEqual([what, Buffer.from(read.key).toString()]);
    if (!isUtf8) continue;
    const batch = new MessageBatch();
    const body = Buffer.from("body");
    const source = Buffer.concat([text, body]);
    batch.addWithJson(source, 0, text.length, source.length, true);
    const written = recordOf((target, view) => batch.write(0, source, target, view, 0, 7, round, TIME), batch.recordBytes(0));
    const expected = recordOf(
      (target, view) => writeRecord(target, view, 0, read.header, body, 0, body.length, 7, round, TIME),
      recordBytes(read.header, body.length),
    );
    expect([what, written]).toEqual([what, expected]);
  }
}, 60_000);

function recordOf(write: (target: Buffer, view: DataView) => number, bytes: number): string {
  useIdPrefix(7);
  const target = Buffer.alloc(bytes);
  expect(write(target, new DataView(target.buffer, target.byteOffset, bytes))).toBe(bytes);
  return target.toString("latin1");
}

test("a text that matches the one before is JSON with the same members, where a scan finds them", () => {
  const seed = seedFromEnvironment();
  const random = new Random(seed);
  const template = new HeaderTemplate();
  let matched = 0;
  for (let round = 0; round < 40_000; round++) {
    const first = Buffer.from(someObject(random, 2));
    expect(scanner.scan(first, 0, first.length)).toBe(true);
    if (scanner.isUnusual) continue;
    template.learn(first, 0, first.length, scanner);
    const second = changed(random, first);
    const from = random.int(0, 7);
    const bytes = Buffer.concat([Buffer.alloc(from, '"'), second, Buffer.from('"}')]);
    const to = from + second.length;
    if (!template.matches(bytes, new DataView(bytes.buffer, bytes.byteOffset, bytes.length), from, to)) continue;
    matched++;
    const what = `BUNSQ_SEED=${seed}, round ${round}: ${JSON.stringify([first.toString("latin1"), second.toString("latin1")])}`;
    expect([what, scanner.scan(bytes, from, to), scanner.isUnusual]).toEqual([what, true, false]);
    expect([what, placesOf(template)]).toEqual([what, placesOf(scanner)]);
  }
  expect(matched).toBeGreaterThan(5_000);
}, 60_000);

test("headers that are alike are read as by JSON.parse()", () => {
  const reader = new JsonHeaderReader();
  for (let i = 0; i < 200; i++) {
    const text = Buffer.from(`{"a":"${"b".repeat(i % 5)}","##key":"key ${i}","##trace_id":"${i * 7}","c":{"d":["e","${i}"]}}`);
    const view = new DataView(text.buffer, text.byteOffset, text.length);
    expect(reader.read(text, 0, text.length, view)).toBeUndefined();
    expect([text.toString("latin1", reader.keyFrom, reader.keyTo), reader.traceId]).toEqual([`key ${i}`, BigInt(i * 7)]);
  }
  for (const [text, code] of [
    ['{"a":"b","##key":"","##trace_id":"7"}', "E_INVALID_JSON_HEADER"],
    ['{"a":"b","##key":"key","##trace_id":"x"}', "INVALID_TRACE_ID"],
    ['{"a":"b","##key":"key","##trace_id":"7"}}', "E_INVALID_JSON_HEADER"],
  ]) {
    const bytes = Buffer.from(text);
    expect(reader.read(bytes, 0, bytes.length, new DataView(bytes.buffer, bytes.byteOffset, bytes.length))?.code).toBe(code);
  }
});

function placesOf({ keyFrom, keyTo, tagFrom, tagTo, traceIdFrom, traceIdTo }: JsonScanner | HeaderTemplate): number[] {
  return [keyFrom, keyTo, tagFrom, tagTo, traceIdFrom, traceIdTo];
}

/** A text with some bytes more, less, or other ones, mostly within its strings. */
function changed(random: Random, text: Buffer<ArrayBuffer>): Buffer<ArrayBuffer> {
  if (random.int(0, 3) === 0) return text;
  const strings = [...text.toString("latin1").matchAll(/"[^"]*"/g)].map(({ index, 0: { length } }) => ({
    from: index + 1,
    to: index + length - 1,
  }));
  const { from, to } = strings.length > 0 && random.int(0, 5) > 0 ? random.pick(strings) : { from: 0, to: text.length };
  const cut = random.int(from, to);
  const added = random.pick(["", "x", "1", "22", "longer", "\\", '"', "\n", "ü", "#", "\x01", "abcdefghijkl"]);
  return Buffer.concat([text.subarray(0, cut), Buffer.from(added), text.subarray(Math.min(to, cut + random.int(0, 3)))]);
}
