import type { Clock } from "../../base/clock.ts";
import type { CloseReason, Connection } from "../net/network.ts";

/** For how long a turn may handle frames of one connection: hundreds of partitions may follow at once, and others must not wait for all. */
const SLICE_MS = 5;
/** With more that waits, nothing is read until less than the lower bound does. */
const PAUSE_BYTES = 8 * 1024 * 1024;
const RESUME_BYTES = 1024 * 1024;

export interface IncomingEvents {
  onFrame(frame: Buffer): void;
  /** @param isLate in a turn of its own: nobody else catches the error */
  onFailed(error: Error, isLate: boolean): void;
  /** The connection is closed, and all frames that had come are handled. */
  onEnd(reason: CloseReason): void;
}

/** Frames of one connection that wait to be handled, in order, some in each turn. */
export class Incoming {
  private frames: Buffer[] = [];
  private bytes = 0;
  /** The rest is handled in the next turn. */
  private isAsked = false;
  private isPaused = false;
  private ended: CloseReason | undefined;

  constructor(
    private readonly clock: Pick<Clock, "steadyMs" | "callAfterTurn">,
    private readonly connection: () => Connection,
    private readonly events: IncomingEvents,
  ) {}

  /** @param frame whose memory is not used for anything else */
  push(frame: Buffer): void {
    this.frames.push(frame);
    this.bytes += frame.length;
  }

  /** To be called when frames were pushed. */
  work(isLate = false): void {
    if (this.isAsked) return this.pauseIfFull();
    try {
      this.slice();
    } catch (error) {
      this.clear();
      this.events.onFailed(error as Error, isLate);
    }
    if (this.frames.length > 0) {
      this.isAsked = true;
      this.clock.callAfterTurn(() => {
        this.isAsked = false;
        this.work(true);
      });
      return this.pauseIfFull();
    }
    const { ended } = this;
    this.ended = undefined;
    if (ended !== undefined) this.events.onEnd(ended);
  }

  /** The connection is closed. */
  end(reason: CloseReason): void {
    if (reason === "aborted") this.clear();
    this.ended = reason;
    this.work();
  }

  private slice(): void {
    const untilMs = this.clock.steadyMs() + SLICE_MS;
    let handled = 0;
    try {
      for (const frame of this.frames) {
        handled++;
        this.bytes -= frame.length;
        this.events.onFrame(frame);
        if (this.clock.steadyMs() >= untilMs) break;
      }
    } finally {
      this.frames.splice(0, handled);
    }
    if (!this.isPaused || this.bytes > RESUME_BYTES) return;
    this.isPaused = false;
    this.connection().resume();
  }

  private pauseIfFull(): void {
    if (this.isPaused || this.bytes < PAUSE_BYTES) return;
    this.isPaused = true;
    this.connection().pause();
  }

  private clear(): void {
    this.frames = [];
    this.bytes = 0;
  }
}
