import type { ClusterView } from "../state/cluster-view.ts";

/**
 * A broker must have been alive, and in sync of all that it has, for this long before it is given leaders. It is twice as long each time it
 * has gone away since, so that one that is restarted again and again does not take partitions down with it each time.
 */
const FIRST_REST_MS = 2_000;
const LONGEST_REST_MS = 600_000;
/** A broker that has not gone away for this long is as good as a new one. */
const FORGET_MS = 3_600_000;

interface Known {
  /** Which run of the broker's process this is. */
  run: string;
  /** Since when it has been alive and in sync, by the steady clock; undefined: it is not. */
  sinceMs: number | undefined;
  /** How often it went away, and when last. */
  losses: number;
  lostMs: number;
}

/** Which brokers have been at work for long enough to lead. */
export class Steadiness {
  private readonly known = new Map<string, Known>();

  constructor(private readonly view: Pick<ClusterView, "brokers" | "partitions" | "moves">) {}

  /** To be called several times a second. */
  look(nowMs: number): void {
    const { known, view } = this;
    const runs = new Map([...view.brokers.values()].map(({ value }) => [value.uid, value.run]));
    const behind = this.behind();
    for (const [uid, one] of known) {
      if (nowMs - one.lostMs > FORGET_MS) one.losses = 0;
      const run = runs.get(uid) ?? "";
      if (one.run !== "" && run !== one.run) {
        one.losses++;
        one.lostMs = nowMs;
        one.sinceMs = undefined;
      }
      one.run = run;
      if (run === "" && nowMs - one.lostMs > FORGET_MS) known.delete(uid);
    }
    for (const [uid, run] of runs) {
      const one = known.get(uid) ?? { run, sinceMs: undefined, losses: 0, lostMs: Number.NEGATIVE_INFINITY };
      known.set(uid, one);
      if (behind.has(uid)) one.sinceMs = undefined;
      else one.sinceMs ??= nowMs;
    }
  }

  isSteady(uid: string, nowMs: number): boolean {
    const one = this.known.get(uid);
    if (one?.sinceMs === undefined) return false;
    return nowMs - one.sinceMs >= Math.min(LONGEST_REST_MS, FIRST_REST_MS * 2 ** Math.max(0, one.losses - 1));
  }

  /** Brokers that lack something of what they have. What a move is copying to them does not count. */
  private behind(): Set<string> {
    const { partitions, moves } = this.view;
    const behind = new Set<string>();
    for (const { value } of partitions.values()) {
      const { replicas, inSync, prefix } = value;
      if (inSync.length === replicas.length) continue;
      const joining = moves.get(String(prefix))?.value.to;
      for (const uid of replicas) if (uid !== joining && !inSync.includes(uid)) behind.add(uid);
    }
    return behind;
  }
}
