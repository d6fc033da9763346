import { basename } from "node:path";
import type { Disk } from "../disk/disk.ts";
import type { FolderNames } from "../disk/folder-names.ts";
import { setAside } from "../disk/set-aside.ts";
import { BucketFile } from "./bucket-file.ts";
import { ENTRIES_FORMAT, ENTRY_HEADER_BYTES } from "./entry.ts";
import { walkEntries } from "./entry-scan.ts";
import { NEW_ENDING, type StatusFile } from "./status-file.ts";

/** An entry that was about to join the log of a topic that is not open. */
export interface Unresolved {
  readonly topicId: number;
  readonly offset: number;
  readonly sequence: number;
}

/**
 * Replaces the file of a bucket's entries by one with the whole entries that are not done, and keeps the old one.
 *
 * @param unresolved their offsets change with the file
 * @returns the new file's bytes of entries, and the old file's new name
 * @throws the kernel's error
 */
export function replaceEntries(
  disk: Disk,
  names: FolderNames,
  file: BucketFile,
  status: StatusFile,
  unresolved: Map<number, Unresolved>,
): { length: number; aside: string } {
  const unfinished = new BucketFile(disk, names, `${basename(file.path)}${NEW_ENDING}`, ENTRIES_FORMAT, () => undefined);
  const { done, movedTo } = status.readAll();
  const moved: number[] = [];
  let length = 0;
  unfinished.create();
  const { failure } = walkEntries(file, file.size, 0, file.size, ({ offset, number, page, frameAt, frameBytes }) => {
    if (offset < movedTo) moved.push(number);
    if (offset < movedTo || contains(done, number)) return;
    const bytes = ENTRY_HEADER_BYTES + frameBytes;
    const one = unresolved.get(number);
    if (one !== undefined) unresolved.set(number, { ...one, offset: length });
    unfinished.write(page.subarray(frameAt - ENTRY_HEADER_BYTES), bytes, length);
    length += bytes;
  });
  if (failure !== undefined) {
    unfinished.close();
    unfinished.forgetName();
    throw failure;
  }
  // Offsets change. Entries that were moved count as done before the new file is there, and after. The name of the new status file is
  // synced with the new file.
  if (movedTo > 0) status.replace(moved, 0, false);
  unfinished.syncNowAndClose();
  file.close();
  const aside = setAside(disk, file.path);
  disk.rename(unfinished.path, file.path);
  file.onReplaced();
  return { length, aside };
}

/** Whether a number is among ascending numbers. */
export function contains(numbers: Float64Array, number: number): boolean {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (numbers[middle] < number) low = middle + 1;
    else high = middle;
  }
  return low < numbers.length && numbers[low] === number;
}
