import { type ApiDescription, jsonAnswer, NO_BODY, needs, takes } from "../../../http/openapi/operation.ts";
import { BOOLEAN, COUNT, INTEGER, listOf, NUMBER, object, oneOf, orNull, type Schema, STRING } from "../../../http/openapi/schema.ts";
import { TOPIC } from "../describe.ts";

// What the calls of a cluster are.

const PARTITION_SCHEMA: Schema = { ...INTEGER, minimum: 0, maximum: 1023 };
const REPLICAS: Schema = { ...INTEGER, minimum: 1, maximum: 16 };
const PARTITION = needs("partition", "The partition", PARTITION_SCHEMA, 0);
const BROKER = "by its id, its data path uid or the first four digits of that, an address of its listeners, or its host";
const YOUZAN_BROKER = `by Youzan's id or ${BROKER}`;

const NO_CLUSTER = ["NO_CLUSTER: …"];
const AWAY = ["ETCD_AWAY: …"];
const NOT_KNOWN = [...AWAY, "UNKNOWN_OUTCOME: …"];
const NO_TOPIC = "NO_SUCH_TOPIC: …";
const NO_PARTITION = "NO_SUCH_PARTITION: …";
const NO_BROKER = "NO_SUCH_BROKER: …";
const INVALID = "INVALID: …";
const CHANGING = ["CHANGING: …"];
const NO_TOPIC_GIVEN = "MISSING_ARG_TOPIC";
const NO_PARTITION_GIVEN = ["MISSING_ARG_PARTITION", "INVALID_ARG_PARTITION"];

const BYTES = { in_bytes_per_second: NUMBER, out_bytes_per_second: NUMBER, stored_bytes: NUMBER };
const REMOVAL = object({ state: oneOf("draining", "drained"), partitions: COUNT, left: COUNT, problem: STRING }, { title: "Removal" });
const BROKER_STATUS = object(
  {
    uid: { ...STRING, description: "of its data path" },
    state: oneOf("alive", "leaving", "away", "removed"),
    tcp: STRING,
    http: STRING,
    replication: STRING,
    region: STRING,
    zone: STRING,
    version: STRING,
    away_ms: { ...orNull(COUNT), description: "at least" },
    leaders: COUNT,
    replicas: COUNT,
    in_sync: COUNT,
    disk: object({ size_bytes: NUMBER, free_bytes: NUMBER }),
    load: object(BYTES),
    removal: orNull(REMOVAL),
  },
  { title: "ClusterBroker" },
);
const WHAT = oneOf("replace", "add", "drop", "lead");
const MOVE_STATE = oneOf("waiting", "copying", "leading");
const MOVE = object(
  {
    topic: STRING,
    partition: COUNT,
    what: WHAT,
    why: oneOf("asked", "balance", "removal", "replicas"),
    state: MOVE_STATE,
    from: STRING,
    to: STRING,
    for_ms: COUNT,
  },
  { title: "Move" },
);
const RISK = object(
  {
    kind: STRING,
    severity: oneOf("critical", "warning"),
    text: { ...STRING, description: "what is at risk and why, in sentences" },
    partitions: { ...listOf(STRING), description: "the first 20, as `TOPIC/PARTITION`" },
    partition_count: COUNT,
    for_ms: { ...orNull(COUNT), description: "at least" },
  },
  { title: "Risk" },
);
const STATUS = object(
  {
    cluster: STRING,
    healthy: { ...BOOLEAN, description: "nothing is at risk" },
    controller: { ...STRING, description: "id of the lookup server that moves partitions; empty: none does" },
    lookups: listOf(object({ id: STRING, tcp: STRING, http: STRING, version: STRING }, { title: "ClusterLookup" })),
    brokers: listOf(BROKER_STATUS),
    topics: COUNT,
    partitions: COUNT,
    without_leader: COUNT,
    under_replicated: COUNT,
    moves: listOf(MOVE),
    balancing: { ...BOOLEAN, description: "balance was asked for, and is under way" },
    risks: listOf(RISK),
    revision: INTEGER,
  },
  { title: "ClusterStatus" },
);
const PARTITION_STATUS = object(
  {
    partition: COUNT,
    leader: { ...STRING, description: "data path uid; empty: none" },
    epoch: COUNT,
    replicas: listOf(STRING),
    in_sync: listOf(STRING),
    move: orNull(object({ what: WHAT, state: MOVE_STATE, from: STRING, to: STRING })),
  },
  { title: "PartitionStatus" },
);
const TOPICS = object({
  topics: listOf(
    object(
      {
        topic: STRING,
        partition_num: COUNT,
        key_partitions: { ...COUNT, description: "keys are spread over the first this many" },
        replicas: COUNT,
        min_in_sync: COUNT,
        ordered: BOOLEAN,
        durability: oneOf("write", "fsync"),
        change: orNull(oneOf("create", "expand", "delete")),
        partitions: listOf(PARTITION_STATUS),
      },
      { title: "ClusterTopic" },
    ),
  ),
});

