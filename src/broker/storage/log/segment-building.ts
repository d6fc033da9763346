import { join } from "node:path";
import { type Disk, removeIfThere } from "../disk/disk.ts";
import type { FolderNames } from "../disk/folder-names.ts";
import type { CommitRun } from "./commit-run.ts";
import { type IndexHeader, segmentName } from "./index-format.ts";
import { Segment } from "./segment.ts";
import { SegmentIndex } from "./segment-index.ts";

/** The ending of a file that says that nothing proves a segment's records to be what was written. */
const DOUBT_ENDING = ".doubt";

/**
 * A segment that is built from commits of another replica. Its files have other names until it is whole and on the disk: what ends it
 * before leaves the log as it was, and the next start removes them.
 */
export class SegmentBuilding {
  readonly segment: Segment;
  private readonly path: string;

  /** @throws the kernel's error */
  constructor(disk: Disk, names: FolderNames, header: IndexHeader) {
    const name = segmentName(header.baseSequence);
    const index = new SegmentIndex(disk, names, `${name}.idx.new`, header);
    this.path = join(names.directory, name);
    this.segment = new Segment(disk, names, header.topicNumber, index, header.basePosition, `${name}.log.new`);
    try {
      this.segment.file.create();
      index.create();
    } catch (error) {
      this.abandon();
      throw error;
    }
  }

  /** @throws the kernel's error */
  add(run: CommitRun): void {
    this.segment.commitRun(run);
  }

  sync(done: (failure: Error | undefined) => void): void {
    this.segment.sync(done);
  }

  /**
   * Gives the files their names, in place of what has them. The index comes last: the one that was there is no worse with the new log file
   * beside it, which has the same records at the same offsets.
   *
   * @throws the kernel's error
   */
  adopt(): Segment {
    const { segment, path } = this;
    segment.file.rename(`${path}.log`);
    segment.index.file.rename(`${path}.idx`);
    segment.files.noteNames();
    return segment;
  }

  /** Removes the files. */
  abandon(): void {
    this.segment.close();
    try {
      this.segment.files.remove();
    } catch {
      // The next start removes them.
    }
  }
}

/** Whether a name is that of a file that a building was about to rename. */
export function isBeingBuilt(name: string): boolean {
  return name.endsWith(".idx.new") || name.endsWith(".log.new");
}

/** The segments, by name, of which a file says that they are doubtful. @param names those in the log's folder */
export function doubtfulSegments(names: readonly string[]): Set<string> {
  return new Set(names.filter((name) => name.endsWith(DOUBT_ENDING)).map((name) => name.slice(0, -DOUBT_ENDING.length)));
}

/** Notes that nothing proves a segment's records, over restarts, until another replica has confirmed them. @throws the kernel's error */
export function noteDoubt(disk: Disk, { directory }: FolderNames, segment: Segment): void {
  segment.isDoubtful = true;
  disk.close(disk.open(doubtPath(directory, segmentName(segment.baseSequence)), "w+"));
}

export function forgetDoubt(disk: Disk, { directory }: FolderNames, name: string): void {
  removeIfThere(disk, doubtPath(directory, name));
}

function doubtPath(directory: string, name: string): string {
  return join(directory, `${name}${DOUBT_ENDING}`);
}
