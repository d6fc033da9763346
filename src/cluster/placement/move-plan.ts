import type { ClusterView } from "../state/cluster-view.ts";
import type { MoveRecord, TopicRecord } from "../state/records.ts";
import { layoutOf } from "./layout.ts";
import { chooseToDrop, placeOneMore } from "./place.ts";
import type { Layout, Placed } from "./placed.ts";

/** As many moves of one broker's removal wait at a time; the next ones are planned with what is known then. */
const WAITING_PER_REMOVAL = 4;
/** As many moves are asked for in one transaction. */
const MOST_PLANNED = 32;

/** A move to ask for, of the partition with this prefix. */
export interface PlannedMove {
  readonly prefix: number;
  readonly move: MoveRecord;
}

export interface MovePlan {
  readonly moves: readonly PlannedMove[];
  /** What holds up removals, by data path uid. */
  readonly problems: ReadonlyMap<string, string>;
}

/** The moves that removals and numbers of replicas ask for, of partitions that have none. */
export function planMoves(view: ClusterView): MovePlan {
  const problems = new Map<string, string>();
  const moves: PlannedMove[] = [];
  const layout = layoutOf(view);
  const waiting = new Map<string, number>();
  for (const { value } of view.moves.values()) if (value.why === "removal") count(waiting, value.from);
  for (const [i, placed] of layout.placed.entries()) {
    const stored = view.partitions.get(`${placed.topic}/${placed.partition}`);
    const topic = view.topics.get(placed.topic)?.value;
    if (moves.length >= MOST_PLANNED) break;
    if (stored === undefined || topic === undefined || topic.change !== undefined || view.moves.has(String(stored.value.prefix))) continue;
    const planned = planOne(layout, placed, topic, view);
    if (planned === undefined) continue;
    const { why, from, to } = planned;
    if (planned.problem !== undefined) {
      if (why === "removal") problems.set(from, planned.problem);
      continue;
    }
    if (why === "removal" && count(waiting, from) > WAITING_PER_REMOVAL) continue;
    const move = { state: "waiting", what: planned.what, why, topic: placed.topic, partition: placed.partition, uid: topic.uid } as const;
    moves.push({ prefix: stored.value.prefix, move: { ...move, from, to, inSync: 0 } });
    // The next ones count with it.
    const replicas = [...placed.replicas.filter((uid) => uid !== from), ...(to === "" ? [] : [to])];
    (layout.placed as Placed[])[i] = { ...placed, replicas };
  }
  return { moves, problems };
}

type Planned = Pick<MoveRecord, "what" | "why" | "from" | "to"> & { readonly problem?: string };

function planOne(layout: Layout, placed: Placed, topic: TopicRecord, view: ClusterView): Planned | undefined {
  const { replicas, leader } = placed;
  const leaving = replicas.find((uid) => view.removals.get(uid)?.value.state !== undefined);
  if (replicas.length > topic.replicas) {
    const from = lostOf(layout, placed, view) ?? leaving ?? chooseToDrop(layout, placed);
    return from === undefined ? undefined : { what: "drop", why: "replicas", from, to: "" };
  }
  if (leaving === undefined && replicas.length === topic.replicas) return undefined;
  const why = leaving === undefined ? "replicas" : "removal";
  const what = replicas.length < topic.replicas ? "add" : "replace";
  const from = what === "replace" ? (leaving ?? "") : "";
  if (!layout.zones.has(leader)) return { what, why, from: leaving ?? "", to: "", problem: "some of its partitions have no leader" };
  const to = placeOneMore(layout, placed, from);
  if (to !== undefined) return { what, why: what === "add" ? "replicas" : why, from, to };
  return { what, why, from: leaving ?? "", to: "", problem: "no other broker is left for some of its partitions" };
}

/** A replica that keeps nothing that others need, and may never come back. */
function lostOf({ zones }: Layout, { replicas, inSync }: Placed, { removals }: ClusterView): string | undefined {
  const behind = replicas.filter((uid) => !inSync.includes(uid));
  return behind.find((uid) => removals.has(uid)) ?? behind.find((uid) => !zones.has(uid));
}

function count(table: Map<string, number>, uid: string): number {
  const next = (table.get(uid) ?? 0) + 1;
  table.set(uid, next);
  return next;
}
