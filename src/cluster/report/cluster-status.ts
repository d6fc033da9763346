import type { MoveRecord, RemovalRecord } from "../state/records.ts";
import type { Risk } from "./risk.ts";
import { findRisks, type RiskSources } from "./risks.ts";

/** A broker, or a data path of one that is away. */
export interface BrokerStatus {
  readonly uid: string;
  /**
   * `away`: it has replicas, and is not in etcd. `leaving`: it is alive, and is being removed. `removed`: it is not in etcd, and has nothing
   * any more, as was asked for.
   */
  readonly state: "alive" | "leaving" | "away" | "removed";
  /** As it said last; "" if this lookup server has not seen it. */
  readonly tcp: string;
  readonly http: string;
  readonly replication: string;
  readonly region: string;
  readonly zone: string;
  readonly version: string;
  /** For how long at least, ms; null: it is alive. */
  readonly away_ms: number | null;
  readonly leaders: number;
  readonly replicas: number;
  /** How many of its replicas are in sync. */
  readonly in_sync: number;
  readonly disk: { readonly size_bytes: number; readonly free_bytes: number };
  readonly load: { readonly in_bytes_per_second: number; readonly out_bytes_per_second: number; readonly stored_bytes: number };
  readonly removal: Pick<RemovalRecord, "state" | "partitions" | "left" | "problem"> | null;
}

export interface MoveStatus extends Pick<MoveRecord, "topic" | "partition" | "what" | "why" | "state" | "from" | "to"> {
  /** How long it has been in its state at least, ms. */
  readonly for_ms: number;
}

/** The cluster as one lookup server sees it. */
export interface ClusterStatus {
  readonly cluster: string;
  /** Nothing is at risk. */
  readonly healthy: boolean;
  /** The id of the lookup server that moves partitions; "": none does. */
  readonly controller: string;
  readonly lookups: readonly { readonly id: string; readonly tcp: string; readonly http: string; readonly version: string }[];
  readonly brokers: readonly BrokerStatus[];
  readonly topics: number;
  readonly partitions: number;
  readonly without_leader: number;
  readonly under_replicated: number;
  readonly moves: readonly MoveStatus[];
  /** An operator has asked for balance, and that is under way. */
  readonly balancing: boolean;
  readonly risks: readonly Risk[];
  /** Etcd's, of what this was made of. */
  readonly revision: number;
}

export function clusterStatus(cluster: string, sources: RiskSources): ClusterStatus {
  const { view, names, sightings } = sources;
  const risks = findRisks(sources);
  const partitions = [...view.partitions.values()].map(({ value }) => value);
  const isLed = (leader: string) => leader !== "" && names.isAlive(leader);
  return {
    cluster,
    healthy: risks.length === 0,
    controller: view.controller?.value.lookup ?? "",
    lookups: [...view.lookups].map(([id, { value }]) => ({ id, tcp: value.tcp, http: value.http, version: value.version })),
    brokers: brokersOf(sources),
    topics: view.topics.size,
    partitions: partitions.length,
    without_leader: partitions.filter(({ leader }) => !isLed(leader)).length,
    under_replicated: [...view.partitions].filter(([name, { value }]) => {
      const topic = view.topics.get(name.slice(0, name.lastIndexOf("/")))?.value;
      return value.inSync.filter((uid) => names.isAlive(uid)).length < Math.max(topic?.replicas ?? 1, value.replicas.length);
    }).length,
    moves: [...view.moves].map(([name, { value }]) => {
      const { topic, partition, what, why, state, from, to } = value;
      return { topic, partition, what, why, state, from, to, for_ms: sightings.moveMs(name) };
    }),
    balancing: view.balanceRequest !== undefined,
    risks,
    revision: view.revision,
  };
}

interface Counts {
  leaders: number;
  replicas: number;
  inSync: number;
}

function brokersOf({ view, names, sightings }: RiskSources): BrokerStatus[] {
  const counts = new Map<string, Counts>([...names.all()].map((uid) => [uid, { leaders: 0, replicas: 0, inSync: 0 }]));
  for (const { value } of view.partitions.values()) {
    for (const uid of value.replicas) {
      const one = counts.get(uid) as Counts;
      one.replicas++;
      if (value.inSync.includes(uid)) one.inSync++;
      if (value.leader === uid && names.isAlive(uid)) one.leaders++;
    }
  }
  const brokers = [...counts].map(([uid, { leaders, replicas, inSync }]): BrokerStatus => {
    const record = names.record(uid);
    const removal = view.removals.get(uid)?.value;
    const isAlive = names.isAlive(uid);
    const { disk, load } = record ?? {};
    return {
      uid,
      state: stateOf(isAlive, removal !== undefined, replicas),
      tcp: record?.tcp ?? "",
      http: record?.http ?? "",
      replication: record?.replication ?? "",
      region: record?.region ?? "",
      zone: record?.zone ?? "",
      version: record?.version ?? "",
      away_ms: isAlive ? null : sightings.awayMs(uid),
      leaders,
      replicas,
      in_sync: inSync,
      disk: { size_bytes: disk?.sizeBytes ?? 0, free_bytes: disk?.freeBytes ?? 0 },
      load: {
        in_bytes_per_second: load?.inBytesPerSecond ?? 0,
        out_bytes_per_second: load?.outBytesPerSecond ?? 0,
        stored_bytes: load?.storedBytes ?? 0,
      },
      removal:
        removal === undefined
          ? null
          : { state: removal.state, partitions: removal.partitions, left: removal.left, problem: removal.problem },
    };
  });
  return brokers.sort((a, b) => (`${a.http} ${a.uid}` < `${b.http} ${b.uid}` ? -1 : 1));
}

function stateOf(isAlive: boolean, isToGo: boolean, replicas: number): BrokerStatus["state"] {
  if (isAlive) return isToGo ? "leaving" : "alive";
  return isToGo && replicas === 0 ? "removed" : "away";
}
