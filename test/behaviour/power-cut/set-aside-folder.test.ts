import { expect, test } from "bun:test";
import { WithoutUnreadable } from "../../../src/broker/recovery/without-unreadable.ts";
import { UnreadableFile } from "../../../src/broker/storage/disk/unreadable-file.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { ImmediateDisk } from "./support/immediate-disk.ts";

const DIRECTORY = "/bunsq-data";
const BODY = Buffer.from("synced");

for (const name of ["topics", "deferred", "keys"]) {
  test(`what is synced in a new folder beside an unreadable "${name}" survives a power cut`, () => {
    const disk = new ImmediateDisk();
    const folder = `${DIRECTORY}/${name}`;
    disk.makeDirectory(folder);
    disk.syncDirectoryNow(DIRECTORY);
    disk.syncDirectoryNow("/");
    let isReadable = false;
    new WithoutUnreadable(true, disk, new MemoryLogger()).run(() => {
      if (isReadable) return;
      isReadable = true;
      throw new UnreadableFile(folder, Object.assign(new Error("EIO: i/o error"), { code: "EIO" }));
    });
    const path = `${folder}/file`;
    const fd = disk.open(path, "w+");
    disk.write(fd, BODY, 0, BODY.length, 0);
    disk.syncNow(fd);
    disk.syncDirectoryNow(folder);
    const cut = disk.afterLosing(() => true);
    expect(cut.paths()).toContain(path);
    expect(cut.content(path)).toEqual(BODY);
  });
}
