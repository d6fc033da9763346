import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemDisk } from "../../../../src/broker/storage/disk/disk.ts";

test("a directory can be synced, and one that does not exist is not reported as a failure", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bunsq-disk-"));
  const sync = (path: string) => new Promise((resolve) => systemDisk.syncDirectory(path, resolve));
  try {
    const file = join(folder, "file");
    writeFileSync(file, "");
    expect(await sync(folder)).toBeNull();
    expect(await sync(join(folder, "gone"))).toBeNull();
    expect(await sync(join(file, "below"))).toMatchObject({ code: "ENOTDIR" });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
