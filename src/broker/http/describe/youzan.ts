import { eitherForm } from "../../../http/openapi/common.ts";
import { jsonAnswer, needs, type OperationGroup, takes, textAnswer } from "../../../http/openapi/operation.ts";
import { BOOLEAN, COUNT, INTEGER, listOf, object, oneOf, optional, orNull, type Schema, STRING } from "../../../http/openapi/schema.ts";
import { CHANNEL, CHANNEL_ARGUMENTS, MESSAGE_ID, NO_CHANNEL, PARTITION, TOPIC } from "./parameters.ts";

// Calls of Youzan's nsqd that nsqd does not have (docs/youzan.md).

const NUMBER_OR_TEXT: Schema = { type: ["integer", "string"], description: "A text where a double does not hold the number" };
const ANY_OBJECT: Schema = { type: "object" };
const POSITION_ERRORS = ["search mode should be one of id/count/virtual_offset", "INVALID_ARG_SEARCH_POS", "strconv.ParseInt: parsing …"];
const UNREADABLE = { 503: ["TOPIC_NOT_OPEN", "FILE_UNREADABLE", "TOO_MANY_REQUESTS"] };

const NODE = object({ hostname: STRING, node_id: STRING });

/** Calls for messages. */
export const YOUZAN_MESSAGES: OperationGroup["operations"] = {
  "GET /message/get": {
    summary: "One message, in Youzan's form",
    details: "By its id, by how many came before it, or by the offset in its log: the first message there or behind.",
    parameters: [
      TOPIC,
      needs("search_mode", "What `search_pos` is", oneOf("id", "count", "virtual_offset"), "count"),
      needs("search_pos", "Youzan's id, a count, or an offset", { type: "integer", minimum: 0, maximum: 2 ** 53 - 1 }, 0),
      takes("needext", "`true`: with the JSON of its header", STRING, "true"),
      takes("delayed_queue", "`true`: a message that a channel has deferred, by its id", STRING),
      takes("channel", "Which channel", { type: "string" }, "billing"),
      PARTITION,
    ],
    answer: jsonAnswer(
      "The message",
      object(
        {
          id: NUMBER_OR_TEXT,
          orig_id: optional(NUMBER_OR_TEXT),
          trace_id: NUMBER_OR_TEXT,
          body: STRING,
          encoding: optional(oneOf("base64")),
          timestamp: { ...COUNT, description: "ns since 1970" },
          attempts: COUNT,
          offset: COUNT,
          queue_cnt_index: optional(COUNT),
          ext: { ...STRING, description: "JSON, or empty" },
          message_id: MESSAGE_ID,
        },
        { title: "YouzanMessage" },
      ),
    ),
    errors: {
      400: [...CHANNEL_ARGUMENTS, "INVALID_ARG_PARTITION", ...POSITION_ERRORS, "delayed queue search mode must be id"],
      404: ["TOPIC_NOT_FOUND", "CHANNEL_NOT_FOUND", "PARTITION_NOT_FOUND", "MESSAGE_NOT_FOUND"],
      ...UNREADABLE,
    },
  },
  "GET /message/stats": {
    summary: "Where a channel is in its logs, as text",
    parameters: [TOPIC, CHANNEL, PARTITION],
    answer: textAnswer("To be read by people", "topic orders partition 0 channel billing\n…"),
    errors: {
      400: [...CHANNEL_ARGUMENTS, "INVALID_ARG_PARTITION"],
      404: [...NO_CHANNEL[404], "PARTITION_NOT_FOUND"],
      503: NO_CHANNEL[503],
    },
  },
  "GET /message/historystats": {
    summary: "Bytes that were published, by hour",
    details:
      "Of a topic: the last 24 hours, the current one last. Without one: the last hour of each partition. Only what the logs still have counts.",
    parameters: [takes("topic", "Only this topic", { type: "string" }, "orders"), PARTITION],
    answer: jsonAnswer(
      "How many",
      object({
        hourly_pub_size: optional(listOf(COUNT)),
        node_hourly_pub_size_stats: optional(listOf(object({ topic_name: STRING, topic_partition: STRING, hourly_pub_size: COUNT }))),
      }),
    ),
    errors: { 400: ["INVALID_ARG_PARTITION"], 404: ["TOPIC_NOT_FOUND", "PARTITION_NOT_FOUND"], ...UNREADABLE },
  },
};

/** Calls for the broker. */
export const YOUZAN_SERVICE: OperationGroup["operations"] = {
  "GET /coordinator/stats": {
    summary: "Which replicas of a topic are in sync, in Youzan's form",
    parameters: [takes("topic", "The topic; without it, none is told", STRING, "orders"), PARTITION],
    answer: jsonAnswer(
      "The partitions that this broker has",
      object({
        topic_coord_stats: listOf(
          object({ node: STRING, name: STRING, partition: COUNT, isr_stats: listOf(NODE), catchup_stats: orNull(listOf(NODE)) }),
        ),
      }),
    ),
    errors: { 400: ["Coordinator is disabled.", "INVALID_ARG_PARTITION"] },
  },
  "GET /serverstats": {
    summary: "The broker's health, and how many publishes failed",
    answer: jsonAnswer(
      "What it is",
      object({ version: STRING, health: STRING, start_time: { ...COUNT, description: "s since 1970" }, server_pub_failed: COUNT }),
    ),
  },
};

const CHANNEL_STATS = object(
  {
    channel_name: STRING,
    depth: { ...COUNT, description: "Messages" },
    depth_size: { ...COUNT, description: "Bytes" },
    depth_ts: { ...STRING, description: "When the oldest unfinished message was published; empty if all are finished" },
    depth_ts_nano: INTEGER,
    backend_depth: COUNT,
    in_flight_count: COUNT,
    deferred_count: COUNT,
    deferred_from_delay_count: COUNT,
    message_count: COUNT,
    requeue_count: COUNT,
    timeout_count: COUNT,
    clients: listOf(ANY_OBJECT),
    client_num: COUNT,
    paused: BOOLEAN,
    skipped: BOOLEAN,
    zan_test_skipped: BOOLEAN,
    delayed_queue_count: COUNT,
    delayed_queue_recent: optional(STRING),
    delayed_queue_recent_nano: optional(INTEGER),
    e2e_processing_latency: ANY_OBJECT,
  },
  { title: "YouzanChannelStats" },
);

const YOUZAN_DOCUMENT = object(
  {
    version: STRING,
    health: STRING,
    start_time: COUNT,
    topics: listOf(
      object({
        topic_name: STRING,
        topic_full_name: STRING,
        topic_partition: STRING,
        channels: listOf(CHANNEL_STATS),
        channel_num: COUNT,
        depth: { ...COUNT, description: "Bytes of the log" },
        backend_depth: COUNT,
        backend_start: COUNT,
        message_count: COUNT,
        is_leader: BOOLEAN,
        hourly_pubsize: COUNT,
        client_pub_stats: listOf(object({ remote_address: STRING, user_agent: STRING, pub_count: COUNT, error_count: COUNT })),
        client_num: COUNT,
        is_multi_ordered: BOOLEAN,
        is_multi_part: BOOLEAN,
        is_ext: BOOLEAN,
        is_channel_auto_create_disabled: BOOLEAN,
        statsd_name: STRING,
        e2e_processing_latency: ANY_OBJECT,
      }),
    ),
  },
  { title: "YouzanStats" },
);

/** /stats for callers of Youzan's: bare for those that accept NSQ's content type, else in an envelope. */
export const YOUZAN_STATS: Schema = eitherForm(YOUZAN_DOCUMENT);
