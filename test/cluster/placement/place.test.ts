import { expect, test } from "bun:test";
import { planLeads } from "../../../src/cluster/placement/lead-plan.ts";
import { chooseToDrop, type Improvement, improve, placeNew, placeOneMore, shared } from "../../../src/cluster/placement/place.ts";
import type { Candidate, Layout, Placed } from "../../../src/cluster/placement/placed.ts";
import { Random } from "../../support/random.ts";
import { playSchedules } from "../simulator/schedules.ts";

function brokers(count: number, zones: number): Candidate[] {
  return Array.from({ length: count }, (_, i) => ({ uid: `b${String(i).padStart(2, "0")}`, zone: `z${i % zones}` }));
}

function layout(candidates: readonly Candidate[], placed: readonly Placed[]): Layout {
  return { candidates, zones: new Map(candidates.map(({ uid, zone }) => [uid, zone])), placed };
}

function placedAs(topic: string, places: readonly string[][], weight: () => number = () => 1): Placed[] {
  return places.map((replicas, partition) => {
    const [leader] = replicas;
    return { topic, partition, replicas, leader, inSync: replicas, leaderWeight: weight(), replicaWeight: weight() };
  });
}

/** The fewest pairs of replicas that can share a zone. */
function fewestShared(candidates: readonly Candidate[], replicas: number): number {
  const free = new Map<string, number>();
  for (const { zone } of candidates) free.set(zone, (free.get(zone) ?? 0) + 1);
  const used = new Map<string, number>();
  for (let i = 0; i < replicas; i++) {
    const open = [...free.keys()].filter((zone) => (used.get(zone) ?? 0) < (free.get(zone) ?? 0));
    const zone = open.reduce((one, other) => ((used.get(other) ?? 0) < (used.get(one) ?? 0) ? other : one));
    used.set(zone, (used.get(zone) ?? 0) + 1);
  }
  return [...used.values()].reduce((pairs, n) => pairs + (n * (n - 1)) / 2, 0);
}

function apply(placed: readonly Placed[], { placed: one, from, to }: Improvement): Placed[] {
  const changed: Placed = {
    ...one,
    replicas: one.replicas.map((uid) => (uid === from ? to : uid)),
    inSync: one.inSync.map((uid) => (uid === from ? to : uid)),
    leader: one.leader === from ? to : one.leader,
  };
  return placed.map((other) => (other === one ? changed : other));
}

const anyMayLead = () => true;

/** @returns how it is after all leaders that are to change have changed, and how many these were */
function handOver(now: Layout, threshold: number, mayLead: (placed: Placed, to: string) => boolean = anyMayLead) {
  const changes = planLeads(now, threshold, mayLead);
  for (const { placed, to } of changes) expect([placed.inSync.includes(to), placed.leader !== to]).toEqual([true, true]);
  const leaders = new Map(changes.map(({ placed, to }) => [placed, to]));
  const placed = now.placed.map((one): Placed => ({ ...one, leader: leaders.get(one) ?? one.leader }));
  return { end: { ...now, placed }, changed: changes.length };
}

function loads({ candidates, placed }: Layout): { leaders: number[]; replicas: number[] } {
  const sum = (of: (one: Placed, uid: string) => number) => candidates.map(({ uid }) => placed.reduce((s, one) => s + of(one, uid), 0));
  return {
    leaders: sum((one, uid) => (one.leader === uid ? one.leaderWeight : 0)),
    replicas: sum((one, uid) => (one.replicas.includes(uid) ? one.replicaWeight : 0)),
  };
}

const spread = (numbers: readonly number[]): number => Math.max(...numbers) - Math.min(...numbers);
const mean = (numbers: readonly number[]): number => numbers.reduce((sum, one) => sum + one, 0) / numbers.length;

function settle(start: Layout, threshold: number): { end: Layout; steps: number } {
  let now = start;
  for (let steps = 0; steps <= 20 * start.placed.length + 20; steps++) {
    const next = improve(now, threshold);
    const { end, changed } = next === undefined ? handOver(now, threshold) : { end: now, changed: 1 };
    if (changed === 0) return { end, steps };
    now = next === undefined ? end : { ...now, placed: apply(now.placed, next) };
  }
  throw new Error("it does not end");
}

test("new topics: no broker twice, as many zones as can be, leaders and replicas even", () => {
  playSchedules(300, (seed) => {
    const random = new Random(seed);
    const zones = random.int(1, 4);
    const candidates = brokers(zones * random.int(1, 4), zones);
    const replicas = random.int(1, Math.min(5, candidates.length));
    const partitions = random.int(1, 40);
    const places = placeNew(layout(candidates, []), partitions, replicas) ?? [];
    expect(places.length).toBe(partitions);
    for (const place of places) {
      expect(new Set(place).size).toBe(replicas);
      expect(shared(layout(candidates, []), place)).toBe(fewestShared(candidates, replicas));
    }
    const { leaders, replicas: kept } = loads(layout(candidates, placedAs("t", places)));
    expect(spread(kept)).toBeLessThanOrEqual(1);
    expect(spread(leaders)).toBeLessThanOrEqual(2);
  });
});

test("what has just been placed does not move", () => {
  playSchedules(100, (seed) => {
    const random = new Random(seed);
    const zones = random.int(1, 4);
    const candidates = brokers(zones * random.int(1, 3), zones);
    const places = placeNew(layout(candidates, []), random.int(1, 30), random.int(1, Math.min(3, candidates.length))) ?? [];
    const { end, steps } = settle(layout(candidates, placedAs("t", places)), 0.1);
    // A leader may be handed over, as replicas are placed one partition at a time.
    expect(end.placed.map(({ replicas }) => [...replicas].sort())).toEqual(places.map((place) => [...place].sort()));
    expect(steps).toBeLessThanOrEqual(places.length);
  });
});

