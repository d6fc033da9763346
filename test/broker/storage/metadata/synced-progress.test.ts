import { Database } from "bun:sqlite";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { METADATA_FILE } from "../../../../src/broker/storage/metadata/metadata-backup.ts";
import { MetadataStore } from "../../../../src/broker/storage/metadata/metadata-store.ts";
import type { ChannelRow } from "../../../../src/broker/storage/metadata/rows.ts";
import { removeFolder, temporaryFolder } from "../../../support/in-process.ts";

let folder: string;
let topicId = 0;

beforeEach(() => {
  folder = temporaryFolder();
});

afterEach(() => removeFolder(folder));

function open(bootId: string): MetadataStore {
  const store = new MetadataStore(folder, undefined, undefined, undefined, bootId);
  store.run.begin(true, () => {});
  return store;
}

/** Writes a channel's row, and then one that rests on entries that are not synced. */
function writeBoth(): void {
  const store = open("first");
  topicId = store.addTopic(0, "t", 0);
  const id = store.addChannel(topicId, "c", 0);
  const row = { id, topicId, name: "c", paused: true, voidBefore: 7, requeuesVoidBefore: 8 };
  store.updateChannel({ ...row, floor: 10, progress: new Uint8Array([1, 2]), unsynced: false });
  store.updateChannel({ ...row, floor: 20, progress: new Uint8Array([3]), unsynced: true });
  store.updateChannel({ ...row, floor: 30, progress: new Uint8Array([4]), unsynced: true });
  store.close();
}

/** What the channel's row says in the next run. */
function rowAfter(bootId: string): Partial<ChannelRow> & { kept: number | undefined } {
  const store = open(bootId);
  const [{ id, topicId: _topic, progress, ...row }] = store.channels(topicId) as [ChannelRow];
  const kept = store.syncedProgress.floorOf(id);
  store.close();
  return { ...row, progress: new Uint8Array(progress), kept };
}

const CHANNEL = { name: "c", paused: true, voidBefore: 7, requeuesVoidBefore: 8 };

test("after a kill a channel's row counts, and what was synced is kept for a power cut", () => {
  writeBoth();
  expect(rowAfter("first")).toEqual({ ...CHANNEL, floor: 30, progress: new Uint8Array([4]), kept: 10 });
  expect(rowAfter("second")).toEqual({ ...CHANNEL, floor: 10, progress: new Uint8Array([1, 2]), kept: undefined });
});

test("after a power cut what was synced counts, also when the next run is killed at once", () => {
  writeBoth();
  for (const bootId of ["second", "second"])
    expect(rowAfter(bootId)).toEqual({ ...CHANNEL, floor: 10, progress: new Uint8Array([1, 2]), kept: undefined });
});

test("after a clean stop a channel's row counts, and nothing else is kept", () => {
  writeBoth();
  const store = open("first");
  store.run.end();
  store.close();
  expect(rowAfter("second")).toEqual({ ...CHANNEL, floor: 30, progress: new Uint8Array([4]), kept: undefined });
});

for (const damaged of ["synced_progress", "channels"]) {
  test(`a channel whose row in ${damaged} is damaged has a damaged row after a power cut`, () => {
    writeBoth();
    const database = new Database(`${folder}/${METADATA_FILE}`);
    database.run(`UPDATE ${damaged} SET floor = floor + 1`);
    database.close();
    expect(rowAfter("second").damaged).toBe(true);
  });
}
