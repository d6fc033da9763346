import { afterEach, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Audit, type Deed } from "../../../src/admin/audit/audit.ts";
import { AuditFile, type AuditFileBounds } from "../../../src/admin/audit/audit-file.ts";
import type { Activity } from "../../../src/admin/console-api.ts";
import { MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";

const ACTOR = { user: "eve", address: "10.0.0.1:4", userAgent: "curl", url: "http://c/api" };
const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) {
    chmodSync(folder, 0o700);
    removeFolder(folder);
  }
});

function folder(): string {
  const path = temporaryFolder();
  folders.push(path);
  return path;
}

function open(path: string | undefined, bounds: Partial<AuditFileBounds> = {}) {
  const logger = new MemoryLogger();
  const file = path === undefined ? undefined : new AuditFile(path, logger, bounds);
  return { logger, audit: new Audit({ logger, file, notifications: undefined, now: () => 1000 }) };
}

function deed(topic: string, ...results: Deed["results"]): Deed {
  return { action: "pause_topic", topic, results: results.length === 0 ? [{ server: "a:1", ok: true, message: "" }] : results };
}

function linesOf(path: string): Activity[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Activity);
}

test("each server's part in an action is a line of the file, and an activity", async () => {
  const path = join(folder(), "audit.log");
  const { audit } = open(path);
  const heard: Activity[] = [];
  const end = audit.subscribe((activity) => heard.push(activity));
  audit.record(ACTOR, deed("t", { server: "a:1", ok: true, message: "" }, { server: "b:1", ok: false, message: "x".repeat(5000) }));
  end();
  audit.record(ACTOR, deed("u".repeat(5000)));
  await audit.close();
  const lines = linesOf(path);
  expect(lines[0]).toEqual({
    time: 1000,
    user: "eve",
    from: "10.0.0.1:4",
    action: "pause_topic",
    topic: "t",
    channel: "",
    server: "a:1",
    ok: true,
    detail: "",
  });
  expect([lines[1]?.ok, lines[1]?.detail.length, lines[2]?.topic.length]).toEqual([false, 1024, 256]);
  expect(heard).toEqual(lines.slice(0, 2));
  expect(audit.recent(2)).toEqual(lines.slice(1).reverse());
  expect(statSync(path).mode & 0o777).toBe(0o640);
});

test("what was done before a restart is there again, without lines that were torn", async () => {
  const path = join(folder(), "audit.log");
  const first = open(path).audit;
  first.record(ACTOR, deed("t"));
  await first.close();
  writeFileSync(path, `${readFileSync(path, "utf8")}null\n{"a":1}\n{"action":"torn`);
  const second = open(path).audit;
  expect(second.recent(10).map(({ topic }) => topic)).toEqual(["t"]);
  second.record(ACTOR, deed("u"));
  await second.close();
  expect(
    open(path)
      .audit.recent(10)
      .map(({ topic }) => topic),
  ).toEqual(["u", "t"]);
});

test("without a file, and beyond its bounds, the last thousand are kept", () => {
  const { audit } = open(undefined);
  for (let i = 0; i < 1500; i++) audit.record(ACTOR, deed(`t${i}`));
  const topics = audit.recent(5000).map(({ topic }) => topic);
  expect([topics.length, topics[0], topics.at(-1)]).toEqual([1000, "t1499", "t500"]);
});

test("a file that is full becomes an older one, and the oldest is replaced", async () => {
  const path = join(folder(), "audit.log");
  for (let i = 0; i < 8; i++) {
    const { audit } = open(path, { fileBytes: 100 });
    audit.record(ACTOR, deed(`t${i}`));
    await audit.close();
  }
  const topicsIn = (file: string) => linesOf(file).map(({ topic }) => topic);
  expect(["", ".1", ".2", ".3", ".4"].map((age) => topicsIn(path + age))).toEqual([["t7"], ["t6"], ["t5"], ["t4"], ["t3"]]);
  expect(existsSync(`${path}.5`)).toBe(false);
});

test("a file that cannot be written is reported and stops nothing; what waits is bounded, and written once it can be", async () => {
  const path = join(folder(), "folder", "audit.log");
  const { audit, logger } = open(path, { waiting: 3 });
  for (let i = 0; i < 5; i++) audit.record(ACTOR, deed(`t${i}`));
  await audit.close();
  expect(logger.matching(/cannot write .*audit\.log - ENOENT/).length).toBeGreaterThan(0);
  expect(logger.matching(/lines could not be written/)).toHaveLength(1);
  expect(audit.recent(10)).toHaveLength(5);
  mkdirSync(join(path, ".."));
  audit.record(ACTOR, deed("t5"));
  await audit.close();
  expect(linesOf(path).map(({ topic }) => topic)).toEqual(["t3", "t4", "t5"]);
  rmSync(path);
});

test("a listener that fails stops neither the others nor the action", () => {
  const { audit, logger } = open(undefined);
  let heard = 0;
  audit.subscribe(() => {
    throw new Error("no");
  });
  audit.subscribe(() => heard++);
  audit.record(ACTOR, deed("t"));
  expect(heard).toBe(1);
  expect(logger.matching(/a listener failed/)).toHaveLength(1);
});
