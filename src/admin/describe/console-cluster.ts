import { BOOLEAN, COUNT, listOf, NUMBER, objectOf, oneOf, optional, orNull, STRING } from "../../http/openapi/schema.ts";
import type {
  ClusterBroker,
  ClusterDetail,
  ClusterMove,
  ClusterRemoval,
  ClusterRisk,
  ReplicaAt,
  ReplicaRow,
  TopicReplication,
} from "../cluster-api.ts";
import type { Page } from "../console-api.ts";

// What the console's own API says of a replicated cluster (../cluster-api.ts).

const MOVE_MEMBERS = {
  what: oneOf("replace", "add", "drop", "lead"),
  state: oneOf("waiting", "copying", "leading"),
  from: STRING,
  to: STRING,
};

const BROKER = objectOf<ClusterBroker>(
  {
    uid: { ...STRING, description: "of its data path" },
    name: { ...STRING, description: "its HTTP address, or the first digits of its uid" },
    address: STRING,
    state: oneOf("alive", "leaving", "away", "removed"),
    away_ms: orNull(NUMBER),
    draining: optional(BOOLEAN),
    region: STRING,
    zone: STRING,
    version: STRING,
    leaders: COUNT,
    replicas: COUNT,
    in_sync: COUNT,
    disk_size_bytes: orNull(NUMBER),
    disk_free_bytes: orNull(NUMBER),
    in_bytes_per_second: NUMBER,
    out_bytes_per_second: NUMBER,
    stored_bytes: NUMBER,
    removal: orNull(
      objectOf<ClusterRemoval>(
        { state: oneOf("draining", "drained"), partitions: COUNT, left: COUNT, problem: STRING },
        { title: "ClusterRemoval" },
      ),
    ),
  },
  { title: "ClusterBroker" },
);

export const CLUSTER_DETAIL = objectOf<ClusterDetail>({
  cluster: STRING,
  lookup: { ...STRING, description: "the lookup server that has told it" },
  down: optional({ ...STRING, description: "Why it is not told any more" }),
  controller: STRING,
  topics: COUNT,
  partitions: COUNT,
  without_leader: COUNT,
  under_replicated: COUNT,
  brokers: listOf(BROKER),
  balancing: BOOLEAN,
  moves: listOf(
    objectOf<ClusterMove>(
      {
        key: STRING,
        topic: STRING,
        partition: COUNT,
        why: oneOf("asked", "balance", "removal", "replicas"),
        for_ms: NUMBER,
        ...MOVE_MEMBERS,
      },
      { title: "ClusterMove" },
    ),
  ),
  risks: listOf(
    objectOf<ClusterRisk>(
      {
        kind: STRING,
        severity: oneOf("critical", "warning"),
        text: STRING,
        partitions: listOf(STRING),
        partition_count: COUNT,
        for_ms: orNull(NUMBER),
      },
      { title: "ClusterRisk" },
    ),
  ),
});

const REPLICA_ROW = objectOf<ReplicaRow>(
  {
    key: STRING,
    topic: STRING,
    partition: COUNT,
    state: oneOf("ok", "moving", "under_replicated", "unwritable", "offline"),
    leader: STRING,
    epoch: COUNT,
    replicas: listOf(
      objectOf<ReplicaAt>(
        { uid: STRING, name: STRING, role: oneOf("leader", "in_sync", "behind", "away"), lag_messages: orNull(COUNT) },
        { title: "ReplicaAt" },
      ),
    ),
    replica_count: COUNT,
    in_sync: COUNT,
    min_in_sync: COUNT,
    lag_messages: orNull(COUNT),
    lag_bytes: orNull(COUNT),
    lag_ms: orNull(COUNT),
    move: orNull(objectOf<NonNullable<ReplicaRow["move"]>>(MOVE_MEMBERS)),
  },
  { title: "ReplicaRow" },
);

export const REPLICA_ROWS = objectOf<Page<unknown>>({ rows: listOf(REPLICA_ROW), total: COUNT, offset: COUNT });

export const TOPIC_REPLICATION = objectOf<TopicReplication>(
  {
    partitions: COUNT,
    replicas: COUNT,
    min_in_sync: COUNT,
    under_replicated: COUNT,
    without_leader: COUNT,
    change: orNull(oneOf("create", "expand", "delete")),
  },
  { title: "TopicReplication" },
);
