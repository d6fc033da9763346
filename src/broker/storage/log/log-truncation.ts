import { closeQuietly, type Disk, removeIfThere } from "../disk/disk.ts";
import type { FolderNames } from "../disk/folder-names.ts";
import type { PieceCache } from "./commit-pieces.ts";
import type { Segment } from "./segment.ts";

/**
 * Removes the newest records of a log that is open. Whatever ends it in between leaves a log that ends at the sequence or behind it, and
 * has what it had below: segments go one after the other, the newest first, each first its index entries, then its log file, then its
 * index. So no start rebuilds an index for records that were removed. Removed and replaced files are synced before anything follows:
 * should the power fail with later segments written and removed ones back, old records would seem to follow on new ones.
 */
export class LogTruncation {
  /** The names that were removed, and those of indexes that were replaced, without a sync that succeeded since. */
  private readonly removed = new Set<string>();
  private replaced = false;
  /** A sync failed, so the kernel may take for removed what the disk still has. */
  private lost = false;

  /**
   * @param segments those of the log, in order
   * @param forget called for a segment that is in the log no more
   */
  constructor(
    private readonly disk: Disk,
    private readonly segments: Segment[],
    private readonly names: FolderNames,
    private readonly forget: (segment: Segment) => void,
  ) {}

  /**
   * Removes the records from a sequence on, and the segments that begin there or later. The first segment stays: its header has the
   * log's first sequence.
   *
   * @returns the newest segment then
   * @throws UnreadableFile; the kernel's error. A part may be removed then, none of it below the sequence, and a later call goes on
   */
  run(sequence: number, pieces: PieceCache): Segment | undefined {
    const { segments } = this;
    let tail = segments[segments.length - 1];
    while (tail !== undefined && tail.baseSequence >= sequence && segments.length > 1) {
      this.removed.add(tail.logPath).add(tail.indexPath);
      tail.discard();
      segments.pop();
      this.forget(tail);
      tail = segments[segments.length - 1];
    }
    if (tail === undefined) return undefined;
    pieces.forgetSegment(tail);
    if (tail.nextSequence > sequence && tail.cutIndex(sequence)) this.replaced = true;
    // Nothing is left of the leader that had written the first segment: any epoch may follow.
    if (tail.entries === 0 && tail.epoch > 0 && tail.baseSequence === sequence) tail.setEpoch(0);
    if (this.removed.size > 0 || this.replaced) this.syncNames();
    tail.cutFile();
    return tail;
  }

  /**
   * Puts a new segment in the place of the only one, which has no records, unless that begins at the sequence.
   *
   * @param create adds the new one
   * @returns the only one then
   * @throws the kernel's error; a later call goes on
   */
  restart(sequence: number, create: () => Segment): Segment {
    const { segments } = this;
    const [old] = segments;
    if (old !== undefined && old.baseSequence !== sequence) {
      this.removed.add(old.logPath).add(old.indexPath);
      old.discard();
      segments.shift();
      this.forget(old);
    }
    if (this.removed.size > 0) this.syncNames();
    return segments[0] ?? create();
  }

  private syncNames(): void {
    if (this.lost) this.removeAgain();
    this.lost = true;
    this.names.syncRemovalNow();
    this.lost = this.replaced = false;
    this.removed.clear();
  }

  /** A log file is never without its index meanwhile, so a start takes both for a segment that was about to be made. */
  private removeAgain(): void {
    const paths = [...this.removed].filter((path) => !this.disk.exists(path));
    for (const path of paths) closeQuietly(this.disk, this.disk.open(path, "w+"));
    for (const path of paths.toReversed()) removeIfThere(this.disk, path);
  }
}
