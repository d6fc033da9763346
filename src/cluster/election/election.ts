import type { Replica } from "../replication/replica.ts";
import type { ReplicationParts } from "../replication/replica-parts.ts";
import { Flapping } from "./flapping.ts";
import { Suspicion } from "./suspicion.ts";

/** Each candidate waits for this long for each one that comes before it. */
const PLACE_MS = 50;
/**
 * How long it waits where nobody has led yet. A new partition has no traffic that is held up, and of a thousand that are made at once each is
 * to be led by its first replica, though some brokers hear of them later and open them more slowly.
 */
const NEW_PLACE_MS = 1_000;

/**
 * Takes over partitions whose leaders seem to be gone. All that it takes is one transaction on the partition's record, and the first one wins;
 * those of many partitions go together. Only who is in the in-sync set may: it has all that was acknowledged.
 */
export class Election {
  private readonly suspicion: Suspicion;
  private readonly flapping: Flapping;
  /** Since when partitions have had no leader, by the steady clock. */
  private readonly leaderless = new WeakMap<Replica, number>();

  constructor(
    private readonly parts: ReplicationParts,
    private readonly isAlive: (uid: string) => boolean,
  ) {
    const { peers, settings } = parts;
    this.suspicion = new Suspicion(peers, settings.suspectMs, isAlive);
    this.flapping = new Flapping(settings.suspectMs);
  }

  /** To be called every 50 ms or so. */
  look(nowMs: number, replicas: Iterable<Replica>): void {
    this.flapping.look(nowMs, (uid) => !this.suspicion.isSuspect(uid, nowMs));
    // Others would take a leader without a key for dead.
    if (!this.isAlive(this.parts.uid)) return;
    const suspectedSince = new Map<string, number | undefined>();
    for (const replica of replicas) {
      const { replaceable: leader } = replica;
      if (leader === undefined) continue;
      if (leader !== "") this.leaderless.delete(replica);
      if (leader !== "" && !suspectedSince.has(leader)) suspectedSince.set(leader, this.sinceMs(leader, nowMs));
      const sinceMs = leader === "" ? this.leaderlessSince(replica, nowMs) : suspectedSince.get(leader);
      if (sinceMs !== undefined) this.consider(replica, leader, sinceMs, nowMs);
    }
  }

  private consider(replica: Replica, leader: string, sinceMs: number, nowMs: number): void {
    const isDead = (uid: string) => uid !== this.parts.uid && this.suspicion.isSuspect(uid, nowMs);
    const placeMs = replica.stored?.value.epoch === 0 ? NEW_PLACE_MS : PLACE_MS;
    const waitMs = placeMs * replica.place(isDead) + this.flapping.waitMs(leader);
    if (nowMs - sinceMs < waitMs) return;
    if (this.suspicion.isSilent(leader, nowMs)) this.flapping.tookOverFrom(leader, nowMs);
    replica.takeOver(isDead);
  }

  /** This broker itself may be the leader of before its restart. */
  private sinceMs(leader: string, nowMs: number): number | undefined {
    return leader === this.parts.uid ? nowMs : this.suspicion.sinceMs(leader, nowMs);
  }

  private leaderlessSince(replica: Replica, nowMs: number): number {
    const known = this.leaderless.get(replica) ?? nowMs;
    this.leaderless.set(replica, known);
    return known;
  }
}
