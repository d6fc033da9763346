import { join } from "node:path";
import type { DamageLog } from "../storage/damage-log.ts";
import type { Disk } from "../storage/disk/disk.ts";
import { setAside } from "../storage/disk/set-aside.ts";
import { isKernelError } from "../storage/disk/unreadable-file.ts";

/** Below the broker's folder: the folders that hold files, and the files that must not be folders. */
const FOLDERS = new Set(["topics", "deferred", "keys", "recycled", "trace"]);
const ROOT_FILES = /^(journal|ballast(\.new)?)$/;
const TOPICS_FILES = /^catalogue\.copy(\.new)?$/;
const SEGMENT_FILES = /^([0-9a-f]{16}\.(log|idx)(\.new)?|deleted)$/;
const BUCKET_FILES = /^\d+-\d+\.(msg|done)(\.new|\.gone)?$/;
const KEY_FILES = /^\d+\.keys$/;
const TRACE_FILES = /^\d+\.trace(\.gone)?$/;

/** Sets aside folders where files belong, and files where folders belong, so that nothing else meets them. */
export function setMisplacedAside(disk: Disk, directory: string, damage: DamageLog): void {
  const setFolderAside = (path: string) =>
    damage.report("other", `${path} is a folder where a file belongs; it is kept as ${setAside(disk, path)}`);
  const check = (path: string, isMisplaced: (name: string, isFolder: boolean) => boolean) => {
    for (const [name, isFolder] of entries(disk, path)) {
      if (!isMisplaced(name, isFolder)) continue;
      if (isFolder) setFolderAside(join(path, name));
      else
        damage.report("other", `${join(path, name)} is a file where a folder belongs; it is kept as ${setAside(disk, join(path, name))}`);
    }
  };
  check(directory, (name, isFolder) => (isFolder ? ROOT_FILES.test(name) : FOLDERS.has(name)));
  check(join(directory, "topics"), (name, isFolder) => (isFolder ? TOPICS_FILES.test(name) : /^\d{5}-/.test(name)));
  check(join(directory, "deferred"), (name, isFolder) => isFolder && BUCKET_FILES.test(name));
  check(join(directory, "keys"), (name, isFolder) => isFolder && KEY_FILES.test(name));
  check(join(directory, "trace"), (name, isFolder) => isFolder && TRACE_FILES.test(name));
  for (const [topic, isTopic] of entries(disk, join(directory, "topics"))) {
    if (!isTopic || !/^\d{5}-/.test(topic)) continue;
    const path = join(directory, "topics", topic);
    for (const name of folders(disk, path)) if (SEGMENT_FILES.test(name)) setFolderAside(join(path, name));
  }
}

/** The folders in a folder; none if that does not exist. */
function folders(disk: Disk, path: string): string[] {
  try {
    return disk.listFolders(path);
  } catch (error) {
    // Whoever needs the folder waits until it can be read.
    if (isKernelError(error)) return [];
    throw error;
  }
}

/** The names in a folder, and whether each is a folder; none if the folder does not exist. */
function entries(disk: Disk, path: string): [name: string, isFolder: boolean][] {
  try {
    const inside = new Set(disk.listFolders(path));
    return disk.list(path).map((name) => [name, inside.has(name)]);
  } catch (error) {
    // Whoever needs the folder waits until it can be read.
    if (isKernelError(error)) return [];
    throw error;
  }
}
