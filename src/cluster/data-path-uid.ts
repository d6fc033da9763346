import { join } from "node:path";
import type { RandomSource } from "../base/random-source.ts";
import { StartError } from "../base/start-error.ts";
import type { Disk } from "../broker/storage/disk/disk.ts";
import { readSmallFile, replaceSmallFile } from "./small-file.ts";

/** In the broker's folder: `{"uid":"…"}` and a line end, with 32 hex digits. */
const FILE = "data-path";
const UID_BYTES = 16;
const CONTENT = /^\{"uid":"([0-9a-f]{32})"\}\n$/;
/** As many digits of a uid are shown to people. */
const SHOWN_DIGITS = 8;

/** What people are shown of a uid, in log lines as in `bunsq cluster status`. */
export function shortUid(uid: string): string {
  return uid.slice(0, SHOWN_DIGITS);
}

/**
 * The name of a data path in the cluster, which is what a replica is. It is made when the data path first joins a cluster, and is on the
 * disk before it is used: a data path that is emptied, or another disk in its place, has another one and is another replica.
 *
 * @param directory the broker's folder in the data path
 * @throws StartError if it cannot be read or made. Another one must not take its place then, as the data is still there
 */
export function dataPathUid(disk: Disk, directory: string, random: RandomSource): string {
  const path = join(directory, FILE);
  try {
    const uid = read(disk, path) ?? make(disk, path, random);
    // Its name may be from a run that was killed before it made it durable.
    disk.syncDirectoryNow(directory);
    return uid;
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw new StartError(`cannot read or make ${path}, which names this data path in the cluster: ${(error as Error).message}`);
  }
}

function read(disk: Disk, path: string): string | undefined {
  const content = readSmallFile(disk, path);
  if (content === undefined) return undefined;
  const uid = CONTENT.exec(content)?.[1];
  if (uid !== undefined) return uid;
  throw new StartError(
    `${path} is damaged, which names this data path in the cluster: restore it from a backup, or remove it to let the data path join as a new replica`,
  );
}

function make(disk: Disk, path: string, random: RandomSource): string {
  const bytes = Buffer.alloc(UID_BYTES);
  random(bytes);
  const uid = bytes.toString("hex");
  replaceSmallFile(disk, path, `{"uid":"${uid}"}\n`);
  return uid;
}
