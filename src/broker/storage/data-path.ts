import { chmodSync, type Dirent, readdirSync, statSync } from "node:fs";
import type { Logger } from "../../base/logger.ts";
import { FILE_MODE, FOLDER_MODE } from "./disk/disk.ts";

/** The broker keeps all its files in this folder of the data path. */
export const DATA_FOLDER = "bunsq-data";

const MODE_BITS = 0o7777;

/**
 * Takes away every permission of others on the data folder and everything in it, for the files of a release that did not, and for
 * those that a backup tool put there. Symbolic links inside it are not followed: what they name may belong to somebody else.
 */
export function restrictToOwner(directory: string, logger: Logger): void {
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true) return;
  const failures: Error[] = [];
  restrict(directory, FOLDER_MODE, failures);
  restrictContent(directory, failures);
  const [first] = failures;
  if (first === undefined) return;
  logger.warn(
    `cannot make ${failures.length} files and folders in ${directory} private to this user: ${first.message}; other users may be able to read messages`,
  );
}

function restrictContent(directory: string, failures: Error[]): void {
  for (const entry of entriesOf(directory, failures)) {
    const path = `${directory}/${entry.name}`;
    if (entry.isFile()) restrict(path, FILE_MODE, failures);
    if (!entry.isDirectory()) continue;
    restrict(path, FOLDER_MODE, failures);
    restrictContent(path, failures);
  }
}

/** None for a folder that belongs to somebody else, such as lost+found of a file system of its own: no reason not to start. */
function entriesOf(directory: string, failures: Error[]): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    failures.push(error as Error);
    return [];
  }
}

function restrict(path: string, mode: number, failures: Error[]): void {
  try {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat !== undefined && (stat.mode & MODE_BITS) !== mode) chmodSync(path, mode);
  } catch (error) {
    failures.push(error as Error);
  }
}
