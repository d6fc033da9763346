import { afterEach, beforeEach, expect, test } from "bun:test";
import { DeferredStore } from "../../../../src/broker/storage/deferred/deferred-store.ts";
import { KIND_PUBLISH } from "../../../../src/broker/storage/deferred/entry.ts";
import type { EntryOwner, StagedEntries } from "../../../../src/broker/storage/deferred/staged-entries.ts";
import type { StoredMessage } from "../../../../src/broker/storage/deferred/stored-message.ts";
import { NO_BALLAST } from "../../../../src/broker/storage/disk/ballast.ts";
import { systemDisk } from "../../../../src/broker/storage/disk/disk.ts";
import { MemoryLogger, removeFolder, temporaryFolder } from "../../../support/in-process.ts";

const START = 1_800_000_000_000;
const HOUR_MS = 3_600_000;
const DUE = START + 30 * HOUR_MS;

let folder: string;

beforeEach(() => {
  folder = temporaryFolder();
});

afterEach(() => removeFolder(folder));

/** One run of a broker's deferred store. */
class Run implements EntryOwner {
  readonly recovered: number[] = [];
  readonly kept: StoredMessage[] = [];
  readonly store: DeferredStore;

  constructor(nowMs: number) {
    this.store = new DeferredStore({
      directory: folder,
      disk: systemDisk,
      logger: new MemoryLogger(),
      ballast: NO_BALLAST,
      clock: { currentMs: () => nowMs },
    });
    this.store.target = {
      wanted: () => true,
      underWay: () => false,
      room: () => Number.POSITIVE_INFINITY,
      due: () => {},
      dropped: () => {},
    };
    this.store.recover(
      () => false,
      ({ number }) => this.recovered.push(number),
    );
  }

  stored(staged: StagedEntries, at: number, error: Error | undefined): void {
    if (error !== undefined) throw error;
    this.kept.push(staged.message(at));
  }

  put(count: number): void {
    const frame = Buffer.alloc(40);
    frame.writeUInt32BE(36, 0);
    frame.writeUInt32BE(2, 4);
    const header = { kind: KIND_PUBLISH, attempts: 0, topicId: 7, channelId: 0, dueMs: DUE, sequence: 0 };
    for (let i = 0; i < count; i++) this.store.writer.stage(this, header, frame, 0, frame.length, false);
    this.store.commit();
  }
}

test.each([
  ["an hour behind", -HOUR_MS],
  ["as before", 0],
  ["an hour ahead", HOUR_MS],
])("no number of an entry that is done is given again by a run whose clock is %s", async (_what, offsetMs) => {
  const first = new Run(START);
  first.put(5);
  for (const message of first.kept.slice(1)) first.store.finish(message);
  first.store.commit();
  await first.store.close();

  const second = new Run(START + offsetMs);
  expect(second.recovered).toEqual([first.kept[0]?.number as number]);
  second.put(5);
  const numbers = new Set([...first.kept, ...second.kept].map(({ number }) => number));
  expect(numbers.size).toBe(10);
  await second.store.close();

  const third = new Run(START);
  expect(third.recovered).toHaveLength(6);
  await third.store.close();
});

test("numbers that status records alone name are not given again", async () => {
  const first = new Run(START);
  first.put(3);
  const last = first.kept[2] as StoredMessage;
  first.store.markJoining(last, 5);
  first.store.finish(first.kept[1] as StoredMessage);
  first.store.commit();
  await first.store.close();
  // A power cut takes the end of the entries, and leaves the records.
  const name = [...new Bun.Glob("*.msg").scanSync(folder)][0] as string;
  const bytes = Buffer.from(await Bun.file(`${folder}/${name}`).arrayBuffer());
  await Bun.write(`${folder}/${name}`, bytes.subarray(0, 24 + 48 + 40));

  const second = new Run(START - HOUR_MS);
  expect(second.store.nextNumber).toBeGreaterThan(last.number);
  second.put(2);
  await second.store.close();
  expect(new Run(START).recovered).toHaveLength(3);
});
