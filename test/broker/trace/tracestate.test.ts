import { expect, test } from "bun:test";
import { MAX_TRACESTATE_BYTES, parseTracestate } from "../../../src/broker/trace/tracestate.ts";

const LONGEST_KEY = "k".repeat(256);
const LONGEST_VALUE = "v".repeat(256);

test.each([
  ["rojo=00f067aa0ba902b7", "rojo=00f067aa0ba902b7"],
  ["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"],
  // White space around members goes, and so do empty ones. Within a value it stays.
  [" a=1 ,\t, b= two words\t,", "a=1,b= two words"],
  ["fw529a3039@dt=FfAg:1;x", "fw529a3039@dt=FfAg:1;x"],
  ["0begins-with*a/digit_=1", "0begins-with*a/digit_=1"],
  [`a=${LONGEST_VALUE}`, `a=${LONGEST_VALUE}`],
])("%p is valid", (text, expected) => {
  expect(parseTracestate(text)).toBe(expected);
});

test.each([
  ["nothing", ""],
  ["only separators", " ,\t,"],
  ["no equals sign", "rojo"],
  ["no key", "=1"],
  ["no value", "a="],
  ["only spaces for a value", "a=  "],
  ["a capital letter in a key", "Rojo=1"],
  ["a space in a key", "ro jo=1"],
  ["a key that begins with another sign", "@a=1"],
  ["an equals sign in a value", "a=b=c"],
  ["a tab in a value", "a=b\tc"],
  ["a character that is not ASCII", "a=\u00fc"],
  ["a control character", "a=\u0001"],
  ["a key twice", "a=1,b=2,a=3"],
  ["a key that is too long", `k${LONGEST_KEY}=1`],
  ["a value that is too long", `a=v${LONGEST_VALUE}`],
  ["33 members", Array.from({ length: 33 }, (_, n) => `a${n}=1`).join()],
  ["one invalid member among valid ones", "a=1,b,c=3"],
])("a list with %s is not valid", (_, text) => {
  expect(parseTracestate(text)).toBeUndefined();
});

test("32 members are valid", () => {
  const text = Array.from({ length: 32 }, (_, n) => `a${n}=1`).join();
  expect(parseTracestate(text)).toBe(text);
});

test("a list that is too long loses whole members: long ones first, then the last ones", () => {
  const short = (n: number) => `s${n}=${"x".repeat(97)}`;
  const long = `long=${"x".repeat(124)}`;
  expect(short(1)).toHaveLength(100);
  expect(parseTracestate([short(1), long, short(2), short(3), short(4)].join())).toBe([short(1), short(2), short(3), short(4)].join());
  expect(parseTracestate([1, 2, 3, 4, 5, 6].map(short).join())).toBe([1, 2, 3, 4, 5].map(short).join());
  // It is just as long as may be.
  const [a, b] = [`a=${"x".repeat(254)}`, `b=${"x".repeat(253)}`];
  expect(parseTracestate(`${a},${b}`)).toHaveLength(MAX_TRACESTATE_BYTES);
  expect(parseTracestate(`${a},${b}x`)).toBe(a);
  expect(parseTracestate(`${LONGEST_KEY}=${LONGEST_VALUE}`)).toBeUndefined();
});
