import type { Clock } from "../../base/clock.ts";

/** A broker that is restarted while an operator has it removed comes back sooner than this. */
const GONE_MS = 30_000;

/** Which data paths will not come back, so that nobody waits for what only they may have. */
export class Departures {
  /** Since when those are away that are being removed, by the steady clock. */
  private readonly away = new Map<string, number>();

  /**
   * @param isThere whether its broker is alive, as etcd says or as a connection shows
   * @param removalOf how a data path is being removed; undefined: it is not
   */
  constructor(
    private readonly clock: Pick<Clock, "steadyMs">,
    private readonly isThere: (uid: string) => boolean,
    private readonly removalOf: (uid: string) => { readonly replacedBy?: string | undefined } | undefined,
  ) {}

  /** Whether it is being removed, and its broker was away for long, or has another data path in its place. */
  isGone(uid: string): boolean {
    const removal = this.isThere(uid) ? undefined : this.removalOf(uid);
    if (removal === undefined) return false;
    // The controller has waited before it said so.
    if (removal.replacedBy !== undefined) return true;
    const nowMs = this.clock.steadyMs();
    const sinceMs = this.away.get(uid);
    if (sinceMs === undefined) this.away.set(uid, nowMs);
    return sinceMs !== undefined && nowMs - sinceMs >= GONE_MS;
  }

  /** To be called several times a second: who is back for a moment is not gone. */
  review(): void {
    for (const uid of this.away.keys()) if (this.isThere(uid) || this.removalOf(uid) === undefined) this.away.delete(uid);
  }
}
