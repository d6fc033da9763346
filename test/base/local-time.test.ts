import { afterAll, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatTime, isUtc } from "../../src/base/local-time.ts";
import { removeFolder, temporaryFolder } from "../support/in-process.ts";
import { testUnless } from "../support/needs.ts";

const folder = temporaryFolder();
afterAll(() => removeFolder(folder));

const MOMENT = Date.UTC(2026, 1, 3, 4, 5, 6, 789);

test("TZ decides whether local time is UTC", () => {
  for (const zone of ["", "UTC", ":UTC", "Etc/UTC", "UTC0"]) expect(isUtc(zone)).toBe(true);
  for (const zone of ["Europe/Berlin", "UTC+3", "CET", "Etc/GMT-2"]) expect(isUtc(zone)).toBe(false);
});

test("without TZ the system's zone file decides, and without a zone file it is UTC", () => {
  const utc = join(folder, "utc");
  const berlin = join(folder, "berlin");
  writeFileSync(utc, "TZif2...UTC\0\nUTC0\n");
  writeFileSync(berlin, "TZif2...\nCET-1CEST,M3.5.0,M10.5.0/3\n");
  expect(isUtc(undefined, utc)).toBe(true);
  expect(isUtc(undefined, berlin)).toBe(false);
  expect(isUtc(undefined, join(folder, "none"))).toBe(true);
});

testUnless(existsSync("/usr/share/zoneinfo/Etc/UTC") ? undefined : "no time zones")("the system's zone file for UTC is recognized", () => {
  expect(isUtc(undefined, "/usr/share/zoneinfo/Etc/UTC")).toBe(true);
});

test("a time is formatted in UTC or in local time", () => {
  expect(formatTime(MOMENT, true)).toBe("2026/02/03 04:05:06");
  const minutes = new Date(MOMENT).getTimezoneOffset();
  expect(formatTime(MOMENT, false)).toBe(formatTime(MOMENT - minutes * 60_000, true));
});
