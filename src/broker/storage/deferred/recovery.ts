import { join } from "node:path";
import type { Logger } from "../../../base/logger.ts";
import type { Ballast } from "../disk/ballast.ts";
import { type Disk, GONE_ENDING, removeIfThere } from "../disk/disk.ts";
import { checkVersion } from "../file-head.ts";
import { Bucket, parseBucketName } from "./bucket.ts";
import { type BucketSet, FINEST_MS } from "./bucket-set.ts";
import { MOVE_PIECE_BYTES } from "./cascade.ts";
import { ENTRIES_FORMAT, type StoredEntry } from "./entry.ts";
import { STATUS_FORMAT } from "./status-file.ts";

export interface Recovered {
  /** Higher than the number of every entry that the files name, done or not: a record that says "done" must not hit a new entry. */
  nextNumber: number;
  /** Records of which entries joined their logs could not be written: no log may grow before they are. */
  recoveryUnwritten: boolean;
}

/**
 * Reads all buckets of an earlier run.
 *
 * @param hasJoined whether the topic's log has, at a sequence, the publish that was about to join it there
 * @param visit called for each entry that is not done
 * @throws StartError, before anything is changed, when a newer version wrote one of the files; the kernel's error
 */
export function recoverBuckets(
  buckets: BucketSet,
  logger: Logger,
  ballast: Ballast,
  hasJoined: (entry: StoredEntry, sequence: number) => boolean,
  visit: (entry: StoredEntry) => void,
): Recovered {
  const { directory } = buckets;
  const recovered = { nextNumber: 0, recoveryUnwritten: false };
  // A kill in the middle of a move leaves entries in two buckets. In the wider one they are at the front.
  const maybeMoved = new Map<number, { entry: StoredEntry; bucket: Bucket }>();
  for (const bucket of findBuckets(buckets.disk, directory)) {
    const file = join(directory, bucket.name);
    let entries = 0;
    const cut = bucket.recover(hasJoined, (entry) => {
      entries++;
      const twin = maybeMoved.get(entry.number);
      if (twin !== undefined) {
        maybeMoved.delete(entry.number);
        twin.bucket.stageDone(entry.number);
        buckets.dirty.add(twin.bucket);
      }
      const atFront = bucket.widthMs > FINEST_MS && entry.offset - bucket.movedTo <= MOVE_PIECE_BYTES;
      if (atFront) maybeMoved.set(entry.number, { entry: { ...entry }, bucket });
      else visit(entry);
    });
    recovered.nextNumber = Math.max(recovered.nextNumber, bucket.highestNumber + 1);
    if (cut > 0) logger.warn(`deferred messages: the last ${cut} bytes of ${file}.msg were torn by a crash; they are dropped`);
    if (bucket.damagedBytes > 0)
      logger.error(`deferred messages: ${bucket.damagedBytes} bytes in ${file}.msg are damaged; they are skipped`);
    // Whether entries joined their logs shows at the ends of the logs: the answer must be written before the logs grow.
    const failure = bucket.commitStatus(ballast);
    bucket.closeFiles();
    if (failure !== undefined) {
      logger.error(`deferred messages: cannot write status records to ${directory}: ${failure.message}`);
      recovered.recoveryUnwritten = true;
      buckets.dirty.add(bucket);
    }
    if (entries === 0) buckets.remove(bucket);
    else buckets.add(bucket);
  }
  for (const { entry } of maybeMoved.values()) visit(entry);
  return recovered;
}

/** Finds the buckets of an earlier run, widest first, and removes the remains of removed ones. */
function findBuckets(disk: Disk, directory: string): Bucket[] {
  const names = disk.list(directory);
  for (const name of names) {
    if (name.endsWith(".msg")) checkVersion(disk, join(directory, name), ENTRIES_FORMAT);
    else if (name.endsWith(".done")) checkVersion(disk, join(directory, name), STATUS_FORMAT);
  }
  const found: Bucket[] = [];
  for (const name of names) {
    const span = parseBucketName(name);
    if (span !== undefined) found.push(new Bucket(disk, directory, span.startMs, span.widthMs));
    // A crash came while a bucket was removed. Its status records must not count for a later bucket of the same name.
    else if (name.endsWith(GONE_ENDING) || (name.endsWith(".done") && !names.includes(name.replace(/done$/, "msg"))))
      removeIfThere(disk, join(directory, name));
  }
  return found.sort((a, b) => b.widthMs - a.widthMs);
}
