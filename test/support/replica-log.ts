import { systemClock } from "../../src/base/clock.ts";
import type { Disk } from "../../src/broker/storage/disk/disk.ts";
import type { LastRun } from "../../src/broker/storage/file-notes.ts";
import { ChunkPool } from "../../src/broker/storage/log/chunk.ts";
import type { Epoch } from "../../src/broker/storage/log/epochs.ts";
import { LogFiles } from "../../src/broker/storage/log/log-files.ts";
import { Recycler } from "../../src/broker/storage/log/recycler.ts";
import { TopicLog } from "../../src/broker/storage/log/topic-log.ts";
import { idPrefix } from "../../src/frame/id.ts";
import { MemoryLogger } from "./in-process.ts";
import { readBySequence, TIME, TOPIC_NUMBER } from "./log-fixture.ts";
import type { Random } from "./random.ts";

const DIRECTORY = "/data/topics/t";

export interface ReplicaLogOptions {
  /** What the metadata store knows: messages below it were on the disk. */
  synced: number;
  /** Messages below it are finished. */
  floor: number;
  lastRun?: LastRun;
  maxBytesPerFile?: number;
}

/** One replica's log on a disk in memory. The body of each message says its epoch and its sequence. */
export class ReplicaLog {
  readonly logger = new MemoryLogger();
  readonly files: LogFiles;
  readonly log: TopicLog;

  constructor(
    readonly disk: Disk,
    { synced, floor, lastRun, maxBytesPerFile = 1500 }: ReplicaLogOptions,
  ) {
    disk.makeDirectory("/data/topics");
    const recycler = new Recycler(disk, "/data/recycled", 4096);
    disk.syncDirectoryNow("/data");
    disk.syncDirectoryNow("/");
    this.files = new LogFiles(
      {
        disk,
        directory: DIRECTORY,
        topicId: TOPIC_NUMBER,
        topicNumber: TOPIC_NUMBER,
        topicName: "t",
        maxBytesPerFile,
        syncEvery: Number.POSITIVE_INFINITY,
        recycler,
        logger: this.logger,
        onCorrupt: () => {},
        syncedSequence: synced,
        neededSequence: floor,
        ...(lastRun === undefined ? {} : { lastRun }),
      },
      floor,
    );
    this.files.syncsByItself = false;
    this.files.skipTo(Math.max(synced, floor));
    this.log = new TopicLog(new ChunkPool(1024 * 1024), systemClock, idPrefix(1, TOPIC_NUMBER), this.files, floor);
  }

  /** Commits some messages together. */
  commit(random: Random, timeMs: number): void {
    for (let count = random.pick([1, 1, 2, 5, 20]); count > 0; count--) {
      const body = Buffer.from(`${this.files.epoch}:${this.log.next}:${"x".repeat(random.int(0, random.pick([10, 100, 700])))}`);
      this.log.append(body, 0, body.length, TIME);
    }
    this.log.commit(timeMs);
  }

  bodies(): Map<number, string> {
    return readBySequence(this.log);
  }

  /** The files of the segments, by name: an index whole, and of a log file what the index covers. */
  segmentFiles(): Map<string, string> {
    const { disk } = this;
    const files = new Map<string, string>();
    for (const name of disk.list(DIRECTORY).sort()) {
      if (!/\.(log|idx)$/.test(name)) continue;
      const fd = disk.open(`${DIRECTORY}/${name}`, "r");
      const bytes = Buffer.alloc(disk.size(fd));
      disk.read(fd, bytes, 0, bytes.length, 0);
      disk.close(fd);
      files.set(name, bytes.toString("hex"));
    }
    return files;
  }
}

/** The epoch that a list says a sequence has. */
export function epochAt(epochs: readonly Epoch[], sequence: number): number | undefined {
  return epochs.findLast(({ firstSequence }) => firstSequence <= sequence)?.epoch;
}

/** @throws if a message is not of the epoch or sequence that the log says */
export function checkBodies({ log, files }: ReplicaLog, bodies: ReadonlyMap<number, string>): void {
  const epochs = files.epochs();
  for (const [i, { epoch, firstSequence }] of epochs.entries()) {
    const before = epochs[i - 1];
    if (before !== undefined && (before.epoch >= epoch || before.firstSequence > firstSequence)) throw new Error(JSON.stringify(epochs));
  }
  for (const [sequence, body] of bodies) {
    const expected = `${epochAt(epochs, sequence)}:${sequence}:`;
    if (!body.startsWith(expected)) throw new Error(`${sequence} has ${body.slice(0, 20)}, not ${expected}… of ${JSON.stringify(epochs)}`);
    if (sequence >= log.next) throw new Error(`${sequence} is behind the end`);
  }
}

/** Where two logs part, by their epochs: all that the second one has below this sequence, the first one has as well. */
export function partingOf(leader: ReplicaLog, follower: ReplicaLog): number {
  const ofLeader = leader.files.epochs();
  const ofFollower = follower.files.epochs();
  const common = ofFollower.findLast(({ epoch }) => ofLeader.some((other) => other.epoch === epoch))?.epoch;
  // The one has nothing that the leader of the other has written.
  if (common === undefined) return Math.max(leader.log.startSequence, follower.log.startSequence);
  const endIn = (epochs: readonly Epoch[], next: number) => epochs.find(({ epoch }) => epoch > common)?.firstSequence ?? next;
  return Math.min(endIn(ofLeader, leader.log.next), endIn(ofFollower, follower.log.next));
}

/** Copies runs of commits. @returns whether the follower has everything then */
export function copyRuns(leader: ReplicaLog, follower: ReplicaLog, maxBytes: number, most = Number.POSITIVE_INFINITY): boolean {
  for (let count = 0; count < most; count++) {
    const run = leader.log.commitsFrom(follower.log.next, maxBytes);
    if (run === undefined) return true;
    if (run.isGap) throw new Error(`a gap at ${follower.log.next}`);
    if (run.epoch > follower.files.epoch) follower.files.beginEpoch(run.epoch);
    follower.log.appendCommits({ ...run, bytes: Buffer.from(run.bytes) });
  }
  return false;
}