test("from any layout it ends balanced, over as many zones as can be, and stays there", () => {
  playSchedules(200, (seed) => {
    const random = new Random(seed);
    const zones = random.int(1, 3);
    const candidates = brokers(zones * random.int(1, 3), zones);
    const replicas = random.int(1, Math.min(3, candidates.length));
    const threshold = random.pick([0, 0.1, 0.3]);
    const uneven = random.chance(0.5);
    const weight = () => (uneven ? 1 + random.next() * 3 : 1);
    const uids = candidates.map(({ uid }) => uid);
    const places = Array.from({ length: random.int(1, 25) }, () => {
      const left = [...uids];
      return Array.from({ length: replicas }, () => left.splice(random.int(0, Math.min(left.length - 1, random.pick([0, 9]))), 1)[0]);
    });
    const { end } = settle(layout(candidates, placedAs("t", places, weight)), threshold);
    for (const one of end.placed) {
      expect(new Set(one.replicas).size).toBe(replicas);
      expect(one.replicas).toContain(one.leader);
      expect(shared(end, one.replicas)).toBe(fewestShared(candidates, replicas));
    }
    expect([improve(end, threshold), planLeads(end, threshold, anyMayLead)]).toEqual([undefined, []]);
    const { leaders, replicas: kept } = loads(end);
    const heaviest = uneven ? 4 : 1;
    expect(spread(kept)).toBeLessThanOrEqual(threshold * mean(kept) + 2 * heaviest);
    expect(spread(leaders)).toBeLessThanOrEqual(threshold * mean(leaders) + 2 * heaviest);
  });
});

/** A thousand partitions of three brokers, of which one was away and leads nothing. */
function afterReturn(weight: () => number = () => 1): { whole: Layout; returned: Layout } {
  const candidates = brokers(3, 1);
  const whole = layout(candidates, placedAs("t", placeNew(layout(candidates, []), 1_000, 3) ?? [], weight));
  const takeOver = (one: Placed): Placed => ({ ...one, leader: one.leader === "b01" ? one.replicas[1] : one.leader });
  return { whole, returned: { ...whole, placed: whole.placed.map(takeOver) } };
}

test("after a broker came back, its first places are its own again, in one plan", () => {
  const { whole, returned } = afterReturn();
  expect(loads(whole).leaders).toEqual([334, 333, 333]);
  expect(loads(returned).leaders[1]).toBe(0);
  const { end, changed } = handOver(returned, 0.2);
  expect(changed).toBe(333);
  expect(end.placed).toEqual([...whole.placed]);
});

test("leaders are spread by what they have to do, and only by replicas that may lead", () => {
  const random = new Random(5);
  const { returned } = afterReturn(() => 1 + random.next() * 50);
  const { leaders } = loads(handOver(returned, 0.2).end);
  expect(spread(leaders)).toBeLessThan(51);
  const without = handOver(returned, 0.2, (_placed, to) => to !== "b01").end;
  expect(loads(without).leaders[1]).toBe(0);
  expect(planLeads({ ...returned, candidates: returned.candidates.slice(0, 1) }, 0.2, anyMayLead)).toEqual([]);
});

test("brokers whose leaders differ by little keep them, unless all is to be even", () => {
  const { whole } = afterReturn();
  let toMove = 60;
  const placed = whole.placed.map((one): Placed => (one.leader === "b00" && toMove-- > 0 ? { ...one, leader: "b01" } : one));
  const uneven = { ...whole, placed };
  expect(planLeads(uneven, 0.5, anyMayLead)).toEqual([]);
  expect(spread(loads(handOver(uneven, 0).end).leaders)).toBeLessThanOrEqual(1);
});

test("there are too few brokers", () => {
  expect(placeNew(layout(brokers(2, 2), []), 1, 3)).toBeUndefined();
});

test("an expanded topic gets its new partitions where it has least", () => {
  const candidates = brokers(4, 2);
  const before = placedAs("t", [
    ["b00", "b01"],
    ["b01", "b00"],
  ]);
  const places = placeNew(layout(candidates, before), 2, 2, before) ?? [];
  expect(places.map((place) => [...place].sort())).toEqual([
    ["b02", "b03"],
    ["b02", "b03"],
  ]);
  expect(new Set(places.map(([leader]) => leader)).size).toBe(2);
});

test("a replica in place of one that goes is in a zone of its own, on the emptiest broker", () => {
  const candidates = brokers(6, 3);
  const placed = placedAs("t", [
    ["b00", "b01", "b02"],
    ["b03", "b04", "b02"],
  ]);
  expect(placeOneMore(layout(candidates.slice(1), placed), placed[0], "b00")).toBe("b03");
  expect(placeOneMore(layout(candidates, placed), placed[0])).toBe("b05");
  expect(placeOneMore(layout(candidates.slice(0, 3), placed), placed[0])).toBeUndefined();
});

test("the replica that is dropped: not in sync, no leader, in a zone with others, on the fullest broker", () => {
  const candidates = brokers(6, 3);
  const [placed] = placedAs("t", [["b00", "b01", "b03"]]);
  const at = layout(candidates, [placed]);
  expect(chooseToDrop(at, placed)).toBe("b03");
  expect(chooseToDrop(at, { ...placed, inSync: ["b00", "b03"] })).toBe("b01");
  expect(chooseToDrop(at, { ...placed, leader: "b03" })).toBe("b00");
  expect(chooseToDrop(at, { ...placed, replicas: ["b00"] })).toBeUndefined();
});
