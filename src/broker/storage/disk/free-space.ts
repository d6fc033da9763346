import type { Logger } from "../../../base/logger.ts";
import type { BallastFile } from "./ballast.ts";
import type { Disk } from "./disk.ts";

/** Free space is measured this often when there is plenty. */
const FAR_INTERVAL_MS = 1000;
/** Free space is measured this often when a flood of publishes could use it up within FAR_INTERVAL_MS. */
const NEAR_INTERVAL_MS = 50;
/** The most that a disk takes of a flood within FAR_INTERVAL_MS. */
const NEAR_BYTES = 2 ** 31;
/** A disk that was full counts as full until this much more than --min-free-bytes is free. */
const ROOM_BYTES = 256 * 1024;
/**
 * Publishes are accepted again when this many times --min-free-bytes are free. The margin keeps the answer from changing
 * with each message.
 */
const HYSTERESIS = 1.05;
/** Cursors and new channels have this share of --min-free-bytes to themselves; deferred messages and requeues may use the rest. */
const OWN_SHARE = 0.5;

/**
 * Watches the free space of the data path's disk, and says what may still be written.
 *
 * Below --min-free-bytes publishes are refused. The room that is left is for recording what consumers do: they drain, and
 * the segments that they have finished give the space back.
 */
export class FreeSpace {
  /** Why publishes are refused; undefined while they are accepted. */
  refusal: Error | undefined;
  /** So little is free that deferred messages that fall due and requeues must wait where they are. */
  critical = false;
  /** There is room for writes that a full disk refused. */
  hasRoom = false;
  /** As measured last; undefined where the file system does not say. */
  freeNow: { readonly freeBytes: number; readonly totalBytes: number } | undefined;
  private nextCheckMs = 0;

  constructor(
    private readonly disk: Disk,
    private readonly directory: string,
    private readonly minFreeBytes: number,
    private readonly ballast: BallastFile,
    private readonly logger: Logger,
    /** Called with true when publishes are refused from now on, and with false when they are accepted again. */
    private readonly onChange: (low: boolean) => void,
  ) {}

  /** Measures the free space if it is time to. @param nowMs of a steady clock */
  check(nowMs: number): void {
    if (nowMs < this.nextCheckMs) return;
    this.measure(nowMs);
  }

  /** A write failed, perhaps for lack of room: brings the next measurement forward. @param nowMs of the same clock as for check() */
  failed(nowMs: number): void {
    this.nextCheckMs = Math.min(this.nextCheckMs, nowMs + NEAR_INTERVAL_MS);
  }

  /** Whether the disk takes writes: there is room for those that a full disk refused, and a small file can be written. */
  takesWrites(): boolean {
    return this.hasRoom && this.ballast.canWrite();
  }

  private measure(nowMs: number): void {
    this.nextCheckMs = nowMs + FAR_INTERVAL_MS;
    this.freeNow = this.space();
    if (this.freeNow === undefined) return;
    const { freeBytes } = this.freeNow;
    if (freeBytes < this.minFreeBytes + NEAR_BYTES) this.nextCheckMs = nowMs + NEAR_INTERVAL_MS;
    if (!this.ballast.exists) this.ballast.create(this.minFreeBytes);
    this.hasRoom = freeBytes > this.minFreeBytes + ROOM_BYTES;
    this.critical = freeBytes < this.minFreeBytes * OWN_SHARE;
    const low = freeBytes < this.minFreeBytes * (this.refusal === undefined ? 1 : HYSTERESIS);
    if (low === (this.refusal !== undefined)) return;
    if (low) {
      this.refusal = new Error(`the disk is nearly full: ${freeBytes} bytes are free, --min-free-bytes keeps ${this.minFreeBytes}`);
      this.logger.error(`DISK: refusing publishes: ${this.refusal.message}`);
    } else {
      this.refusal = undefined;
      this.logger.info(`DISK: accepting publishes again: ${freeBytes} bytes are free`);
    }
    this.onChange(low);
  }

  /** @returns undefined where the file system does not say */
  private space(): { freeBytes: number; totalBytes: number } | undefined {
    try {
      return this.disk.space(this.directory);
    } catch (error) {
      this.logger.error(`DISK: cannot read the free space of ${this.directory}: ${(error as Error).message}`);
      return undefined;
    }
  }
}
