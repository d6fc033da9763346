import { basename, join } from "node:path";
import { type Disk, isMissing } from "../disk/disk.ts";
import { reading, unreadable } from "../disk/unreadable-file.ts";

/**
 * The folders of deleted topics. A topic that is deleted gets its folder renamed to a name that no topic's folder has, and then
 * the folder is removed. What cannot be removed stays under that name, and is tried again at each start.
 */

/** A file of this name in a topic's folder: an earlier release deleted the topic, and only its files are left. */
const EARLIER_MARK = "deleted";

/** A folder of a deleted topic. */
export interface DeletedFolder {
  path: string;
  /** The topic's id; undefined for a topic that an earlier release deleted. */
  topicId: number | undefined;
}

/** Path of the folder of a deleted topic. @param directory the broker's folder below the data path */
export function deletedFolder(directory: string, topicId: number): string {
  return join(directory, "topics", `deleted-${topicId}`);
}

/** @throws UnreadableFile */
export function deletedFolders(disk: Disk, directory: string): DeletedFolder[] {
  const topics = join(directory, "topics");
  let names: string[];
  try {
    names = disk.list(topics);
  } catch (error) {
    if (isMissing(error)) return [];
    throw unreadable(topics, error);
  }
  return names
    .filter((name) => name.startsWith("deleted-"))
    .map((name) => {
      const digits = /^deleted-(\d+)$/.exec(name)?.[1];
      return { path: join(topics, name), topicId: digits === undefined ? undefined : Number(digits) };
    });
}

/**
 * Whether an earlier release deleted the topic of a folder and did not come to remove the folder. The mark of a deletion stayed
 * where a folder could not be removed, also when a topic of the same name was made again there. That one got the same number, and
 * it has messages.
 *
 * @param isReused a topic had the folder's number before the one that has it now
 * @throws UnreadableFile
 */
export function isMarkedDeleted(disk: Disk, folder: string, isReused: boolean): boolean {
  return reading(folder, () => {
    // Almost no folder has the mark, and to list thousands of them takes a start long.
    if (!disk.exists(join(folder, EARLIER_MARK))) return false;
    return !(isReused && disk.list(folder).some((name) => name.endsWith(".log")));
  });
}

/** Removes the mark from the folder of a topic that was made again. @returns whether there was one @throws the kernel's error */
export function removeDeletedMark(disk: Disk, folder: string): boolean {
  const path = join(folder, EARLIER_MARK);
  if (!disk.exists(path)) return false;
  disk.remove(path);
  return true;
}

/**
 * Gives the folder of a deleted topic a name that no topic's folder has.
 *
 * @param path the folder's present path
 * @param topicId undefined where it is not known
 * @throws the kernel's error
 */
export function renameDeleted(disk: Disk, directory: string, path: string, topicId: number | undefined): void {
  disk.rename(path, topicId === undefined ? join(directory, "topics", `deleted-${basename(path)}`) : deletedFolder(directory, topicId));
}