const LEFT = object({
  topic: STRING,
  partition: COUNT,
  leader: STRING,
  needed: BOOLEAN,
  replicas: listOf(
    object({
      uid: STRING,
      http: STRING,
      alive: BOOLEAN,
      in_sync: BOOLEAN,
      has: orNull(object({ epoch: COUNT, end: COUNT, high_watermark: COUNT })),
    }),
  ),
});

/** The calls of lookup servers that are in a cluster. */
export const CLUSTER_GROUP: ApiDescription["groups"][number] = {
  name: "cluster",
  description:
    "What is where in a cluster, and changes of that, with `--etcd-endpoints` (docs/cluster.md). Any lookup server may be asked. A change is answered when it is in etcd, and `/cluster/status` says how far it is.",
  operations: {
    "GET /cluster/status": {
      summary: "Brokers, moves, and what is at risk and why",
      answer: jsonAnswer("The cluster as this lookup server sees it", STATUS),
      errors: { 400: NO_CLUSTER, 503: AWAY },
    },
    "GET /cluster/topics": {
      summary: "Where the replicas of topics are",
      parameters: [takes("topic", "Only this topic", STRING, "orders")],
      answer: jsonAnswer("The topics", TOPICS),
      errors: { 400: NO_CLUSTER, 404: [NO_TOPIC], 503: AWAY },
    },
    "POST /cluster/move": {
      summary: "Move a replica from one broker to another",
      parameters: [
        TOPIC,
        PARTITION,
        needs("from", `The broker that has it, ${BROKER}`, STRING),
        needs("to", `The broker that gets it, ${BROKER}`, STRING),
      ],
      answer: NO_BODY,
      errors: {
        400: [...NO_CLUSTER, NO_TOPIC_GIVEN, ...NO_PARTITION_GIVEN, "MISSING_ARG_FROM", "MISSING_ARG_TO", INVALID],
        404: [NO_PARTITION, NO_BROKER],
        409: CHANGING,
        503: NOT_KNOWN,
      },
    },
    "POST /cluster/lead": {
      summary: "Let another replica lead a partition",
      parameters: [TOPIC, PARTITION, takes("to", `A broker in sync, ${BROKER}; by default the first of its replicas`, STRING)],
      answer: NO_BODY,
      errors: {
        400: [...NO_CLUSTER, NO_TOPIC_GIVEN, ...NO_PARTITION_GIVEN, INVALID],
        404: [NO_PARTITION, NO_BROKER],
        409: CHANGING,
        503: NOT_KNOWN,
      },
    },
    "POST /cluster/balance": {
      summary: "Spread leaders and replicas evenly now",
      details:
        "At any hour, and though brokers differ by little. Leaders go to replicas in sync, many at once; then replicas move, one at a time, while none is missing.",
      answer: NO_BODY,
      errors: { 400: NO_CLUSTER, 503: NOT_KNOWN },
    },
    "POST /cluster/remove-node": {
      summary: "Move everything from a broker, alive or not, to others",
      parameters: [needs("node", `The broker, ${BROKER}`, STRING), takes("cancel", "Whether to keep it after all", BOOLEAN)],
      answer: jsonAnswer("The broker", object({ uid: { ...STRING, description: "of its data path" } })),
      errors: { 400: [...NO_CLUSTER, "MISSING_ARG_NODE", INVALID], 404: [NO_BROKER], 409: CHANGING, 503: NOT_KNOWN },
    },
    "POST /cluster/expand": {
      summary: "Give a topic more partitions",
      details: "Keys stay where they are: they are spread over the partitions that the topic was made with.",
      parameters: [TOPIC, needs("partitions", "How many it has then", { ...INTEGER, minimum: 1, maximum: 1024 }, 8)],
      answer: NO_BODY,
      errors: {
        400: [
          ...NO_CLUSTER,
          NO_TOPIC_GIVEN,
          "MISSING_ARG_PARTITIONS",
          "INVALID_ARG_PARTITIONS",
          "FEWER_PARTITIONS: …",
          "TOO_FEW_BROKERS: …",
          "NO_PREFIXES: …",
          INVALID,
        ],
        404: [NO_TOPIC],
        503: NOT_KNOWN,
      },
    },
    "POST /cluster/replicas": {
      summary: "Give a topic another number of replicas",
      details:
        "A topic that wanted a majority of its replicas in sync for a publish still does. A topic that one broker has alone becomes one of the cluster.",
      parameters: [TOPIC, needs("replicas", "How many", REPLICAS, 3)],
      answer: NO_BODY,
      errors: {
        400: [
          ...NO_CLUSTER,
          NO_TOPIC_GIVEN,
          "MISSING_ARG_REPLICAS",
          "INVALID_ARG_REPLICAS",
          "TOO_FEW_BROKERS: …",
          INVALID,
          "NOT_ADOPTED: …",
        ],
        404: [NO_TOPIC],
        503: [...NOT_KNOWN, "BROKERS_FAILED: …"],
      },
    },
    "POST /cluster/min-in-sync": {
      summary: "Set how many replicas of a topic must have a publish before it is acknowledged",
      parameters: [TOPIC, needs("min_in_sync", "How many; 0: a majority", { ...INTEGER, minimum: 0, maximum: 16 }, 2)],
      answer: NO_BODY,
      errors: {
        400: [...NO_CLUSTER, NO_TOPIC_GIVEN, "MISSING_ARG_MIN_IN_SYNC", "INVALID_ARG_MIN_IN_SYNC", INVALID],
        404: [NO_TOPIC],
        503: NOT_KNOWN,
      },
    },
    "POST /topic/partition/move": {
      summary: "Move a replica, or let another one lead: Youzan's call",
      parameters: [
        TOPIC,
        PARTITION,
        needs("move_from", `The broker that has it or leads, ${YOUZAN_BROKER}`, STRING),
        needs("move_to", `The other broker, ${YOUZAN_BROKER}`, STRING),
        takes("move_leader", "Whether another replica is to lead, instead of a replica to move", BOOLEAN),
      ],
      answer: NO_BODY,
      errors: {
        400: [
          ...NO_CLUSTER,
          NO_TOPIC_GIVEN,
          ...NO_PARTITION_GIVEN,
          "MISSING_ARG_MOVE_FROM",
          "MISSING_ARG_MOVE_TO",
          "INVALID_ARG_MOVE_LEADER",
          "move from not the topic leader",
          INVALID,
        ],
        404: [NO_PARTITION, NO_BROKER],
        409: CHANGING,
        503: NOT_KNOWN,
      },
    },
    "POST /cluster/node/remove": {
      summary: "Move everything from a broker to others: Youzan's call",
      parameters: [needs("remove_node", `The broker, ${YOUZAN_BROKER}`, STRING)],
      answer: NO_BODY,
      errors: { 400: [...NO_CLUSTER, "MISSING_ARG_REMOVE_NODE", INVALID], 404: [NO_BROKER], 409: CHANGING, 503: NOT_KNOWN },
    },
    "GET /cluster/recover": {
      summary: "What replicas have of a partition, before one leads that is not in sync",
      parameters: [TOPIC, PARTITION],
      answer: jsonAnswer("Its replicas. `needed` is false while one in sync is alive.", LEFT),
      errors: { 400: [...NO_CLUSTER, NO_TOPIC_GIVEN, ...NO_PARTITION_GIVEN], 404: [NO_PARTITION], 503: AWAY },
    },
    "POST /cluster/recover": {
      summary: "Let a replica lead that is not in sync, when none of those that are will come back",
      details: "Acknowledged messages that it lacks are lost for good. It is refused while one in sync is alive.",
      parameters: [
        TOPIC,
        PARTITION,
        needs("from", `The broker that leads then, ${BROKER}`, STRING),
        takes("accept_data_loss", "That messages may be lost; without it, the answer says which brokers have everything", BOOLEAN),
      ],
      answer: NO_BODY,
      errors: {
        400: [...NO_CLUSTER, NO_TOPIC_GIVEN, ...NO_PARTITION_GIVEN, "MISSING_ARG_FROM", INVALID, "MAY_LOSE_MESSAGES: …"],
        404: [NO_PARTITION, NO_BROKER],
        409: CHANGING,
        503: NOT_KNOWN,
      },
    },
  },
};
