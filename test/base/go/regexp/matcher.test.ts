import { describe, expect, test } from "bun:test";
import { Pattern } from "../../../../src/base/go/regexp/matcher.ts";
import { PatternError } from "../../../../src/base/go/regexp/parser.ts";
import { growth, LINEAR } from "../../../support/growth.ts";
import go from "./go-patterns.json";

const STEPS = 500_000;
const compile = (source: string) => Pattern.compile(source, { steps: STEPS });

describe("a pattern of the auth server", () => {
  test("is accepted or refused as by Go's regexp, and matches the same names", () => {
    // Made with Go 1.26: null if regexp.Compile refuses the pattern, else the results of MatchString for each name.
    const differing: unknown[] = [];
    for (const [source, expected] of go.patterns as [string, string | null][]) {
      let shown: string | null = null;
      try {
        const pattern = compile(source);
        shown = go.names.map((name) => (pattern.matches(name) ? "1" : "0")).join("");
      } catch (error) {
        if (!(error instanceof PatternError)) throw error;
      }
      if (shown !== expected) differing.push({ source, shown, expected });
    }
    expect(differing).toEqual([]);
    expect(go.patterns.length).toBeGreaterThan(1000);
  });

  test("takes time in proportion to the name's length, not exponential time", () => {
    const sources = ["(a+)+$", "^(a*)*$", "(a|aa)+$", "^(a|a?)+$", `${"a?".repeat(60)}${"a".repeat(60)}$`, "(.*a){12}$"];
    const patterns = sources.map((source) => compile(source));
    // Backtracking would take the age of the universe.
    const match = (length: number) => {
      const name = `${"a".repeat(length - 1)}!`;
      for (const pattern of patterns) expect(pattern.matches(name)).toBeFalse();
    };
    match(64);
    expect(growth(match, 500)).toBeLessThan(LINEAR);
  });

  test("is refused if it would grow too large or nests too deeply", () => {
    expect(() => compile("(?:[a-z]{1000}){1000}")).toThrow("invalid repeat count");
    expect(() => compile("[a-z]{1000}".repeat(600))).toThrow("expression too large");
    expect(() => compile("(){1000}".repeat(600))).toThrow("expression too large");
    expect(() => compile(`${"(".repeat(5000)}${")".repeat(5000)}`)).toThrow("nests too deeply");
  });

  test("is parsed in time in proportion to its length", () => {
    for (const piece of ["[[:", "{1", "(?i)", "\\Qa\\E", "[[:alpha:]", "a|"]) {
      const parse = (times: number) => {
        try {
          compile(piece.repeat(times));
        } catch (error) {
          if (!(error instanceof PatternError)) throw error;
        }
      };
      expect(growth(parse, 5_000)).toBeLessThan(LINEAR);
    }
  }, 60_000);
});
