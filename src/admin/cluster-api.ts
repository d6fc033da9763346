// What the console's API says of a replicated cluster (docs/cluster.md). console-api.ts is the rest. Brokers are named by the uids of their
// data paths, since an address may come to belong to another one.

/** `GET /api/v1/cluster`: 404 NO_CLUSTER if no lookup server is in one. As one of them sees it. */
export interface ClusterDetail {
  cluster: string;
  /** The lookup server that has told it: `host:port`. */
  lookup: string;
  /** Why it is not told any more: what is here is old. */
  down?: string;
  /** The lookup server that moves partitions, by its id in the cluster; empty: none does. */
  controller: string;
  topics: number;
  partitions: number;
  without_leader: number;
  under_replicated: number;
  brokers: ClusterBroker[];
  moves: ClusterMove[];
  /** Balance was asked for, and is under way. */
  balancing: boolean;
  /** The worst first. To who does not see all topics, those that name others are not shown. */
  risks: ClusterRisk[];
}

/** A broker, or a data path of one that is away. */
export interface ClusterBroker {
  uid: string;
  /** Its HTTP address, or the first digits of its uid if that is not known. */
  name: string;
  /** HTTP; empty: not known. */
  address: string;
  /** `away`: it has replicas and is not in etcd. `leaving`: it is alive, and is being removed. `removed`: it is gone, and has nothing any more. */
  state: "alive" | "leaving" | "away" | "removed";
  /** For how long at least; null: it is alive. */
  away_ms: number | null;
  /** It is about to end: its partitions are handed over. */
  draining?: true;
  region: string;
  zone: string;
  version: string;
  /** Partitions that it leads, that it has, and that it is in sync of. */
  leaders: number;
  replicas: number;
  in_sync: number;
  /** Null: it does not tell. */
  disk_size_bytes: number | null;
  disk_free_bytes: number | null;
  in_bytes_per_second: number;
  out_bytes_per_second: number;
  stored_bytes: number;
  removal: ClusterRemoval | null;
}

/** How far the removal of a broker is. */
export interface ClusterRemoval {
  state: "draining" | "drained";
  /** How many partitions it had when it began, and has. */
  partitions: number;
  left: number;
  /** What holds it up; empty: nothing. */
  problem: string;
}

/** A change of a partition's replicas that is under way. */
export interface ClusterMove {
  /** `TOPIC/PARTITION` */
  key: string;
  topic: string;
  partition: number;
  what: "replace" | "add" | "drop" | "lead";
  why: "asked" | "balance" | "removal" | "replicas";
  state: "waiting" | "copying" | "leading";
  /** Names of brokers; empty: none. */
  from: string;
  to: string;
  /** How long it has been in its state, at least. */
  for_ms: number;
}

export interface ClusterRisk {
  kind: string;
  severity: "critical" | "warning";
  /** Sentences. */
  text: string;
  /** Some of the partitions that it is about, as `TOPIC/PARTITION`, and how many these are. */
  partitions: string[];
  partition_count: number;
  for_ms: number | null;
}

/** `GET /api/v1/replicas?topic=&broker=` → Page<ReplicaRow>: the partitions of the cluster, of a topic, or of a broker by its uid. */
export interface ReplicaRow {
  /** `TOPIC/PARTITION` */
  key: string;
  topic: string;
  partition: number;
  /**
   * - `offline`: nobody leads it
   * - `unwritable`: too few replicas are in sync for publishes
   * - `under_replicated`: it has fewer replicas in sync than its topic is to have
   * - `moving`: a change of its replicas is under way
   */
  state: "ok" | "moving" | "under_replicated" | "unwritable" | "offline";
  /** Name of the broker; empty: none. */
  leader: string;
  epoch: number;
  /** The preferred leader first. */
  replicas: ReplicaAt[];
  /** How many replicas it is to have, has in sync that are alive, and needs in sync for a publish. */
  replica_count: number;
  in_sync: number;
  min_in_sync: number;
  /** What the follower lacks that is farthest behind: messages, about how many bytes, and for how long. Null: nobody tells. */
  lag_messages: number | null;
  lag_bytes: number | null;
  lag_ms: number | null;
  move: Pick<ClusterMove, "what" | "state" | "from" | "to"> | null;
}

/** One replica of a partition. */
export interface ReplicaAt {
  uid: string;
  name: string;
  role: "leader" | "in_sync" | "behind" | "away";
  lag_messages: number | null;
}

/** A topic of the cluster; part of TopicDetail. */
export interface TopicReplication {
  partitions: number;
  /** How many replicas each partition is to have, and needs in sync for a publish. */
  replicas: number;
  min_in_sync: number;
  under_replicated: number;
  without_leader: number;
  /** What is under way. */
  change: "create" | "expand" | "delete" | null;
}
