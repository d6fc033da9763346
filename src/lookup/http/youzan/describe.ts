import { eitherForm } from "../../../http/openapi/common.ts";
import { type ApiDescription, jsonAnswer, NO_BODY, needs, type Parameter, takes } from "../../../http/openapi/operation.ts";
import {
  BOOLEAN,
  COUNT,
  INTEGER,
  listOf,
  mapOf,
  NUMBER,
  object,
  oneOf,
  optional,
  type Schema,
  STRING,
} from "../../../http/openapi/schema.ts";
import { NO_VALID_TOPIC, NODE, TOPIC } from "../describe.ts";

// What Youzan's calls and arguments are.

const PARTITION_SCHEMA: Schema = { ...INTEGER, minimum: 0, maximum: 1023 };
export const PARTITION = takes("partition", "Only this partition", PARTITION_SCHEMA, 0);
export const META_INFO = takes("metainfo", "Whether to tell partitions", BOOLEAN);
export const EVERYWHERE = takes("partition", "Given: delete or make it at all brokers", oneOf("**"), "**");
export const INVALID_PARTITION = "INVALID_ARG_TOPIC_PARTITION";

export const LOOKUP_ARGUMENTS: readonly Parameter[] = [
  takes("access", "Given: partitions are told, to consumers (`r`) or producers (`w`)", oneOf("r", "w"), "r"),
  takes("metainfo", "Given: partitions are told, and what brokers say of the topic", BOOLEAN),
  PARTITION,
];

const PEER = object({ id: STRING, ...NODE, distributed_id: STRING }, { title: "Peer" });
const META = object(
  {
    disable_channel_auto_create: BOOLEAN,
    extend_support: BOOLEAN,
    multi_part: BOOLEAN,
    ordered: BOOLEAN,
    partition_num: COUNT,
    replica: COUNT,
  },
  { title: "TopicMeta" },
);

export const WITH_PARTITIONS = eitherForm(
  object({ channels: listOf(STRING), meta: optional(META), partitions: mapOf(PEER), producers: listOf(PEER) }, { title: "Partitions" }),
);
export const WITH_META = eitherForm(
  object({
    meta_info: listOf(
      object({
        topic_name: STRING,
        extend_support: BOOLEAN,
        ordered: BOOLEAN,
        multi_part: BOOLEAN,
        disable_channel_auto_create: BOOLEAN,
        registered_channels: { anyOf: [listOf(STRING), { type: "null" }] },
      }),
    ),
    topics: listOf(STRING),
  }),
);
export const CHANNELS = object({ channels: listOf(STRING) });
export const CHANNELS_OF_PARTITION = eitherForm(CHANNELS);
export const NODES_WITH_PARTITIONS = eitherForm(
  object({
    producers: listOf(object({ ...NODE, tombstones: listOf(BOOLEAN), topics: listOf(STRING), partitions: mapOf(listOf(STRING)) })),
  }),
);

const PARTITION_NUM: Schema = { ...INTEGER, minimum: 1, maximum: 1024 };
const COUNT_CODES = ["MISSING_ARG_TOPIC_PARTITION_NUM", "INVALID_ARG_TOPIC_PARTITION_NUM"];
const NO_NODE = "ErrType:9 ErrCode:1 : No node is available for topic: …";
const STORAGE_CODES = ["INVALID_ARG_TOPIC_RETENTION", "max retention days allowed exceed", "INVALID_ARG_TOPIC_SYNCDISK"];
const REPLICA_CODES = ["INVALID_ARG_TOPIC_REPLICATOR", NO_NODE];
/** Errors of calls that call brokers, or etcd in a cluster. */
export const BROKER_CODES = ["BROKERS_FAILED: …", "NOT_REGISTERED: …", "NOT_LED: …", "ETCD_AWAY: …", "UNKNOWN_OUTCOME: …"];
const ALREADY = ["already exist", "already exist: …"];

