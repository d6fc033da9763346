/** A broker that may get replicas: it is alive, and nobody wants it removed. */
export interface Candidate {
  readonly uid: string;
  /** Brokers that fail together are in one zone; "": its broker was not told any, which is a zone, too. */
  readonly zone: string;
}

/** A partition as it is, and what it costs. */
export interface Placed {
  readonly topic: string;
  readonly partition: number;
  readonly replicas: readonly string[];
  /** "": none. */
  readonly leader: string;
  readonly inSync: readonly string[];
  /** What its leader has to do for it: 1 and a part of its bytes in and out, so that idle partitions are spread, too. */
  readonly leaderWeight: number;
  /** What each replica keeps for it: 1 and a part of its bytes. */
  readonly replicaWeight: number;
}

/** All brokers that may get replicas, and all partitions. */
export interface Layout {
  readonly candidates: readonly Candidate[];
  /** Those of brokers that get no replicas count, too, if they are known. By data path uid. */
  readonly zones: ReadonlyMap<string, string>;
  readonly placed: readonly Placed[];
}

/** The single change that helps most. `lead`: another replica, `to`, is to lead. */
export interface Improvement {
  readonly what: "replace" | "lead";
  readonly placed: Placed;
  readonly from: string;
  readonly to: string;
}

/** Gains below this are rounding. */
const LEAST_GAIN = 1e-9;

/** What each broker has to do. */
class Loads {
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
 * The one change that improves the balance most; undefined: the balance is good enough. Zones come first: a replica moves if fewer
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
    const { replicas, leader, inSync } = placed;
    for (const to of inSync) if (to !== leader) consider({ what: "lead", placed, from: leader, to }, [0, gains.ofLead(placed, to)]);
    const sharedNow = shared(layout, replicas);
    for (const from of replicas) {
      const staying = replicas.filter((uid) => uid !== from);
      for (const { uid: to } of layout.candidates) {
        if (replicas.includes(to)) continue;
        // With 10,000 partitions on 20 brokers most of the time went into comparing zones.
        if (sharedNow === 0 && gains.ofReplace(placed, from, to, false) <= bestGain[1]) continue;
        const zoneGain = sharedNow - shared(layout, [...staying, to]);
        if (zoneGain >= 0) consider({ what: "replace", placed, from, to }, [zoneGain, gains.ofReplace(placed, from, to, zoneGain > 0)]);
      }
    }
  }
  return best;
}

/** How much a change takes the sum of squares down, for leaders and replicas alike relative to their averages. */
class Gains {
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

/** What the sum of the squares of two loads loses if a weight goes from one to the other, which has `difference` less. */
function gain(weight: number, difference: number, average: number): number {
  return average === 0 ? 0 : (2 * weight * (difference - weight)) / average ** 2;
}

function average(table: ReadonlyMap<string, number>): number {
  let sum = 0;
  for (const amount of table.values()) sum += amount;
  return table.size === 0 ? 0 : sum / table.size;
}

function amount(table: ReadonlyMap<string, number>, uid: string): number {
  return table.get(uid) ?? 0;
}

function add(table: Map<string, number>, uid: string, amount: number): void {
  table.set(uid, (table.get(uid) ?? 0) + amount);
}
