import { expect, test } from "bun:test";
import { Line } from "../../src/frame/line.ts";

function lineOf(text: string): Line {
  const line = new Line();
  const bytes = Buffer.from(`xx${text}\nyy`, "latin1");
  line.set(bytes, 2, bytes.length - 3);
  return line;
}

function words(text: string): string[] {
  const line = lineOf(text);
  return Array.from({ length: line.words }, (_, i) => line.text(i));
}

test("a line is split at single spaces", () => {
  expect(words("PUB topic")).toEqual(["PUB", "topic"]);
  expect(words("NOP")).toEqual(["NOP"]);
});

test("two spaces in a row have an empty word between them, as in nsqd", () => {
  expect(words("PUB  topic")).toEqual(["PUB", "", "topic"]);
  expect(words(" PUB ")).toEqual(["", "PUB", ""]);
});

test("an empty line is one empty word", () => {
  expect(words("")).toEqual([""]);
  expect(lineOf("").key(0)).toBe(0);
});

test("words after the sixth are ignored", () => {
  expect(words("a b c d e f g")).toEqual(["a", "b", "c", "d", "e", "f"]);
});

test("an id may have spaces and line ends", () => {
  const bytes = Buffer.concat([Buffer.from("xxREQ "), Buffer.alloc(16, " \n"), Buffer.from(" 300")]);
  const line = new Line();
  line.setWithId(bytes, 2, 6, 22, bytes.length);
  expect([line.words, line.text(0), line.text(1), line.decimal(2)]).toEqual([3, "REQ", " \n".repeat(8), 300]);
  line.setWithId(bytes, 2, 6, 22, 22);
  expect([line.words, line.length(1)]).toEqual([2, 16]);
});

test("a word's text has one character per byte", () => {
  expect(words("PUB \xff\x00\xc3\xa9")).toEqual(["PUB", "\xff\x00\xc3\xa9"]);
  const line = lineOf("PUB topic");
  expect([line.start(1), line.end(1), line.length(1)]).toEqual([6, 11, 5]);
});

test("a key is the first four bytes as one number", () => {
  expect(lineOf("MPUB t").key(0)).toBe(0x4d505542);
  expect(lineOf("IDENTIFY").key(0)).toBe(0x4944454e);
  expect(lineOf("PUB t").key(0)).toBe(0x505542);
});

test("a word of digits is a number, an empty word is 0, and a word with another character is not a number", () => {
  for (const [text, value] of [
    ["0", 0],
    ["2500", 2500],
    ["007", 7],
    ["9007199254740991", 2 ** 53 - 1],
    ["", 0],
  ] as const) {
    expect(lineOf(`RDY ${text}`).decimal(1)).toBe(value);
  }
  for (const text of ["-1", "+1", "1.5", "1e3", "0x10", "1a", "\xb2"]) {
    expect(lineOf(`RDY ${text}`).decimal(1)).toBeNaN();
  }
});

test("a line can be set again", () => {
  const line = lineOf("a b c d");
  line.set(Buffer.from("NOP"), 0, 3);
  expect([line.words, line.text(0)]).toEqual([1, "NOP"]);
});