const FILL = takes("fill", "Whether partitions that no registered broker has are lost, and are to be made again", BOOLEAN);
const STORAGE: readonly Parameter[] = [
  takes("replicator", "Replicas; several need a cluster", { ...INTEGER, minimum: 1, maximum: 5 }, 1),
  takes("retention", "Days for which finished messages are kept; 0: as the brokers' flags say", { ...INTEGER, minimum: 0, maximum: 60 }, 1),
  takes("syncdisk", "1: publishes wait for the disk; more: they do not; 0: as the brokers' flags say", { ...COUNT, maximum: 4000 }, 1),
];
const CHANNEL_ORDER = takes("channel_order", "The order of channels that are made from now on", oneOf("none", "key", "partition"), "key");
export const CREATE_ARGUMENTS: readonly Parameter[] = [
  takes("partition_num", "Given: brokers make so many partitions", PARTITION_NUM, 4),
  ...STORAGE,
  ...["orderedmulti", "multipart", "extend", "disable_channel_auto_create"].map((name) => takes(name, "As in Youzan's NSQ", BOOLEAN)),
  CHANNEL_ORDER,
  FILL,
];
export const CREATE_CODES = [
  ...COUNT_CODES,
  ...REPLICA_CODES,
  ...STORAGE_CODES,
  ...ALREADY,
  "INVALID_ARG_ORDEREDMULTI",
  "INVALID_ARG_MULTIPART",
  "INVALID_ARG_EXTEND",
  "INVALID_ARG_DISABLE_CHANNEL_AUTO_CREATE",
  "INVALID_ARG_CHANNEL_ORDER",
  "INVALID_ARG_FILL",
];

const LOOKUP_NODE = object(
  { ID: STRING, NodeIP: STRING, TcpPort: STRING, HttpPort: STRING, RpcPort: STRING, Epoch: INTEGER },
  { title: "LookupNode" },
);

/** The calls that only Youzan's lookup server has. */
export const PARTITION_GROUP: ApiDescription["groups"][number] = {
  name: "partitions",
  description: "Partitions of topics, as Youzan's clients and operators ask for them.",
  operations: {
    "GET /listlookup": {
      summary: "The lookup servers that belong together: those of the cluster, or this one",
      answer: jsonAnswer("The servers", eitherForm(object({ lookupdleader: LOOKUP_NODE, lookupdnodes: listOf(LOOKUP_NODE) }))),
    },
    "GET /cluster/stats": {
      summary: "Whether all partitions are at brokers, and how many each broker has",
      answer: jsonAnswer(
        "The load is the part of all partitions.",
        object({
          stable: BOOLEAN,
          node_stat_list: listOf(
            object({
              hostname: STRING,
              broadcast_address: STRING,
              tcp_port: INTEGER,
              http_port: INTEGER,
              leader_load_factor: NUMBER,
              node_load_factor: NUMBER,
            }),
          ),
          topn_topics: listOf(STRING),
        }),
      ),
    },
    "POST /topic/partition/expand": {
      summary: "Give a topic more partitions",
      details:
        "Those that it has stay where they are. Without a cluster, keys of new messages may belong to other partitions than before; in one they stay.",
      parameters: [TOPIC, needs("partition_num", "How many partitions the topic has then", PARTITION_NUM, 8), FILL],
      answer: NO_BODY,
      errors: {
        400: [...NO_VALID_TOPIC, ...COUNT_CODES, NO_NODE, ...ALREADY, "the partition number can not be reduced", "INVALID_ARG_FILL"],
        404: ["topic is not created"],
        503: BROKER_CODES,
      },
    },
    "POST /topic/meta/update": {
      summary: "Change settings of a topic at all its brokers",
      parameters: [
        TOPIC,
        ...STORAGE,
        takes("upgradeext", "`true`: messages may have headers from now on, and Youzan's clients must understand them", BOOLEAN),
        takes("disable_channel_auto_create", "Whether SUB of Youzan's clients makes no channels", BOOLEAN),
        CHANNEL_ORDER,
      ],
      answer: NO_BODY,
      errors: {
        400: [
          ...NO_VALID_TOPIC,
          ...REPLICA_CODES,
          ...STORAGE_CODES,
          "INVALID_ARG_UPGRADEEXT",
          "INVALID_ARG_CHANNEL_ORDER",
          "INVALID_ARG_DISABLE_CHANNEL_AUTO_CREATE",
        ],
        404: ["topic is not created"],
        503: BROKER_CODES,
      },
    },
  },
};
