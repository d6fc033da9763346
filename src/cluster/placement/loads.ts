import type { Layout, Placed } from "./placed.ts";

/** Gains below this are rounding. */
export const LEAST_GAIN = 1e-9;

/** What each broker has to do. */
export class Loads {
  readonly leaders = new Map<string, number>();
  readonly replicas = new Map<string, number>();

  constructor({ candidates, placed }: Layout) {
    for (const { uid } of candidates) {
      this.leaders.set(uid, 0);
      this.replicas.set(uid, 0);
    }
    for (const { replicas, leader, leaderWeight, replicaWeight } of placed) {
      for (const uid of replicas) add(this.replicas, uid, replicaWeight);
      if (leader !== "") add(this.leaders, leader, leaderWeight);
    }
  }
}

/** How much a change takes the sum of squares down, for leaders and replicas alike relative to their averages. */
export class Gains {
  private readonly candidates: ReadonlySet<string>;
  private readonly leaderAverage: number;
  private readonly replicaAverage: number;

  constructor(
    { candidates }: Layout,
    private readonly loads: Loads,
    private readonly threshold: number,
  ) {
    this.candidates = new Set(candidates.map(({ uid }) => uid));
    this.leaderAverage = average(loads.leaders);
    this.replicaAverage = average(loads.replicas);
  }

  ofLead({ leader, leaderWeight }: Placed, to: string): number {
    if (leader === "" || !this.candidates.has(to)) return 0;
    const difference = this.leadDifference(leader, to);
    return difference > this.threshold * this.leaderAverage ? gain(leaderWeight, difference, this.leaderAverage) : 0;
  }

  /** @param isForced zones ask for it, so it may cost balance */
  ofReplace({ leader, leaderWeight, replicaWeight }: Placed, from: string, to: string, isForced: boolean): number {
    const difference = amount(this.loads.replicas, from) - amount(this.loads.replicas, to);
    const leads = leader === from;
    const leadDifference = this.leadDifference(from, to);
    const isUneven =
      difference > this.threshold * this.replicaAverage || (leads && leadDifference > this.threshold * this.leaderAverage) || isForced;
    if (!isUneven) return 0;
    return gain(replicaWeight, difference, this.replicaAverage) + (leads ? gain(leaderWeight, leadDifference, this.leaderAverage) : 0);
  }

  private leadDifference(from: string, to: string): number {
    return amount(this.loads.leaders, from) - amount(this.loads.leaders, to);
  }
}

/** What the sum of the squares of two loads loses if a weight goes from one to the other, which has `difference` less. */
function gain(weight: number, difference: number, average: number): number {
  return average === 0 ? 0 : (2 * weight * (difference - weight)) / average ** 2;
}

function average(table: ReadonlyMap<string, number>): number {
  let sum = 0;
  for (const amount of table.values()) sum += amount;
  return table.size === 0 ? 0 : sum / table.size;
}

export function amount(table: ReadonlyMap<string, number>, uid: string): number {
  return table.get(uid) ?? 0;
}

export function add(table: Map<string, number>, uid: string, amount: number): void {
  table.set(uid, (table.get(uid) ?? 0) + amount);
}
