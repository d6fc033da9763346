import { describe, expect, test } from "bun:test";
import { parseQuery, unescapeUrl } from "../../../src/http/server/query.ts";

/** Made with Go 1.26's url.ParseQuery(): the first value of each key, or the error. */
const GO: [query: string, result: Record<string, string> | string][] = [
  ["", {}],
  ["&", {}],
  ["&&", {}],
  ["a", { a: "" }],
  ["a=", { a: "" }],
  ["=b", { "": "b" }],
  ["=", { "": "" }],
  ["a=b", { a: "b" }],
  ["a=b=c", { a: "b=c" }],
  ["a=1&a=2", { a: "1" }],
  ["a=1&b=2", { a: "1", b: "2" }],
  ["b=2&a=1", { a: "1", b: "2" }],
  ["a=1&&b=2&", { a: "1", b: "2" }],
  ["ab=1&a=2", { a: "2", ab: "1" }],
  ["a&ab=1", { a: "", ab: "1" }],
  ["aa=1&a", { a: "", aa: "1" }],
  ["A=1", { A: "1" }],
  ["a+b=c+d", { "a b": "c d" }],
  ["%61=%62", { a: "b" }],
  ["a=%2B+%26%3D", { a: "+ &=" }],
  ["a=%00", { a: "\0" }],
  ["a=%e2%82%ac", { a: "€" }],
  ["x=%ff", { x: "\ufffd" }],
  ["a=%zz", 'invalid URL escape "%zz"'],
  ["a=%", 'invalid URL escape "%"'],
  ["a=%4", 'invalid URL escape "%4"'],
  ["a=%4g", 'invalid URL escape "%4g"'],
  ["a=1&%zz=2", 'invalid URL escape "%zz"'],
  ["a;b", "invalid semicolon separator in query"],
  ["a=1;b=2", "invalid semicolon separator in query"],
  ["a=1&b;", "invalid semicolon separator in query"],
];

describe("a query is parsed as in Go", () => {
  for (const [raw, expected] of GO) {
    test(JSON.stringify(raw), () => {
      const query = parseQuery(raw);
      if (typeof expected === "string") {
        expect(query).toBe(expected);
        return;
      }
      if (typeof query === "string") throw new Error(query);
      for (const [key, value] of Object.entries(expected)) expect(query.get(key)).toBe(value);
      for (const key of ["", "a", "b", "x", "A", "aa", "ab", "abc"]) expect(query.get(key)).toBe(expected[key]);
    });
  }
});

test("a path is unescaped, and a plus in it is kept", () => {
  expect(unescapeUrl("/%70ing+%2F%c3%A9")).toBe("/ping+/é");
  expect(unescapeUrl("/%zz")).toBeUndefined();
  expect(unescapeUrl("/a%")).toBeUndefined();
});
