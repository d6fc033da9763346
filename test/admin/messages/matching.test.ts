import { describe, expect, test } from "bun:test";
import { JsonPath } from "../../../src/admin/matching/json-path.ts";
import { Regexp } from "../../../src/base/regexp.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";

function matches(source: string, text: string, piece = 7): boolean {
  const match = new Regexp(source).begin(text);
  for (;;) {
    const found = match.step(piece);
    if (found !== undefined) return found;
  }
}

/** A random expression that JavaScript takes, too, of characters that random texts have. */
function randomRegexp(random: Random, depth: number): string {
  const kind = depth === 0 ? 0 : random.int(0, 6);
  const part = () => randomRegexp(random, depth - 1);
  if (kind <= 1) return random.pick(["a", "b", ".", "[ab]", "[^a]", "\\w", "\\b", "^", "$", "-"]);
  if (kind === 2) return `(${part()}|${part()})`;
  if (kind === 3) return `(?:${part()})${random.pick(["*", "+", "?", "{2}", "{1,2}", "{0,}"])}`;
  return part() + part();
}

describe("a regular expression", () => {
  test("matches as JavaScript's does", () => {
    const texts = [
      "",
      "a",
      "b",
      "ab",
      "aab",
      "abab",
      "a b",
      "A",
      "é",
      "日本語 x",
      "a\nb",
      "foo_bar-1",
      "x1y22",
      "aaaa",
      '{"order":17,"to":"Ann"}',
      "-",
      "]",
      "\\",
      "ſ",
      "😀",
    ];
    const sources = [
      "",
      "a",
      "^a$",
      "a*",
      "a+b",
      "(ab)+",
      "(?:ab){2}",
      "a{2,3}$",
      "a{2,}",
      "[a-c]+$",
      "[^a]",
      "\\d+",
      "\\D",
      "\\w\\b",
      "\\bb",
      "\\Bb",
      "\\s",
      "é",
      "[é日]",
      "日.語",
      "a|b|^$",
      "(a|ab)(c|bcd)?$",
      "a.b",
      "x\\d{1}y",
      '"order":1[0-9]',
      "[\\]\\-]",
      "\\\\",
      "[a\\d]$",
      "^(?:a|b)*$",
      "a??b",
      "\\x61",
      "\\u0061b",
      "(?<name>a)b",
      "^$",
      "()",
      "(|a)b",
      "[^\\w]",
      "{",
      "a{",
      "a{x}",
      "😀",
      "[-]",
      "$a",
      "a^",
    ];
    for (const source of sources) {
      const reference = new RegExp(source);
      for (const text of texts) expect([source, text, matches(source, text)]).toEqual([source, text, reference.test(text)]);
    }
    for (const source of ["(?i)AB", "(?i)É", "(?i)[x-z]1", "(?i)[^a]"]) {
      const reference = new RegExp(source.slice(4), "i");
      for (const text of [...texts, "É", "X1"]) expect([source, text, matches(source, text)]).toEqual([source, text, reference.test(text)]);
    }
  });

  test("matches as JavaScript's does: random ones", () => {
    const seed = seedFromEnvironment();
    const random = new Random(seed);
    for (let round = 0; round < 3000; round++) {
      const source = randomRegexp(random, 3);
      const reference = new RegExp(source);
      const regexp = new Regexp(source);
      for (let i = 0; i < 5; i++) {
        const text = Array.from({ length: random.int(0, 8) }, () => random.pick(["a", "b", "-", "\n"])).join("");
        expect([seed, source, text, regexp.begin(text).step(100)]).toEqual([seed, source, text, reference.test(text)]);
      }
    }
  });

  test("that would take others ages is linear", () => {
    const text = `${"a".repeat(50_000)}b`;
    for (const source of ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "^(.*a){20}$", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$"]) {
      const match = new Regexp(source).begin(text);
      let steps = 0;
      while (match.step(1000) === undefined) steps++;
      expect(steps).toBeLessThanOrEqual(51);
    }
    // Each character makes a new set of states here, and they are bounded.
    const random = new Random(1);
    const many = Array.from({ length: 5_000 }, () => random.pick(["a", "b"])).join("");
    expect(matches("a[ab]{200}c", many, 1000)).toBe(false);
  });

  test("has Go's classes of characters in brackets", () => {
    for (const [source, text] of [
      ["^[[:alpha:]]+$", "aZ"],
      ["^[[:digit:]a]+$", "1a2"],
      ["^[^[:space:]]$", "x"],
      ["^[[:^digit:]]$", "é"],
      ["^[a[:]+$", "a[:"],
    ] as const)
      expect(matches(source, text), source).toBe(true);
    for (const [source, text] of [
      ["[[:alpha:]]", "1:]"],
      ["[^[:space:]]", " \t"],
      ["[[:^digit:]]", "123"],
      ["(?i)[[:upper:]]", "1"],
    ] as const)
      expect(matches(source, text), source).toBe(false);
    expect(matches("(?i)^[[:upper:]]$", "a")).toBe(true);
  });

  test("that cannot be matched so is refused", () => {
    for (const source of [
      "(",
      ")",
      "a)",
      "[",
      "[a",
      "*",
      "a**",
      "(?=a)",
      "(?!a)",
      "(?<=a)b",
      "(a)\\1",
      "\\k<a>",
      "a{2,1}",
      "a{1001}",
      "\\",
      "[z-a]",
      "[[:letter:]]",
      "(a{100}){100}",
      "((){1000}){1000}",
      "(".repeat(200),
    ]) {
      expect(() => new Regexp(source)).toThrow();
    }
  });
});

describe("a JSON path", () => {
  const document = { a: { b: ["x", 5, { c: null }], "any name": true }, n: 17.5, list: [{ id: 1 }, { id: 2 }], text: "hello world" };

  test("finds a value and compares it", () => {
    const fitting = [
      '$.a.b[0] = "x"',
      '$.a.b[0]="x"',
      "$.a.b[1] == 5",
      "$.a.b[2].c = null",
      '$.a["any name"] = true',
      "$.n > 17",
      "$.n < 18",
      '$.text ~ "o w"',
      "$.n != 17",
      "$.list[*].id = 2",
      "$.list.*.id > 1",
      '$.text > "a"',
      "$",
      "$.a.b",
      "$.a.b[2].c",
      " $.n = 17.5 ",
      '$.*.b[0] = "x"',
    ];
    const others = [
      '$.a.b[0] = "y"',
      "$.a.b[3]",
      '$.a.b[1] = "5"',
      "$.a.none",
      "$.none != 1",
      "$.n > 17.5",
      '$.n ~ "17"'.replace("n", "a"),
      "$.text < 5",
      "$.list[*].id = 3",
      "$.a.b.length",
      "$.text.length",
      "$.constructor",
      "$.a.__proto__",
    ];
    for (const path of fitting) expect([path, new JsonPath(path).fits(document)]).toEqual([path, true]);
    for (const path of others) expect([path, new JsonPath(path).fits(document)]).toEqual([path, false]);
    for (const value of [null, 1, "a", []]) expect(new JsonPath("$.a").fits(value)).toBe(false);
  });

  test("that is none is refused", () => {
    for (const path of [
      "",
      "a",
      "$a",
      "$.",
      "$.a = ",
      "$.a = x",
      "$.a = {}",
      "$.a ~ 5",
      "$.a[b]",
      "$[-1]",
      "$.a >= 5",
      `$${".a".repeat(101)}`,
    ])
      expect(() => new JsonPath(path)).toThrow();
  });
});
