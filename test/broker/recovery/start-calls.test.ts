import { expect, spyOn, test } from "bun:test";
import { openBroker } from "../../../src/broker/broker.ts";
import { type Disk, systemDisk } from "../../../src/broker/storage/disk/disk.ts";
import { MetadataStore } from "../../../src/broker/storage/metadata/metadata-store.ts";
import { defaultOptions, MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";

/** The machine's disk, which counts the calls that look at a topic's folder or the files in it. */
function countingDisk(): { disk: Disk; calls: Map<string, number> } {
  const calls = new Map<string, number>();
  const note = (call: string, path: string) => {
    if (/topics\/\d{5}-/.test(path)) calls.set(call, (calls.get(call) ?? 0) + 1);
  };
  const disk: Disk = {
    ...systemDisk,
    open: (path, flags) => {
      note("open", path);
      return systemDisk.open(path, flags);
    },
    list: (path) => {
      note("list", path);
      return systemDisk.list(path);
    },
    listFolders: (path) => {
      note("listFolders", path);
      return systemDisk.listFolders(path);
    },
    exists: (path) => {
      note("exists", path);
      return systemDisk.exists(path);
    },
    sizeOf: (path) => {
      note("sizeOf", path);
      return systemDisk.sizeOf(path);
    },
    makeDirectory: (path) => {
      note("makeDirectory", path);
      return systemDisk.makeDirectory(path);
    },
  };
  return { disk, calls };
}

test("a start looks at each topic's folder a few times, and reads each topic's channels once", async () => {
  const dataPath = temporaryFolder();
  const topics = 60;
  const made = openBroker(defaultOptions({ dataPath }), new MemoryLogger());
  for (let i = 0; i < topics; i++) made.registry.topic(`t${i}`).channel("c");
  await made.close();
  const { disk, calls } = countingDisk();
  using channels = spyOn(MetadataStore.prototype, "channels");
  const started = openBroker(defaultOptions({ dataPath }), new MemoryLogger(), { disk });
  expect(started.registry.channelCount).toBe(topics);
  expect(channels.mock.calls.length).toBe(topics);
  // Folders in the place of files, the mark of a deletion twice, the topic's file, the folder itself, and its segments.
  expect(Object.fromEntries(calls)).toEqual({ listFolders: topics, exists: 2 * topics, open: topics, makeDirectory: topics, list: topics });
  await started.close();
  removeFolder(dataPath);
});
