import { describe, expect, test } from "bun:test";
import { LineLogger } from "../../src/cli/line-logger.ts";

/** A logger whose lines can be read. `fail` makes the sink throw. */
function capture(level: "debug" | "info" | "warn" | "error" | "fatal" = "info") {
  const state = { text: "", fail: false, mostBytes: Number.POSITIVE_INFINITY };
  const log = new LineLogger(level, "[nsqd] ", (line) => {
    if (state.fail) throw Object.assign(new Error("EPIPE: broken pipe, write"), { code: "EPIPE" });
    const taken = line.subarray(0, state.mostBytes);
    state.text += new TextDecoder("latin1").decode(taken);
    return taken.length;
  });
  return { log, state, lines: () => state.text.split("\n").slice(0, -1) };
}

const LINE = /^\[nsqd\] (\d{4})\/(\d\d)\/(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{6}) ([A-Z]+): (.*)$/;

describe("a log line", () => {
  test("has nsqd's format: prefix, local time to the microsecond, level, text", () => {
    const { log, lines } = capture("debug");
    const before = Date.now();
    log.debug("a");
    log.info("b");
    log.warn("c");
    log.error("d");
    log.fatal("e");
    const after = Date.now();
    const seen = lines().map((line) => LINE.exec(line)?.slice(1).map(String) ?? [line]);
    expect(seen.map((parts) => parts.slice(7))).toEqual([
      ["DEBUG", "a"],
      ["INFO", "b"],
      ["WARNING", "c"],
      ["ERROR", "d"],
      ["FATAL", "e"],
    ]);
    for (const [year, month, day, hour, minute, second, micros] of seen.map((parts) => parts.map(Number)) as number[][]) {
      const at = new Date(
        year as number,
        (month as number) - 1,
        day,
        hour,
        minute,
        second,
        Math.floor((micros as number) / 1000),
      ).getTime();
      expect(at).toBeGreaterThanOrEqual(before);
      expect(at).toBeLessThanOrEqual(after);
    }
  });

  test("has a time that never runs backwards and differs within a millisecond", () => {
    const { log, lines } = capture();
    for (let i = 0; i < 5000; i++) log.info("x");
    const stamps = lines().map((line) => line.slice(7, 33));
    expect(stamps).toEqual(stamps.toSorted());
    expect(new Set(stamps).size).toBeGreaterThan(100);
  });

  test("below the level is not written, and the level may be changed at any time", () => {
    const { log, lines } = capture("warn");
    log.info("no");
    log.warn("yes");
    log.level = "debug";
    log.debug("now");
    log.level = "fatal";
    log.error("no more");
    expect(lines().map((line) => LINE.exec(line)?.[9])).toEqual(["yes", "now"]);
    expect(log.level).toBe("fatal");
  });

  test("cannot contain a forged line or control a terminal", () => {
    const { log, lines } = capture();
    log.info("name a\n[nsqd] 2026/01/01 00:00:00.000000 FATAL: all is lost\r\x1b[2J\u009b\ttab");
    expect(lines().map((line) => LINE.exec(line)?.[9])).toEqual([
      "name a\\n[nsqd] 2026/01/01 00:00:00.000000 FATAL: all is lost\\x0d\\x1b[2J\\x9b\ttab",
    ]);
  });

  test("is written completely to a sink that accepts a few bytes at a time", () => {
    const { log, state, lines } = capture();
    state.mostBytes = 3;
    log.info("in pieces");
    expect(LINE.exec(lines()[0] ?? "")?.[9]).toBe("in pieces");
  });
});

describe("a log whose reader has exited", () => {
  test("drops lines without throwing, and logs their number when lines can be written again", () => {
    const { log, state, lines } = capture();
    log.info("first");
    state.fail = true;
    for (let i = 0; i < 3; i++) log.info("lost");
    state.fail = false;
    log.info("last");
    log.info("after");
    expect(lines().map((line) => LINE.exec(line)?.slice(8).join(": "))).toEqual([
      "INFO: first",
      "WARNING: 3 log lines could not be written and are lost",
      "INFO: last",
      "INFO: after",
    ]);
  });

  test("does not loop on a sink that accepts nothing", () => {
    const { log, state, lines } = capture();
    state.mostBytes = 0;
    log.info("stuck");
    state.mostBytes = 1000;
    log.info("free");
    expect(lines().map((line) => LINE.exec(line)?.[9])).toEqual(["1 log lines could not be written and are lost", "free"]);
  });
});
