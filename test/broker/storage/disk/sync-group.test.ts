import { expect, test } from "bun:test";
import { SyncGroup } from "../../../../src/broker/storage/disk/sync-group.ts";

/** A group, and the failures that its callbacks were called with, in order. */
function watched(): { group: SyncGroup; told: (string | undefined)[] } {
  const told: (string | undefined)[] = [];
  return { group: new SyncGroup((failure) => told.push(failure?.message)), told };
}

test("a group without syncs ends when it is sealed", () => {
  const { group, told } = watched();
  expect(told).toBeEmpty();
  group.seal();
  expect(told).toEqual([undefined]);
});

test("a group ends with its last sync, and not before it is sealed", () => {
  const { group, told } = watched();
  const [first, second] = [group.add(), group.add()];
  first();
  second(null);
  expect(told).toBeEmpty();
  const third = group.add();
  group.seal();
  expect(told).toBeEmpty();
  third(undefined);
  expect(told).toEqual([undefined]);
});

test("all callbacks get the first of several failures", () => {
  const { group, told } = watched();
  const [first, second, third] = [group.add(), group.add(), group.add()];
  group.whenEnded((failure) => told.push(`later: ${failure?.message}`));
  group.seal();
  first();
  second(new Error("EIO"));
  expect(told).toBeEmpty();
  third(new Error("EROFS"));
  expect(told).toEqual(["EIO", "later: EIO"]);
});
