import { join } from "node:path";
import type { Disk } from "../disk/disk.ts";
import type { FolderNames } from "../disk/folder-names.ts";
import { type IndexHeader, segmentName } from "./index-format.ts";
import { type FoundEntry, RecordScan } from "./record-scan.ts";
import { Segment } from "./segment.ts";
import { SegmentIndex } from "./segment-index.ts";

/**
 * Rebuilds a segment's index from the records in its log file. The index has another name until adoptIndex() or
 * abandonIndex(), so a crash in between changes nothing.
 *
 * @param endSequence records from this sequence on do not count; Infinity: all records do
 * @param known what is known of the segment without its index
 */
export function rebuildSegment(
  disk: Disk,
  names: FolderNames,
  name: string,
  endSequence: number,
  known: Pick<IndexHeader, "topicNumber" | "prefix" | "epoch">,
): Segment {
  const header = { ...known, baseSequence: Number.parseInt(name, 16), basePosition: Number.NaN };
  const index = new SegmentIndex(disk, names, `${name}.idx.new`, header);
  const segment = new Segment(disk, names, known.topicNumber, index, 0);
  segment.positionKnown = false;
  index.create();
  try {
    extendIndex(segment, endSequence);
  } catch (error) {
    segment.close();
    throw error;
  }
  return segment;
}

/** Makes the rebuilt index durable. @throws the kernel's error */
export function syncIndex({ index }: Segment): void {
  index.file.syncNow();
}

/** Renames the rebuilt index to the segment's own. */
export function adoptIndex({ index, files, baseSequence }: Segment, { directory }: FolderNames): void {
  index.file.rename(join(directory, `${segmentName(baseSequence)}.idx`));
  files.noteNames();
}

/** Removes the rebuilt index and closes the files. */
export function abandonIndex(segment: Segment): void {
  segment.close();
  segment.index.file.remove();
}

/** Whether the log file begins with this segment's first record, even if the record does not count. */
export function holdsRecords({ file, topicNumber, baseSequence }: Segment): boolean {
  let found = false;
  new RecordScan(file, topicNumber).scan(0, baseSequence, baseSequence + 1, ({ intact }) => {
    found = intact;
  });
  return found;
}

/**
 * Adds index entries for records behind the last one that has an entry, up to a sequence. To be called where the index is
 * known to have lost entries.
 */
export function extendIndex(segment: Segment, endSequence: number): void {
  const found: FoundEntry[] = [];
  const { file, topicNumber, length, nextSequence, index } = segment;
  // All of them are read before the first is added: if a read fails, the index still ends where it was lost.
  new RecordScan(file, topicNumber).scan(length, nextSequence, endSequence, (entry) => found.push(entry));
  for (const entry of found) {
    // A deferred message joins the log long after its timestamp, but entries must be in order of time.
    entry.timeMs = Math.max(segment.newestMs, entry.timeMs);
    if (!entry.intact) segment.damagedRecords += entry.count;
    index.add(entry);
  }
}
