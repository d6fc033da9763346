import { describe, expect, test } from "bun:test";
import { readFields } from "../../../src/base/go/json.ts";

const DEFAULTS = { name: "", port: 0, rate: 0, on: false };

const read = (text: string) => readFields(text, DEFAULTS, ["rate"]);

describe("a JSON object is parsed as Go parses it into a struct", () => {
  const taken: [text: string, said: object][] = [
    ["{}", {}],
    ["null", {}],
    ['{"name":"a","port":1,"on":true}', { name: "a", port: 1, on: true }],
    ['{"NAME":"a","Port":1}', { name: "a", port: 1 }],
    ['{"name":null,"port":null,"on":null}', {}],
    ['{"other":[{"deep":1}],"toString":1,"__proto__":2,"constructor":{}}', {}],
    ['{"port":-0}', { port: 0 }],
    ['{"port":-5}', { port: -5 }],
    ['{"port":9007199254740991}', { port: 9007199254740991 }],
    ['{"port":9007199254740993}', { port: 9007199254740993n }],
    ['{"port":9223372036854775807}', { port: 9223372036854775807n }],
    ['{"rate":2147483647}', { rate: 2147483647 }],
    ['{"name":"\\ud800"}', { name: "\ufffd" }],
  ];
  for (const [text, said] of taken) {
    test(text, () => {
      expect(read(text)).toEqual({ ...DEFAULTS, ...said } as typeof DEFAULTS);
    });
  }
});

describe("a document that Go refuses is refused", () => {
  const refused = [
    "",
    "{",
    "[]",
    "1",
    '"name"',
    "true",
    "{} x",
    '{"name":1}',
    '{"name":["a"]}',
    '{"name":{}}',
    '{"port":"1"}',
    '{"port":1.0}',
    '{"port":1e3}',
    '{"port":true}',
    '{"port":9223372036854775808}',
    '{"rate":2147483648}',
    '{"on":1}',
    '{"on":"true"}',
    "[".repeat(100_000),
  ];
  for (const text of refused) {
    test(text.slice(0, 40), () => {
      expect(read(text)).toBeUndefined();
    });
  }
});
