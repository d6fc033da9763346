import type { InSyncSet } from "./in-sync-set.ts";
import type { ReplicationCounts } from "./replica-status.ts";

type Done = (failure: Error | undefined) => void;

/** Another replica is to lead. Publishes wait meanwhile: until it has everything, or until etcd has its answer. */
export class HandOver {
  /** Who is to lead; undefined: nobody else. */
  to: string | undefined;
  /** By the steady clock. */
  untilMs = 0;
  /** Etcd was asked to have the other one lead. */
  isAsked = false;
  private done: Done = () => {};

  constructor(
    private readonly inSync: InSyncSet,
    private readonly counts: Pick<ReplicationCounts, "handOvers" | "failedHandOvers">,
  ) {}

  /** @param done undefined: the other one leads */
  begin(to: string, untilMs: number, done: Done): void {
    this.to = to;
    this.untilMs = untilMs;
    this.done = done;
  }

  /** Has the other one lead. Not to be called while the in-sync set changes. @param inSync who is in sync then */
  ask(inSync = this.inSync.known): void {
    if (this.to === undefined) return;
    this.isAsked = true;
    // If etcd has taken it, the newer record has stopped this leader before.
    this.inSync.handTo(this.to, inSync, () => this.end(new Error("etcd did not take it")));
  }

  end(failure: Error | undefined): void {
    if (this.to === undefined) return;
    this.to = undefined;
    this.isAsked = false;
    if (failure === undefined) this.counts.handOvers++;
    else this.counts.failedHandOvers++;
    this.done(failure);
  }
}
