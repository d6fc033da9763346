import type { Commit, CommitRun } from "../../broker/storage/log/commit-run.ts";
import { type FieldReader, type FieldWriter, WireError } from "./fields.ts";

// Commits with their records, as frames have them at their end:
//
//   epoch of the commits u32, starts segment u8, commits [first sequence, count u32, length u32, time f64 (ms since 1970), CRC-32 u32],
//   idempotency keys [first sequence of the publish, key], records
//
// That the commits follow each other, fit the records and match their checksums, the log looks at before it takes them.

const COMMIT_BYTES = 8 + 4 + 4 + 8 + 4;
/** A key that is empty. */
const KEY_BYTES = 8 + 1;

/** No less than the lists and records of a run take. */
export function runBytes({ commits, bytes, keys = [] }: CommitRun): number {
  let keyBytes = 0;
  for (const { key } of keys) keyBytes += KEY_BYTES + key.length;
  return commits.length * COMMIT_BYTES + keyBytes + bytes.length;
}

export function writeRun(writer: FieldWriter, run: CommitRun): void {
  writer.u32(run.epoch);
  writer.u8(run.startsSegment ? 1 : 0);
  writer.list(run.commits, ({ firstSequence, count, length, timeMs, crc }) => {
    writer.sequence(firstSequence);
    writer.u32(count);
    writer.u32(length);
    writer.f64(timeMs);
    writer.u32(crc);
  });
  writer.list(run.keys ?? [], ({ sequence, key }) => {
    writer.sequence(sequence);
    writer.latin1(key);
  });
  writer.bytes(run.bytes);
}

/** Reads what is left of a frame. The records stay in its memory. @throws WireError */
export function readRun(reader: FieldReader): CommitRun {
  const [epoch, startsSegment] = [reader.u32(), reader.flag()];
  const commits = reader.list(COMMIT_BYTES, (): Commit => {
    const [firstSequence, count, length] = [reader.sequence(), reader.u32(), reader.u32()];
    return { firstSequence, count, length, timeMs: reader.f64(), crc: reader.u32() };
  });
  const keys = reader.list(KEY_BYTES, () => ({ sequence: reader.sequence(), key: reader.latin1() }));
  const [first, last] = [commits[0], commits[commits.length - 1]];
  for (const { sequence } of keys) {
    if (first === undefined || sequence < first.firstSequence || sequence >= last.firstSequence + last.count)
      throw new WireError(`a key of sequence ${sequence}, which is not sent`);
  }
  return { isGap: false, epoch, startsSegment, commits, bytes: reader.rest(), ...(keys.length > 0 && { keys }) };
}
