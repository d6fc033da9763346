import { afterEach, beforeEach, expect, test } from "bun:test";
import { join } from "node:path";
import { DataPathLock, DataPathLockError, lockDataPath } from "../../src/nsqd-data/data-path-lock.ts";
import { removeFolder, temporaryFolder } from "../support/in-process.ts";
import { missing, testUnless } from "../support/needs.ts";
import { startServer } from "../support/server.ts";

const MODULE = join(import.meta.dir, "../../src/nsqd-data/data-path-lock.ts");

let folder = "";
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => removeFolder(folder));

/** Takes the lock, which must be free. */
function take(): DataPathLock {
  const lock = lockDataPath(folder);
  if (lock instanceof Error) throw lock;
  return lock;
}

function expectInUse(): void {
  const lock = lockDataPath(folder);
  expect(lock).toBeInstanceOf(DataPathLockError);
  expect((lock as DataPathLockError).code).toBe("IN_USE");
  expect((lock as DataPathLockError).message).toBe(`${folder} is in use by another process, probably an nsqd: stop it first`);
}

test("a data path can be locked once, until the lock is released", () => {
  const lock = take();
  expectInUse();
  lock.release();
  lock.release();
  {
    using again = take();
    expect(again).toBeInstanceOf(DataPathLock);
    expectInUse();
  }
  take().release();
});

testUnless(missing("sleep"))("a killed process releases its lock, even if a child of it lives on", async () => {
  const program = `
    const { lockDataPath } = await import(${JSON.stringify(MODULE)});
    globalThis.lock = lockDataPath(${JSON.stringify(folder)});
    const child = Bun.spawn(["sleep", "60"], { stdio: ["ignore", "ignore", "ignore"] });
    console.log(String(globalThis.lock instanceof Error), child.pid);
    setInterval(() => {}, 1000);
  `;
  const holder = Bun.spawn([process.execPath, "-e", program], { stdout: "pipe", stderr: "inherit" });
  const { value } = await holder.stdout.getReader().read();
  const [failed, child] = new TextDecoder().decode(value).trim().split(" ");
  try {
    expect(failed).toBe("false");
    expectInUse();
    holder.kill("SIGKILL");
    await holder.exited;
    take().release();
  } finally {
    holder.kill("SIGKILL");
    process.kill(Number(child), "SIGKILL");
  }
});

test("a missing folder and a file are the kernel's errors", () => {
  expect(() => lockDataPath(join(folder, "none"))).toThrow("ENOENT");
  expect(() => lockDataPath(MODULE)).toThrow("ENOTDIR");
});

testUnless(missing("nsqd"))("a running nsqd holds the lock, and nsqd does not start while it is held here", async () => {
  const server = await startServer({ program: "nsqd", dataPath: folder });
  expectInUse();
  // nsqd listens before it handles signals, so that its exit code says nothing here. Its lock ends with the process.
  await server.stop();
  {
    using _lock = take();
    const refused = await startServer({ program: "nsqd", dataPath: folder }).then(
      async (started) => {
        await started.stop();
        return "started";
      },
      (error: Error) => error.message,
    );
    expect(refused).toContain(`cannot flock directory ${folder}`);
  }
  await using again = await startServer({ program: "nsqd", dataPath: folder });
  expect(again.tcpPort).toBeGreaterThan(0);
});
