import type { Logger } from "../../../base/logger.ts";
import type { BallastFile } from "./ballast.ts";
import type { Disk } from "./disk.ts";

/** Free space is asked for this often when it is plenty. */
const FAR_INTERVAL_MS = 1000;
/** And this often when a flood of publishes might fill what is left in less time than that. */
const NEAR_INTERVAL_MS = 50;
/** What a disk takes of a flood between two looks. */
const NEAR_BYTES = 2 ** 31;
/** With less than this, a disk that was full still is. */
const ROOMY_BYTES = 256 * 1024;
/** Publishes are taken again when there is so much more than must be free, so that the answer does not change with each message. */
const HYSTERESIS = 1.05;
/** Of what must be free, this share is left to cursors and new channels; deferred messages and requeues may use the rest. */
const OWN_SHARE = 0.5;

/**
 * Watches the free space of the data path's disk, and says what may still be written.
 *
 * Below --min-free-bytes publishes are refused, so that there is room left to note what consumers do: they drain, and
 * with the segments they have finished the space comes back.
 */
export class FreeSpace {
  /** Why publishes are refused; undefined: they are not. */
  refusal: Error | undefined;
  /** So little is free that due messages and requeues wait too, in the places where they stand. */
  critical = false;
  /** There is room for what is refused when there is none. */
  hasRoom = false;
  private nextCheckMs = 0;

  constructor(
    private readonly disk: Disk,
    private readonly directory: string,
    private readonly minFreeBytes: number,
    private readonly ballast: BallastFile,
    private readonly logger: Logger,
    /** Called when publishes begin to be refused (true), or are taken again. */
    private readonly onChange: (low: boolean) => void,
  ) {}

  /** Looks if it is time to. @param nowMs of a steady clock */
  check(nowMs: number): void {
    if (nowMs < this.nextCheckMs) return;
    this.measure(nowMs);
  }

  /** A write failed for lack of room: looks before long, whatever the last look found. @param nowMs of the same clock as check() */
  failed(nowMs: number): void {
    this.nextCheckMs = Math.min(this.nextCheckMs, nowMs + NEAR_INTERVAL_MS);
  }

  private measure(nowMs: number): void {
    this.nextCheckMs = nowMs + FAR_INTERVAL_MS;
    const freeBytes = this.freeBytes();
    if (freeBytes === undefined) return;
    if (freeBytes < this.minFreeBytes + NEAR_BYTES) this.nextCheckMs = nowMs + NEAR_INTERVAL_MS;
    if (!this.ballast.exists) this.ballast.create(this.minFreeBytes);
    this.hasRoom = freeBytes > this.minFreeBytes + ROOMY_BYTES;
    this.critical = freeBytes < this.minFreeBytes * OWN_SHARE;
    const low = freeBytes < this.minFreeBytes * (this.refusal === undefined ? 1 : HYSTERESIS);
    if (low === (this.refusal !== undefined)) return;
    if (low) {
      this.refusal = new Error(`the disk is nearly full: ${freeBytes} bytes are free, --min-free-bytes keeps ${this.minFreeBytes}`);
      this.logger.error(`DISK: publishes are refused: ${this.refusal.message}`);
    } else {
      this.refusal = undefined;
      this.logger.info(`DISK: publishes are taken again: ${freeBytes} bytes are free`);
    }
    this.onChange(low);
  }

  /** Undefined where it cannot be told. */
  private freeBytes(): number | undefined {
    try {
      return this.disk.space(this.directory).freeBytes;
    } catch (error) {
      this.logger.error(`DISK: cannot tell how much of ${this.directory} is free: ${(error as Error).message}`);
      return undefined;
    }
  }
}
