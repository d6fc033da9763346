import { join } from "node:path";
import type { Logger } from "../../../base/logger.ts";
import { DamageLog } from "../damage-log.ts";
import type { Disk } from "../disk/disk.ts";
import { setAside } from "../disk/set-aside.ts";
import { FileNotes, mayBeCutOff } from "../file-notes.ts";
import type { Bucket } from "./bucket.ts";
import type { BucketFinding } from "./bucket-finding.ts";
import { NOTED_FOLDER } from "./bucket-notes.ts";

/** How damage is told from the end of a run, and what is done with it. */
export interface DamageOptions {
  /** What earlier runs noted about the files, and where notes of this one go. */
  notes?: FileNotes;
  damage?: DamageLog;
  /** False: damaged files are left as they are, as in a check. */
  keepDamage?: boolean;
}

/** Tells damage to buckets from what the end of a run leaves, logs it, and keeps the damaged files. */
export class BucketDamage {
  readonly notes: FileNotes;
  private readonly damage: DamageLog;
  private readonly keep: boolean;

  constructor(
    private readonly disk: Disk,
    private readonly directory: string,
    logger: Logger,
    { notes = new FileNotes(), damage = new DamageLog(logger), keepDamage = true }: DamageOptions,
  ) {
    this.notes = notes;
    this.damage = damage;
    // The intact entries may be on the disk, and their copies are not before the next sync: another power cut could take them.
    this.keep = keepDamage && notes.lastRunWroteAll;
  }

  /**
   * Whether the last run's end explains that the last bytes of a bucket are no intact entry.
   *
   * @param complete the file has as many bytes as the last entry says it takes
   */
  explainsTail(bucket: Bucket, { end, fileBytes, complete }: { end: number; fileBytes: number; complete: boolean }): boolean {
    const { lastRun } = this.notes;
    if (lastRun !== "clean" && lastRun !== "killed") return true;
    return !complete && end >= this.noted(`${bucket.name}.msg`) && mayBeCutOff(lastRun, fileBytes);
  }

  /**
   * Logs what is wrong with a bucket that was read, and replaces its damaged files by what is intact in them.
   *
   * @returns false if damaged files could not be kept under other names, so the bucket's files must stay
   */
  judge(bucket: Bucket, finding: BucketFinding): boolean {
    const entries = this.entryProblem(bucket, finding);
    const status = this.statusProblem(bucket, finding);
    let kept = true;
    if (entries !== undefined) kept = this.report(entries, () => bucket.replaceEntries());
    if (status !== undefined) kept = this.report(status, () => bucket.replaceStatus()) && kept;
    if (entries === undefined && status === undefined) return true;
    // Notes of what was there before must not outlive it.
    this.notes.forget(`${NOTED_FOLDER}${bucket.name}.msg`);
    this.notes.forget(`${NOTED_FOLDER}${bucket.name}.done`);
    return kept;
  }

  /** Logs the buckets that notes speak of and that are gone. @param names the files that are there */
  reportMissing(names: readonly string[]): void {
    for (const noted of this.notes.names(NOTED_FOLDER)) {
      const name = noted.slice(NOTED_FOLDER.length);
      if (names.includes(name)) continue;
      const status = name.endsWith(".done");
      const lost = status ? "messages that were finished may be delivered again" : "the messages in it are lost";
      const kept = status ? "" : this.keepStatus(name);
      const line = `deferred messages: ${join(this.directory, name)} is missing; ${lost}${kept}`;
      // A power cut may bring back the note about a file that was removed.
      if (this.notes.lastRun === "power cut") this.damage.warn(line);
      else this.damage.report("deferred", line);
      this.notes.forget(noted);
      this.notes.forget(noted.replace(/msg$/, "done"));
    }
  }

  /** Keeps the status records of a bucket whose entries are gone. */
  private keepStatus(name: string): string {
    const path = join(this.directory, name.replace(/msg$/, "done"));
    return this.keep && this.disk.exists(path) ? `; its status records are kept as ${setAside(this.disk, path)}` : "";
  }

  private entryProblem({ name, damagedBytes }: Bucket, { end, fileBytes, explained, tailBytes }: BucketFinding): string | undefined {
    const path = join(this.directory, `${name}.msg`);
    if (explained && tailBytes > 0)
      this.damage.warn(`deferred messages: the last ${tailBytes} bytes of ${path} were torn by a crash; they are dropped`);
    const damaged = damagedBytes + (explained ? 0 : tailBytes);
    const missing = this.noted(`${name}.msg`) - end - tailBytes;
    if (damaged === 0 && missing <= 0) return undefined;
    const cut = missing > 0 ? [`${path} is cut to ${fileBytes} bytes; ${missing} bytes of messages are lost`] : [];
    return [...(damaged > 0 ? [`${damaged} bytes in ${path} are damaged; they are skipped`] : []), ...cut].join("; ");
  }

  private statusProblem({ name }: Bucket, { status }: BucketFinding): string | undefined {
    const { lastRun } = this.notes;
    // A power cut damages what was written last, in any order.
    if (lastRun === "power cut") return undefined;
    const path = join(this.directory, `${name}.done`);
    const missing = status.exists ? this.noted(`${name}.done`) - status.bytes : 0;
    const damaged = status.damaged + (status.cutOff > 0 && !mayBeCutOff(lastRun, status.fileBytes) ? 1 : 0);
    if (damaged === 0 && missing <= 0) return undefined;
    const problems = [
      ...(damaged > 0 ? [`${damaged} records in ${path} are damaged`] : []),
      ...(missing > 0 ? [`${path} is cut to ${status.fileBytes} bytes`] : []),
      "messages that were finished may be delivered again",
    ];
    return problems.join("; ");
  }

  private report(problem: string, replace: () => string): boolean {
    let failed = false;
    let kept = "";
    try {
      const aside = this.keep ? replace() : undefined;
      if (aside !== undefined) kept = `; it is kept as ${aside}`;
    } catch (error) {
      failed = true;
      kept = `; it cannot be replaced: ${(error as Error).message}`;
    }
    this.damage.report("deferred", `deferred messages: ${problem}${kept}`);
    return !failed;
  }

  /** What a file had at least. A note that a power cut left may be newer than what the disk has. */
  private noted(name: string): number {
    return this.notes.lastRun === "power cut" ? 0 : (this.notes.bytesOf(`${NOTED_FOLDER}${name}`) ?? 0);
  }
}
