import { Database } from "bun:sqlite";
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { openBroker } from "../../src/broker/broker.ts";
import { FolderLock } from "../../src/broker/folder-lock.ts";
import { runCheck } from "../../src/cli/check.ts";
import { defaultOptions, InProcess, MemoryLogger, removeFolder, temporaryFolder } from "../support/in-process.ts";
import { until } from "../support/server.ts";

const folder = temporaryFolder();
afterAll(() => removeFolder(folder));

test("a directory is locked once, also while nothing is in it, and free again after its release", () => {
  const first = FolderLock.take(folder) as FolderLock;
  expect(FolderLock.take(folder)).toBe("in use");
  first.release();
  first.release();
  (FolderLock.take(folder) as FolderLock).release();
});

for (const removed of ["catalogue.sqlite", "catalogue.sqlite-wal", "topics/catalogue.copy", "topics", "recycled"]) {
  test(`neither a second broker nor a check opens a path in use whose ${removed} was removed`, async () => {
    await using server = InProcess.start();
    await server.publish("t", "a message");
    rmSync(join(server.dataPath, "bunsq-data", removed), { recursive: true, force: true });
    const second = () => openBroker(defaultOptions({ dataPath: server.dataPath }), new MemoryLogger());
    expect(second).toThrow(/is in use by another process/);
    let text = "";
    for (const flags of [[], ["--repair"]]) {
      const code = await runCheck([...flags, server.dataPath], (part) => {
        text += part;
      });
      expect(code).toBe(2);
    }
    expect(text).toMatch(/in use by a running broker/);
  });
}

const LOSSES: [string, (server: InProcess) => void][] = [
  ["removed", ({ dataPath }) => rmSync(join(dataPath, "bunsq-data"), { recursive: true })],
  [
    "replaced",
    ({ dataPath }) => {
      renameSync(join(dataPath, "bunsq-data"), join(dataPath, "moved"));
      mkdirSync(join(dataPath, "bunsq-data"));
    },
  ],
  ["robbed of its metadata store", ({ dataPath }) => rmSync(join(dataPath, "bunsq-data", "catalogue.sqlite"))],
];

for (const [what, lose] of LOSSES) {
  test(`a broker whose folder is ${what} while it runs is unhealthy, and says so once`, async () => {
    await using server = InProcess.start();
    expect(server.broker.health.text).toBe("OK");
    lose(server);
    await until("the broker notices", () => /^NOK - .*(removed|replaced) while the broker runs/.test(server.broker.health.text));
    expect(server.log.matching(/ERROR: DISK: .* while the broker runs/).length).toBe(1);
  });
}

test("a start that fails leaves the path unlocked", () => {
  const dataPath = join(folder, "failing");
  mkdirSync(join(dataPath, "bunsq-data"), { recursive: true });
  const store = new Database(join(dataPath, "bunsq-data", "catalogue.sqlite"));
  store.run("CREATE TABLE topics (id)");
  store.run("PRAGMA user_version = 999");
  store.close(true);
  expect(() => openBroker(defaultOptions({ dataPath }), new MemoryLogger())).toThrow(/newer bunsq/);
  const lock = FolderLock.take(join(dataPath, "bunsq-data"));
  expect(lock).not.toBe("in use");
  if (lock !== "in use") lock.release();
});
