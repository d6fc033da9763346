import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { syncFolder, systemFiles } from "../../nsqd-data/files.ts";

/** Where nsqd's files are after an import, in the folder in which they were before. */
const IMPORTED_FOLDER = "nsqd-data-imported";
const MOST_FOLDERS = 1000;

/** nsqd's metadata, and a queue's files: messages, metadata, what nsqd could not read, and what a crash left. */
const NSQD_FILE = /^nsqd(?:\.\d+)?\.dat(?:\.\d+\.tmp)?$|\.diskqueue\.(?:meta|\d{6,})\.dat(?:\.bad|\.\d+\.tmp)?$/;

/** Names of the files of nsqd in a folder. nsqd.dat is the first: without it, nsqd would start with no topics. */
export function nsqdFiles(folder: string): string[] {
  return systemFiles
    .list(folder)
    .filter((name) => NSQD_FILE.test(name))
    .sort((a, b) => Number(b === "nsqd.dat") - Number(a === "nsqd.dat") || (a < b ? -1 : 1));
}

/** Whether an import has moved files of nsqd from a folder. */
export function wasImported(folder: string): boolean {
  return existsSync(join(folder, IMPORTED_FOLDER));
}

/** The name of a folder that does not exist yet. */
export function newImportedFolder(folder: string): string {
  for (let i = 1; i < MOST_FOLDERS; i++) {
    const name = i === 1 ? IMPORTED_FOLDER : `${IMPORTED_FOLDER}-${i}`;
    if (!existsSync(join(folder, name))) return name;
  }
  throw new Error(`${folder} has ${MOST_FOLDERS} folders of earlier imports; remove those that are not needed any more`);
}

/** Moves nsqd's files to a folder inside their own. A kill in between leaves some of them to be moved. @throws the kernel's error */
export function moveNsqdFiles(folder: string, name: string): void {
  const target = join(folder, name);
  mkdirSync(target, { recursive: true, mode: 0o700 });
  for (const file of nsqdFiles(folder)) renameSync(join(folder, file), join(target, file));
  syncFolder(target);
  syncFolder(folder);
}
