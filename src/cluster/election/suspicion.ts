import type { Peers } from "../replication/peers.ts";

/**
 * Which brokers are taken for dead. Being wrong costs a change of leader and nothing else, so it need not be sure. A broker is suspected
 * when its key is gone from etcd, when it refuses connections (its process is gone, and the kernel says so at once), or when it was not heard
 * for `suspectMs`.
 */
export class Suspicion {
  /** Since when, by the steady clock. */
  private readonly since = new Map<string, number>();

  constructor(
    private readonly peers: Peers,
    private readonly suspectMs: number,
    private readonly isAlive: (uid: string) => boolean,
  ) {}

  /** @returns since when a broker has been suspected; undefined: it is not */
  sinceMs(uid: string, nowMs: number): number | undefined {
    if (!this.isSuspect(uid, nowMs)) {
      this.since.delete(uid);
      return undefined;
    }
    const known = this.since.get(uid) ?? nowMs;
    this.since.set(uid, known);
    return known;
  }

  isSuspect(uid: string, nowMs: number): boolean {
    const peer = this.peers.get(uid);
    return peer === undefined || peer.isRefused || this.isSilent(uid, nowMs) || !this.isAlive(uid);
  }

  /** Whether nothing but its silence speaks against it, or against nobody. */
  isSilent(uid: string, nowMs: number): boolean {
    const peer = this.peers.get(uid);
    return peer !== undefined && nowMs - peer.heardMs > this.suspectMs;
  }
}
