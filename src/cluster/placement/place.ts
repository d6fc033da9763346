import { add, amount, Gains, LEAST_GAIN, Loads } from "./loads.ts";
import type { Layout, Placed } from "./placed.ts";

/** A replica that goes from one broker to another. */
export interface Improvement {
  readonly placed: Placed;
  readonly from: string;
  readonly to: string;
}

/**
 * Where the partitions of a new topic go, or those that a topic gets in addition: first over different zones, then over the brokers that
 * have least of this topic, then to those that store least. The first replica of each is the preferred leader, chosen in the same way.
 *
 * @param siblings the partitions that the topic has
 * @returns for each new partition its replicas; undefined: there are not enough brokers
 */
export function placeNew(layout: Layout, partitions: number, replicas: number, siblings: readonly Placed[] = []): string[][] | undefined {
  const { candidates } = layout;
  if (candidates.length < replicas) return undefined;
  const loads = new Loads(layout);
  const own = { leaders: new Map<string, number>(), replicas: new Map<string, number>() };
  for (const { replicas, leader } of siblings) {
    for (const uid of replicas) add(own.replicas, uid, 1);
    if (leader !== "") add(own.leaders, leader, 1);
  }
  return Array.from({ length: partitions }, () => {
    const chosen: string[] = [];
    while (chosen.length < replicas) {
      const uid = choose(layout, chosen, (uid) => [amount(own.replicas, uid), amount(loads.replicas, uid)]);
      if (uid === undefined) break;
      chosen.push(uid);
    }
    const leader = least(chosen, (uid) => [amount(own.leaders, uid), amount(loads.leaders, uid)]) ?? "";
    for (const uid of chosen) for (const table of [own.replicas, loads.replicas]) add(table, uid, 1);
    for (const table of [own.leaders, loads.leaders]) add(table, leader, 1);
    return [leader, ...chosen.filter((uid) => uid !== leader)];
  });
}

/**
 * The broker that should get one more replica of a partition.
 *
 * @param without a replica that is to go
 * @returns undefined: no broker is left
 */
export function placeOneMore(layout: Layout, placed: Placed, without = ""): string | undefined {
  const loads = new Loads(layout);
  const staying = placed.replicas.filter((uid) => uid !== without);
  return choose(layout, staying, (uid) => [amount(loads.replicas, uid)], placed.replicas);
}

/** The replica that a partition needs least: not in sync rather than in sync, no leader, in a zone that has others, and on a full broker. */
export function chooseToDrop(layout: Layout, placed: Placed): string | undefined {
  const loads = new Loads(layout);
  const { replicas, leader, inSync } = placed;
  if (replicas.length < 2) return undefined;
  const isOne = (is: boolean): number => (is ? 1 : 0);
  return least(replicas, (uid) => {
    const others = replicas.filter((one) => one !== uid);
    return [isOne(inSync.includes(uid)), isOne(uid === leader), shared(layout, others), -amount(loads.replicas, uid)];
  });
}

/**
 * The one replica whose move improves the balance most; undefined: the balance is good enough. Zones come first: a replica moves if fewer
 * replicas share a zone then. Among brokers, what counts is how far each is from the average, squared, so each change takes this down and
 * a run of changes ends. Nothing moves between brokers that differ by less than `threshold` times the average, or from one to another that
 * would then have as much.
 *
 * @param threshold from 0
 * @param mayMove partitions that may be touched
 */
export function improve(layout: Layout, threshold: number, mayMove: (placed: Placed) => boolean = () => true): Improvement | undefined {
  const loads = new Loads(layout);
  const gains = new Gains(layout, loads, threshold);
  let best: Improvement | undefined;
  let bestGain = [0, LEAST_GAIN];
  const consider = (improvement: Improvement, gain: readonly number[]) => {
    if (compare(gain, bestGain) <= 0) return;
    best = improvement;
    bestGain = [...gain];
  };
  for (const placed of layout.placed) {
    if (!mayMove(placed)) continue;
    const { replicas } = placed;
    const sharedNow = shared(layout, replicas);
    for (const from of replicas) {
      const staying = replicas.filter((uid) => uid !== from);
      for (const { uid: to } of layout.candidates) {
        if (replicas.includes(to)) continue;
        // With 10,000 partitions on 20 brokers most of the time went into comparing zones.
        if (sharedNow === 0 && gains.ofReplace(placed, from, to, false) <= bestGain[1]) continue;
        const zoneGain = sharedNow - shared(layout, [...staying, to]);
        if (zoneGain >= 0) consider({ placed, from, to }, [zoneGain, gains.ofReplace(placed, from, to, zoneGain > 0)]);
      }
    }
  }
  return best;
}

/** How many pairs of these replicas share a zone. A broker that is not known shares none. */
export function shared({ zones }: Pick<Layout, "zones">, replicas: readonly string[]): number {
  let pairs = 0;
  for (const [i, uid] of replicas.entries()) {
    const zone = zones.get(uid);
    if (zone === undefined) continue;
    for (let j = i + 1; j < replicas.length; j++) if (zones.get(replicas[j]) === zone) pairs++;
  }
  return pairs;
}

function choose(
  layout: Layout,
  replicas: readonly string[],
  costs: (uid: string) => readonly number[],
  excluded: readonly string[] = replicas,
): string | undefined {
  const uids = layout.candidates.map(({ uid }) => uid).filter((uid) => !excluded.includes(uid));
  return least(uids, (uid) => [shared(layout, [...replicas, uid]), ...costs(uid)]);
}

/** What costs least; of equals, the first in the order of their names. */
function least(uids: readonly string[], costs: (uid: string) => readonly number[]): string | undefined {
  let best: { uid: string; costs: readonly number[] } | undefined;
  for (const uid of [...uids].sort()) {
    const own = costs(uid);
    if (best === undefined || compare(own, best.costs) < 0) best = { uid, costs: own };
  }
  return best?.uid;
}

/** Compares the first numbers that differ. */
function compare(one: readonly number[], other: readonly number[]): number {
  for (const [i, number] of one.entries()) if (number !== other[i]) return number - other[i];
  return 0;
}
