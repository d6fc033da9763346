import { expect, test } from "bun:test";
import { RateLimitedLog } from "../../src/base/rate-limited-log.ts";
import { MemoryLogger } from "../support/in-process.ts";

test("each error is logged once in ten seconds, and of a thousand different ones a hundred", () => {
  const logger = new MemoryLogger();
  let nowMs = 0;
  const log = new RateLimitedLog(logger, () => nowMs);
  for (let i = 0; i < 5; i++) log.error("full");
  expect(logger.lines).toEqual(["ERROR: full"]);
  for (let round = 0; round < 40; round++) {
    nowMs += 200;
    for (let i = 0; i < 1000; i++) log.error(`topic ${i}`);
  }
  expect(logger.lines).toHaveLength(101);
  expect(logger.lines[100]).toBe("ERROR: more than 100 different errors within 10 s: 1 are left out so far");
  nowMs += 10_000;
  log.error("full");
  expect(logger.lines[101]).toBe("ERROR: full");
  for (let i = 0; i < 1000; i++) log.error(`topic ${i}`);
  expect(logger.lines).toHaveLength(202);
});
