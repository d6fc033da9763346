import { add, amount, Gains, LEAST_GAIN, Loads } from "./loads.ts";
import type { Layout, Placed } from "./placed.ts";

/** Each goes over all partitions, and the first ones do nearly all. */
const MOST_SWEEPS = 20;

/** A partition that another replica is to lead. */
export interface LeadChange {
  readonly placed: Placed;
  readonly to: string;
}

/**
 * Who is to lead what, so that brokers have an even part of the leaders' work. Partitions go back to their first replicas where that is even;
 * where it is not, to others. Nothing changes while all that could change is between brokers that differ by less than `threshold` times the
 * average; beyond it all is made as even as it can be, so that it takes long until the threshold is met again.
 *
 * @param threshold from 0
 * @param mayLead whether a replica in sync may be made the leader of a partition
 */
export function planLeads(layout: Layout, threshold: number, mayLead: (placed: Placed, to: string) => boolean): LeadChange[] {
  const loads = new Loads(layout);
  const noted = new Gains(layout, loads, threshold);
  const choices = layout.placed.flatMap((placed) => {
    const able = placed.inSync.filter((uid) => mayLead(placed, uid));
    return able.length === 0 || placed.leader === "" ? [] : { placed, able, leader: placed.leader };
  });
  if (!choices.some(({ placed, able }) => able.some((to) => noted.ofLead(placed, to) > LEAST_GAIN))) return [];
  const gains = new Gains(layout, loads, 0);
  for (const isFirstOnly of [true, false]) {
    let hasChanged = true;
    for (let sweep = 0; hasChanged && sweep < MOST_SWEEPS; sweep++) {
      hasChanged = false;
      for (const choice of choices) {
        const { placed, able, leader } = choice;
        const others = able.filter((uid) => uid !== leader && (!isFirstOnly || uid === placed.replicas[0]));
        // The broker that has least to do.
        const to = others.reduce<string | undefined>(
          (best, uid) => (best === undefined || amount(loads.leaders, uid) < amount(loads.leaders, best) ? uid : best),
          undefined,
        );
        if (to === undefined || gains.ofLead({ ...placed, leader }, to) <= LEAST_GAIN) continue;
        add(loads.leaders, leader, -placed.leaderWeight);
        add(loads.leaders, to, placed.leaderWeight);
        choice.leader = to;
        hasChanged = true;
      }
    }
  }
  return choices.flatMap(({ placed, leader }) => (leader === placed.leader ? [] : { placed, to: leader }));
}
