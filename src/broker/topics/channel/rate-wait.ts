import type { Turn } from "../turn.ts";
import type { RateLimit } from "./rate-limit.ts";

/** A partition of a channel that may have to wait because of the channel's rate. */
interface Limited {
  readonly paused: boolean;
  readonly depth: number;
  readonly channel: { readonly rate: RateLimit | undefined };
  readonly consumers: { readonly length: number };
  markDirty(): void;
}

/** When a partition of a channel goes on that waits because of the channel's rate. */
export class RateWait {
  /** Infinity: it does not wait. */
  resumeAtMs = Number.POSITIVE_INFINITY;

  constructor(
    private readonly part: Limited,
    private readonly turn: Pick<Turn, "wakeAt">,
  ) {}

  /** Whether it may deliver messages now. To be called before it does; endDispatch() follows. */
  admits(nowMs: number): boolean {
    const { rate } = this.part.channel;
    return rate === undefined || rate.admits(this, nowMs);
  }

  /** It was dispatched: if it has messages left for which the rate is too low, it goes on when there may be more. */
  endDispatch(nowMs: number): void {
    const { part } = this;
    const { rate } = part.channel;
    if (rate === undefined) return;
    if (part.paused || part.depth === 0 || part.consumers.length === 0) return rate.leave(this);
    if (rate.available > 0 && !rate.isWaiting(this)) return;
    rate.wait(this);
    this.resumeAtMs = rate.readyAtMs(nowMs);
    this.turn.wakeAt(this.resumeAtMs);
  }

  resumeIfDue(nowMs: number): void {
    if (nowMs < this.resumeAtMs) return;
    this.resumeAtMs = Number.POSITIVE_INFINITY;
    this.part.markDirty();
  }
}
