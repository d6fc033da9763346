import { isMissing } from "../disk/disk.ts";
import type { IndexEntry } from "./index-format.ts";

/** The records that belong to an index. */
export interface IndexedRecords {
  /**
   * Entries for the records from the index's end up to an offset and a sequence. There are none unless the records end exactly
   * there, and one if all records are intact.
   */
  entriesUpTo(offset: number, sequence: number): IndexEntry[];
  /** Checksum of an entry's records in the file; undefined where the file ends before. @throws UnreadableFile */
  sum(entry: Pick<IndexEntry, "offset" | "length">): number | undefined;
}

/**
 * Entries in place of damaged ones. Where the records are damaged, or were not known to be on the disk, there is one with a wrong
 * checksum, so that readers skip them.
 *
 * @param all what the damaged entries covered, and the time that the new ones get
 * @param slots how many entries were damaged. Slots that are not needed get empty entries.
 * @param wereSynced all of the records were on the disk
 */
export function replacementsFor(records: IndexedRecords, all: Omit<IndexEntry, "crc">, slots: number, wereSynced: boolean): IndexEntry[] {
  const { timeMs } = all;
  const offset = all.offset + all.length;
  const firstSequence = all.firstSequence + all.count;
  const found = wereSynced ? records.entriesUpTo(offset, firstSequence) : [];
  const known = found.length > 0 && found.length <= slots;
  const wrongCrc = () => ((sumIfThere(records, all) ?? 0) ^ 1) >>> 0;
  const entries: IndexEntry[] = known ? found.map((entry) => ({ ...entry, timeMs })) : [{ ...all, crc: wrongCrc() }];
  for (let slot = entries.length; slot < slots; slot++) entries.push({ offset, firstSequence, length: 0, count: 0, timeMs, crc: 0 });
  return entries;
}

/** The checksum of an entry's records; undefined where there is no log file, or it ends before. @throws UnreadableFile */
function sumIfThere(records: IndexedRecords, entry: Pick<IndexEntry, "offset" | "length">): number | undefined {
  try {
    return records.sum(entry);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
