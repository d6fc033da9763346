import { expect, test } from "bun:test";
import { chmodSync, lstatSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DATA_FOLDER, restrictToOwner } from "../../../src/broker/storage/data-path.ts";
import { systemDisk } from "../../../src/broker/storage/disk/disk.ts";
import { MetadataStore } from "../../../src/broker/storage/metadata/metadata-store.ts";
import { InProcess, MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { missing, testUnless } from "../../support/needs.ts";

/** The permissions of a folder and everything in it, by path. */
function modes(folder: string, path = "."): Record<string, string> {
  const { mode } = lstatSync(join(folder, path));
  const found: Record<string, string> = { [path]: (mode & 0o7777).toString(8) };
  if (!lstatSync(join(folder, path)).isDirectory()) return found;
  return Object.assign(found, ...readdirSync(join(folder, path)).map((name) => modes(folder, join(path, name))));
}

/** Those that are not the owner's alone. Symbolic links have no mode of their own. */
function open(folder: string): [path: string, mode: string][] {
  return Object.entries(modes(folder)).filter(([path, mode]) => {
    const stat = lstatSync(join(folder, path));
    return !stat.isSymbolicLink() && mode !== (stat.isDirectory() ? "700" : "600");
  });
}

/** Makes the broker write a file of every kind. */
async function writeEveryKind(started: InProcess): Promise<void> {
  // Alone, a publish goes to its topic's log; with others of its turn, to the journal.
  await started.publish("alone", "body");
  const client = await started.client();
  for (let topic = 0; topic < 8; topic++) client.command(`PUB topic_${topic}`, "body");
  for (let topic = 0; topic < 8; topic++) await client.response();
  for (let index = 0; index < 3; index++) await client.call(`DPUB topic_0 ${1_800_000 * (index % 2) + 1_000}`, "body");
  await client.call("SUB topic_0 channel");
  await started.broker.metadataBackup.renew(started.broker.turn.nowMs);
}

test.each([0o000, 0o022, 0o077, 0o777])("files and folders are the owner's alone, whatever the umask (%o)", async (mask) => {
  const before = process.umask(mask);
  try {
    await using started = InProcess.start();
    await writeEveryKind(started);
    const directory = join(started.dataPath, DATA_FOLDER);
    const running = modes(directory);
    for (const ending of ["sqlite", "sqlite-wal", "journal", ".log", ".idx", "topics"]) {
      expect([ending, Object.keys(running).some((path) => path.endsWith(ending))]).toEqual([ending, true]);
    }
    expect(open(directory)).toEqual([]);
    await started.restart();
    expect(open(directory)).toEqual([]);
  } finally {
    process.umask(before);
  }
});

test("an existing data path that others can read is closed to them at the start", async () => {
  await using started = InProcess.start();
  await writeEveryKind(started);
  await started.broker.close();
  const directory = join(started.dataPath, DATA_FOLDER);
  mkdirSync(join(directory, "topics", "kept by hand"));
  writeFileSync(join(directory, "topics", "kept by hand", "copy"), "");
  for (const path of Object.keys(modes(directory))) {
    chmodSync(join(directory, path), lstatSync(join(directory, path)).isDirectory() ? 0o755 : 0o644);
  }
  started.reopen();
  expect(open(directory)).toEqual([]);
  expect(started.log.matching(/^(WARNING|ERROR)/)).toEqual([]);
});

test("the files of a metadata store that is open are the owner's alone", () => {
  const folder = temporaryFolder();
  try {
    const store = new MetadataStore(folder);
    expect(readdirSync(folder).length).toBeGreaterThan(1);
    expect(open(folder).filter(([path]) => path !== ".")).toEqual([]);
    store.close();
  } finally {
    removeFolder(folder);
  }
});

test("a symbolic link in the data folder is not followed", () => {
  const folder = temporaryFolder();
  try {
    const directory = join(folder, DATA_FOLDER);
    const elsewhere = join(folder, "elsewhere");
    systemDisk.makeDirectory(directory);
    mkdirSync(elsewhere);
    writeFileSync(join(elsewhere, "file"), "");
    chmodSync(elsewhere, 0o755);
    chmodSync(join(elsewhere, "file"), 0o644);
    symlinkSync(elsewhere, join(directory, "link"));
    symlinkSync(join(elsewhere, "file"), join(directory, "file"));
    symlinkSync("nowhere", join(directory, "dangling"));
    restrictToOwner(directory, new MemoryLogger());
    expect(statSync(elsewhere).mode & 0o777).toBe(0o755);
    expect(statSync(join(elsewhere, "file")).mode & 0o777).toBe(0o644);
  } finally {
    removeFolder(folder);
  }
});

testUnless(missing("sh", "mkdir", "mv", "rm"))(
  "a folder that cannot be read does not keep the rest from being closed to others, nor the broker from starting",
  () => {
    const folder = temporaryFolder();
    try {
      const directory = join(folder, DATA_FOLDER);
      systemDisk.makeDirectory(directory);
      // Too deep for a path to name it, and so unreadable for root, too.
      const levels = Array<string>(15).fill("level".repeat(40)).join("/");
      const nest = 'mkdir -p "upper/$0" "lower/$0" && mv lower "upper/$0"';
      expect(Bun.spawnSync(["sh", "-c", nest, levels], { cwd: directory }).exitCode).toBe(0);
      writeFileSync(join(directory, "zzz"), "");
      chmodSync(join(directory, "zzz"), 0o644);
      const log = new MemoryLogger();
      restrictToOwner(directory, log);
      expect(statSync(join(directory, "zzz")).mode & 0o777).toBe(0o600);
      expect(log.matching(/^WARNING.* private to this user: .*ENAMETOOLONG/).length).toBe(1);
    } finally {
      Bun.spawnSync(["rm", "-rf", folder]);
    }
  },
);
