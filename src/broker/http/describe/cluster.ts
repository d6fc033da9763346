import { NAME } from "../../../http/openapi/common.ts";
import { jsonAnswer, NO_BODY, needs, type OperationGroup, takes } from "../../../http/openapi/operation.ts";
import { BOOLEAN, COUNT, listOf, object, objectOf, oneOf, orNull, STRING } from "../../../http/openapi/schema.ts";
import type { FollowerReport, ReplicaReport } from "../../metrics/cluster-report.ts";

const FOLLOWER = objectOf<FollowerReport>(
  {
    uid: STRING,
    in_sync: BOOLEAN,
    following: { ...BOOLEAN, description: "it is connected, and has asked for what it lacks" },
    end: { ...orNull(COUNT), description: "null: it has not told it to this leader" },
    lag_messages: { ...COUNT, description: "at least, if it has not told its end" },
    lag_bytes: COUNT,
    lag_ms: { ...COUNT, description: "for how long it has lacked something" },
  },
  { title: "FollowerReport" },
);

const REPLICA = objectOf<ReplicaReport>(
  {
    topic: STRING,
    partition: COUNT,
    role: oneOf("leader", "follower", "out"),
    epoch: COUNT,
    leader: { ...STRING, description: "uid of a data path, as far as this broker knows; empty: none" },
    replicas: listOf(STRING),
    in_sync: listOf(STRING),
    start: COUNT,
    end: COUNT,
    synced: COUNT,
    high_watermark: { ...COUNT, description: "below it everything is on all replicas in sync" },
    whole: { ...BOOLEAN, description: "false: it may have lost messages, and must catch up before it may lead" },
    refusal: { ...orNull(STRING), description: "why the leader takes no publishes" },
    followers: orNull(listOf(FOLLOWER)),
  },
  { title: "ReplicaReport" },
);

/** What a broker of a cluster has. */
export const CLUSTER: OperationGroup = {
  name: "cluster",
  description:
    "What a broker with `--etcd-endpoints` has of its cluster (docs/metrics.md). The lookup servers know the cluster as a whole.",
  operations: {
    "GET /cluster/replicas": {
      summary: "The partitions that this broker has, what it is for them, and what its followers lack",
      parameters: [takes("topic", "Only of this topic", NAME, "orders")],
      answer: jsonAnswer(
        "The partitions, in no order",
        object({ uid: { ...STRING, description: "of its data path" }, replicas: listOf(REPLICA) }),
      ),
      errors: { 400: ["NO_CLUSTER"] },
    },
    "POST /cluster/adopt": {
      summary: "Make a topic that this broker has alone one of the cluster",
      details: "This broker is its only replica then, and it can get more. `bunsq cluster replicas` and the lookup servers call this.",
      parameters: [needs("topic", "The topic", NAME, "orders")],
      answer: NO_BODY,
      errors: { 400: ["NO_CLUSTER", "MISSING_ARG_TOPIC", "INVALID_TOPIC", "NOT_ADOPTED: …"] },
    },
  },
};
