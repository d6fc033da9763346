/**
 * - `unreachable`: no endpoint answered in time, or the one that did has no leader
 * - `compacted`: the revision that was asked for is gone
 * - `lease-gone`: there is no such lease
 * - `refused`: etcd understood the call and said no; its message says why
 */
export type EtcdFailure = "unreachable" | "compacted" | "lease-gone" | "refused";

/** Whether a failed call changed anything: `none`: surely not. `unknown`: it may have, or may still do so. */
export type EtcdOutcome = "none" | "unknown";

/** Why a call to etcd failed. */
export class EtcdError extends Error {
  override name = "EtcdError";

  constructor(
    readonly reason: EtcdFailure,
    readonly outcome: EtcdOutcome,
    message: string,
  ) {
    super(message);
  }
}
