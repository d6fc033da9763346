import { describe, expect, test } from "bun:test";
import { formatDuration, msToNs, nsToMs, parseDuration } from "../../../src/base/go/duration.ts";
// Made with Go 1.26's time.ParseDuration and Duration.String: first hand-picked edge cases, then random ones.
import go from "./durations.json" with { type: "json" };

describe("a duration", () => {
  test("is parsed as in Go, to the nanosecond, and refused if Go refuses it", () => {
    const ours = go.parsed.map(([text]) => [text, parseDuration(text as string)?.toString() ?? "error"]);
    expect(ours).toEqual(go.parsed);
  });

  test("is formatted as in Go", () => {
    const ours = go.formatted.map(([ns]) => [ns, formatDuration(BigInt(ns as string))]);
    expect(ours).toEqual(go.formatted);
  });

  test("survives formatting and parsing", () => {
    for (let bits = 1n; bits < 63n; bits++) {
      for (const ns of [2n ** bits - 1n, 2n ** bits, -(2n ** bits) + 7n]) expect(parseDuration(formatDuration(ns))).toBe(ns);
    }
  });

  test("of less than a millisecond is kept as a fraction of one", () => {
    expect(nsToMs(100_000n)).toBe(0.1);
    expect(msToNs(0.1)).toBe(100_000n);
    expect(msToNs(250)).toBe(250_000_000n);
  });
});
