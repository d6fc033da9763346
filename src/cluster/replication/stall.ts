import type { ReplicaHost } from "./replica-log.ts";

/**
 * Notices that publishes wait for something that does not come, such as a replica in sync that is away while etcd is away, too: they are refused
 * then, with an unknown outcome, until it goes on.
 */
export class Stall {
  /** Why nothing is acknowledged; undefined: it is, or that is too short a while. */
  reason: string | undefined;
  private sinceMs = 0;
  private isMissing = false;

  constructor(
    private readonly limitMs: number,
    private readonly host: Pick<ReplicaHost, "onStall">,
  ) {}

  /** To be called several times a second. @param missing what publishes wait for that should have come; undefined: nothing */
  look(missing: string | undefined, nowMs: number): void {
    if (missing === undefined || !this.isMissing) this.sinceMs = nowMs;
    this.isMissing = missing !== undefined;
    const reason = nowMs - this.sinceMs > this.limitMs ? missing : undefined;
    if (reason === this.reason) return;
    this.reason = reason;
    this.host.onStall?.(reason);
  }

  /** This process stood still. */
  waitAnew(nowMs: number): void {
    this.sinceMs = nowMs;
  }
}
