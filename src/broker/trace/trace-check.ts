import { join } from "node:path";
import { closeQuietly, type Disk } from "../storage/disk/disk.ts";
import { reading } from "../storage/disk/unreadable-file.ts";
import { RECORD_BYTES } from "./record.ts";
import { batchAt, judgeFileHead, nextBatch } from "./trace-batch.ts";
import { FILE_NAME, readUpTo } from "./trace-files.ts";

/** What a check found of the traces of messages. */
export interface TraceFindings {
  files: number;
  bytes: number;
  records: number;
  /** What is wrong. It costs records of traces, and no message. */
  readonly problems: string[];
}

/** Checks all trace files of a stopped broker. A torn batch at the end of a file is what a kill leaves. @throws UnreadableFile */
export function checkTraces(disk: Disk, directory: string): TraceFindings {
  const findings: TraceFindings = { files: 0, bytes: 0, records: 0, problems: [] };
  for (const name of reading(directory, () => (disk.exists(directory) ? disk.list(directory) : []))) {
    if (FILE_NAME.test(name)) checkFile(disk, join(directory, name), findings);
  }
  return findings;
}

function checkFile(disk: Disk, path: string, findings: TraceFindings): void {
  const bytes = reading(path, () => readWhole(disk, path));
  findings.files++;
  findings.bytes += bytes.length;
  const head = judgeFileHead(bytes, bytes.length);
  if (head === "newer") findings.problems.push(`${path} was written by a newer bunsq; it is not read`);
  if (head === "damaged") findings.problems.push(`the head of ${path} is damaged; the file is not read`);
  if (head !== "sound") return;
  let damagedBytes = 0;
  let sinceWhole = 0;
  for (let at = RECORD_BYTES; at < bytes.length; ) {
    const batch = batchAt(bytes, at, bytes.length);
    if (batch === "incomplete") break;
    if (batch === "damaged") {
      const next = nextBatch(bytes, at, bytes.length);
      if (next <= at) break;
      sinceWhole += next - at;
      at = next;
      continue;
    }
    damagedBytes += sinceWhole;
    sinceWhole = 0;
    findings.records += batch.records;
    at = batch.end;
  }
  if (damagedBytes > 0) findings.problems.push(`${damagedBytes} bytes in ${path} are damaged; what they say of traced messages is skipped`);
}

function readWhole(disk: Disk, path: string): Buffer {
  const fd = disk.open(path, "r");
  try {
    const bytes = Buffer.allocUnsafe(disk.size(fd));
    return bytes.subarray(0, readUpTo(disk, fd, bytes, bytes.length, 0));
  } finally {
    closeQuietly(disk, fd);
  }
}
