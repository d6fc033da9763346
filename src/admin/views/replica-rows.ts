import type { ClusterDetail, ClusterRisk, ReplicaRow } from "../cluster-api.ts";
import type { Cluster } from "../watch/cluster.ts";
import type { ReplicaLook } from "../watch/replica-look.ts";
import type { Totals } from "../watch/totals.ts";
import type { Listing, Sorts, SortValue } from "./listing.ts";

/** What is at risk without any topic being named. */
const ABOUT_NO_TOPIC = new Set(["etcd-away", "no-controller"]);
/** The worst first. */
const STATES: Record<ReplicaRow["state"], number> = { offline: 0, unwritable: 1, under_replicated: 2, moving: 3, ok: 4 };

const orNaN = (value: number | null): number => value ?? Number.NaN;

const SORTS: Sorts<ReplicaRow> = new Map<string, SortValue<ReplicaRow>>([
  ["topic", ({ topic }) => topic],
  ["partition", ({ partition }) => partition],
  ["state", ({ state }) => STATES[state]],
  ["leader", ({ leader }) => leader],
  ["epoch", ({ epoch }) => epoch],
  ["in_sync", (row) => row.in_sync - row.replica_count],
  ["lag_messages", (row) => orNaN(row.lag_messages)],
  ["lag_bytes", (row) => orNaN(row.lag_bytes)],
  ["lag_ms", (row) => orNaN(row.lag_ms)],
]);

/** @param broker the uid of the only one whose partitions are shown; empty for all */
export function replicaListing(look: ReplicaLook, broker: string): Listing<ReplicaRow, ReplicaRow> {
  const { rows } = look;
  return {
    items: broker === "" ? rows : rows.filter(({ replicas }) => replicas.some(({ uid }) => uid === broker)),
    names: ({ key, replicas }) => [key, ...replicas.map(({ name }) => name)],
    tie: ({ topic, partition }) => `${topic} ${String(partition).padStart(4, "0")}`,
    sorts: SORTS,
    defaultSort: "state",
    row: (row) => row,
  };
}

/** The cluster, without what only those may see who see all topics. */
export function clusterDetail(detail: ClusterDetail, cluster: Cluster, totals: Totals): ClusterDetail {
  const draining = new Set([...cluster.brokers.values()].flatMap(({ address, isDraining, isUp }) => (isDraining && isUp ? address : [])));
  return {
    ...detail,
    brokers: detail.brokers.map((broker) => (draining.has(broker.address) ? { ...broker, draining: true } : broker)),
    moves: detail.moves.filter(({ topic }) => totals.maySee(topic)),
    risks: totals.seesAll ? detail.risks : detail.risks.filter((risk) => maySee(risk, totals)),
  };
}

/** Whether all topics may be seen that a risk names. */
function maySee({ kind, partitions, partition_count: count }: ClusterRisk, totals: Totals): boolean {
  if (ABOUT_NO_TOPIC.has(kind)) return true;
  return count > 0 && count === partitions.length && partitions.every((name) => totals.maySee(name.slice(0, name.lastIndexOf("/"))));
}
