import { UnreadableFile } from "../../broker/storage/disk/unreadable-file.ts";
import type { Replica } from "../replication/replica.ts";
import type { ReplicationCounts } from "../replication/replica-status.ts";

/** The most bytes that are read at once, but for a single commit that has more. */
const STEP_BYTES = 256 * 1024;
/** The most commits or runs of commits that are looked at in one step. */
const STEP_READS = 16;
/** Small logs are looked at more often than asked for. */
const LEAST_BYTES_PER_SECOND = 64 * 1024;
/** A step that begins so late says that the process has more to do than it can. */
const BUSY_MS = 20;

/**
 * Reads all replicas of this broker again and again, slowly, so that damage is found and mended before somebody needs the messages, or
 * before the other replicas are gone. It rests while the process is busy.
 */
export class Scrubber {
  private left: Replica[] = [];
  private replica: Replica | undefined;
  private sequence = 0;
  private credit = 0;
  private bytesPerSecond = LEAST_BYTES_PER_SECOND;
  private steppedMs: number | undefined;

  /** @param passMs how long a pass over all replicas may take; 0: there are none */
  constructor(
    private readonly passMs: number,
    private readonly replicas: () => Iterable<Replica>,
    private readonly counts: ReplicationCounts,
  ) {}

  /** To be called several times a second. @param lateMs by how much this is later than it should be */
  step(nowMs: number, lateMs: number): void {
    const sinceMs = nowMs - (this.steppedMs ?? nowMs);
    this.steppedMs = nowMs;
    if (this.passMs === 0 || lateMs > BUSY_MS) return;
    this.credit = Math.min(STEP_BYTES, this.credit + (sinceMs / 1_000) * this.bytesPerSecond);
    // Whole steps: a disk that sleeps is not woken for a few bytes.
    if (this.credit < STEP_BYTES) return;
    for (let reads = 0; reads < STEP_READS && this.credit > 0; reads++) if (!this.read()) return;
  }

  /** @returns false if nothing is left for now */
  private read(): boolean {
    if (this.replica === undefined && !this.next()) return false;
    const { replica } = this;
    if (replica === undefined) return false;
    const { log } = replica.partition;
    if (this.sequence < log.start) this.sequence = log.start;
    try {
      const found = log.repair.scrub(this.sequence, this.credit);
      if (found === undefined) {
        this.replica = undefined;
        return true;
      }
      this.credit -= found.bytes;
      this.counts.scrubbedBytes += found.bytes;
      this.sequence = found.next;
      if (found.isDamaged) this.onDamage(replica);
    } catch (error) {
      if (!(error instanceof UnreadableFile)) throw error;
      // The next pass tries again.
      this.replica = undefined;
    }
    return true;
  }

  private onDamage({ partition, repair }: Replica): void {
    const range = partition.log.repair.damageAt(this.sequence);
    if (range === undefined) {
      this.sequence++;
      return;
    }
    repair.need(range.from, range.to);
    this.sequence = range.to;
  }

  /** Goes on with the next replica. @returns false after the last one of a pass */
  private next(): boolean {
    this.replica = this.left.pop();
    this.sequence = 0;
    if (this.replica !== undefined) return true;
    this.left = [...this.replicas()];
    const bytes = this.left.reduce((sum, { partition }) => sum + partition.log.bytes, 0);
    this.bytesPerSecond = Math.max(LEAST_BYTES_PER_SECOND, bytes / (this.passMs / 1_000));
    this.credit = 0;
    return false;
  }
}
