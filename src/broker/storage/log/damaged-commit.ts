import type { Logger } from "../../../base/logger.ts";
import { type Disk, readFully, writeFully } from "../disk/disk.ts";
import type { LastRun } from "../file-notes.ts";
import type { IndexEntry } from "./index-format.ts";
import type { Segment } from "./segment.ts";

/** Bytes copied at once. */
const PIECE_BYTES = 256 * 1024;

/** What the reports need of a log's options. */
interface DamagedCommitsOptions {
  disk: Disk;
  topicName: string;
  logger: Logger;
  /** Called for each damaged region that is skipped. */
  onCorrupt: () => void;
  /** Messages below this sequence were on the disk when the run before ended. */
  syncedSequence?: number | undefined;
  lastRun?: LastRun;
  /** Other replicas of a log that has epochs may have what is damaged. */
  isReplicated?: boolean;
}

/** Reports the damaged commits of one log, and keeps their bytes. */
export class DamagedCommits {
  /** @param recoveredNext messages below this sequence are from earlier runs */
  constructor(
    private readonly options: DamagedCommitsOptions,
    private readonly recoveredNext: number,
  ) {}

  /** @param isLost no other replica has it */
  report(segment: Segment, entry: IndexEntry, problem: Error, isLost = false): void {
    const { topicName, logger, onCorrupt } = this.options;
    const which = `TOPIC(${topicName}): ${entry.count} messages from sequence ${entry.firstSequence} on`;
    const fate = this.options.isReplicated === true && segment.epoch > 0 && !isLost ? "another replica may have them" : "they are skipped";
    const where = `in ${segment.logPath} at byte ${entry.offset} (${problem.message}); ${fate}`;
    if (this.mayBeTorn(entry))
      return logger.warn(`${which} were torn by a crash before they reached the disk, ${where}`, { topic: topicName });
    onCorrupt();
    // An earlier reader has reported it.
    if (this.isKept(segment, entry)) logger.warn(`${which} are known to be damaged ${where}`, { topic: topicName });
    else logger.error(`${which} are damaged ${where}${this.keep(segment, entry)}`, { topic: topicName });
  }

  /** Compares every commit of a segment with its checksum, and reports those that are damaged and were not kept before. */
  reportAll(segment: Segment): void {
    for (let number = 0; number < segment.entries; number++) {
      const entry = segment.entryAt(number);
      if (entry.count === 0 || segment.verify(entry) || this.isKept(segment, entry)) continue;
      this.report(segment, entry, new Error("checksum does not match"));
    }
  }

  private mayBeTorn({ firstSequence }: IndexEntry): boolean {
    const { syncedSequence, lastRun } = this.options;
    if (lastRun === "clean" || lastRun === "killed" || syncedSequence === undefined) return false;
    return firstSequence >= syncedSequence && firstSequence < this.recoveredNext;
  }

  private isKept(segment: Segment, entry: IndexEntry): boolean {
    return this.options.disk.exists(keptCommitPath(segment.logPath, entry));
  }

  /** Keeps the bytes of a damaged commit. @returns the end of the sentence that tells where */
  private keep(segment: Segment, entry: IndexEntry): string {
    try {
      return `, and kept as ${keepCommit(this.options.disk, segment, entry)}`;
    } catch (error) {
      return `, and cannot be kept: ${(error as Error).message}`;
    }
  }
}

/**
 * The file in which the bytes of a damaged commit are kept for the operator, since the segment's file is used again later. It
 * also says that the damage is known: a check does not count it again.
 */
export function keptCommitPath(logPath: string, { offset }: Pick<IndexEntry, "offset">): string {
  return `${logPath}@${offset}.damaged`;
}

/** Keeps the bytes of a damaged commit, as far as its segment's file has them. @returns the new file. @throws the kernel's error */
function keepCommit(disk: Disk, { logPath }: Pick<Segment, "logPath">, entry: IndexEntry): string {
  const path = keptCommitPath(logPath, entry);
  if (disk.exists(path)) return path;
  const from = disk.open(logPath, "r");
  try {
    const to = disk.open(path, "w+");
    try {
      copy(disk, from, to, entry.offset, Math.min(entry.length, Math.max(0, disk.size(from) - entry.offset)));
    } finally {
      disk.close(to);
    }
  } finally {
    disk.close(from);
  }
  return path;
}

function copy(disk: Disk, from: number, to: number, offset: number, length: number): void {
  const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, length));
  for (let at = 0; at < length; at += piece.length) {
    const bytes = Math.min(piece.length, length - at);
    readFully(disk, from, piece, 0, bytes, offset + at);
    writeFully(disk, to, piece, 0, bytes, at);
  }
}
