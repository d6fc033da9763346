import { NO_BODY, needs, type OperationGroup, takes } from "../../../http/openapi/operation.ts";
import { BOOLEAN, COUNT, listOf, object, type Schema, STRING } from "../../../http/openapi/schema.ts";
import { CHANNEL, CHANNEL_ARGUMENTS, NO_CHANNEL, PARTITION, TOPIC } from "./parameters.ts";

const AMOUNT: Schema = { type: "integer", minimum: 0, maximum: 999_999_999 };
const NO_PART = { ...NO_CHANNEL, 404: ["TOPIC_NOT_FOUND", "CHANNEL_NOT_FOUND", "PARTITION_NOT_FOUND"] };
const ARGUMENTS = [...CHANNEL_ARGUMENTS, "INVALID_ARG_PARTITION"];
const ALL_PARTITIONS = "It is for all partitions of the channel, and outlives a restart.";
/** What holds a channel back, among its settings. */
export const LIMIT_SETTINGS = {
  skip: BOOLEAN,
  skip_zan_test: BOOLEAN,
  client_limits: listOf(object({ prefix: STRING, ready: COUNT })),
  rate_limit: { ...COUNT, description: "Messages per second; 0: no limit" },
  rate_limit_kb: { ...COUNT, description: "KiB per second; 0: no limit" },
};
/** The errors of a call that changes a setting. */
const NOT_SET = { ...NO_PART, 400: ARGUMENTS, 503: ["TOPIC_NOT_OPEN", "NOT_STORED"] };
/** The errors of a call that goes through the deferred store. */
const NOT_SEARCHED = {
  404: NO_PART[404],
  503: ["TOPIC_NOT_OPEN", "NOT_SAVED", "TOO_MANY_REQUESTS", "FILE_UNREADABLE", "PUB_FAILED", "EXITING"],
};

/** Calls that hold a channel back, and those for what it has deferred. */
export const LIMITS: OperationGroup["operations"] = {
  "POST /channel/skip": {
    summary: "Drop all messages of a channel, and those that come",
    details: `Each is finished without being delivered, until \`/channel/unskip\`. ${ALL_PARTITIONS}`,
    parameters: [TOPIC, CHANNEL, PARTITION],
    answer: NO_BODY,
    errors: NOT_SET,
  },
  "POST /channel/unskip": {
    summary: "Deliver what comes from now on",
    parameters: [TOPIC, CHANNEL, PARTITION],
    answer: NO_BODY,
    errors: NOT_SET,
  },
  "POST /channel/skipZanTest": {
    summary: "Drop messages of a channel that are marked as tests",
    details: `Those that come with \`zan_test\` in their header, until \`/channel/unskipZanTest\`. ${ALL_PARTITIONS}`,
    parameters: [TOPIC, CHANNEL, PARTITION],
    answer: NO_BODY,
    errors: { ...NOT_SET, 400: [...ARGUMENTS, "INVALID_REQUEST"] },
  },
  "POST /channel/unskipZanTest": {
    summary: "Deliver messages that are marked as tests",
    parameters: [TOPIC, CHANNEL, PARTITION],
    answer: NO_BODY,
    errors: { ...NOT_SET, 400: [...ARGUMENTS, "INVALID_REQUEST"] },
  },
  "POST /channel/setclientlimit": {
    summary: "Bound how many messages clients have in flight, whatever they ask for by RDY",
    details: `Of several prefixes that fit a client, the longest one counts. ${ALL_PARTITIONS}`,
    parameters: [
      TOPIC,
      CHANNEL,
      needs("ready", "How many; 0: no limit any more", AMOUNT, 10),
      takes("client_prefix", "For each client whose address or id begins so; else for all", { type: "string", maxLength: 255 }, "10.1."),
      PARTITION,
    ],
    answer: NO_BODY,
    errors: { ...NOT_SET, 400: [...ARGUMENTS, "MISSING_ARG_READY", "INVALID_ARG_READY", "INVALID_ARG_CLIENT_LIMITS"] },
  },
  "POST /channel/ratelimit": {
    summary: "Bound how much a channel delivers per second",
    details: `0: no limit. One that is left out stays as it is; one is needed. ${ALL_PARTITIONS}`,
    parameters: [
      TOPIC,
      CHANNEL,
      takes("ratekilobytes", "KiB of messages with their headers", AMOUNT, 1024),
      takes("ratemessages", "Messages", AMOUNT, 500),
      PARTITION,
    ],
    answer: NO_BODY,
    errors: {
      ...NOT_SET,
      400: [...ARGUMENTS, "MISSING_ARG_RATEKILOBYTES", "INVALID_ARG_RATEKILOBYTES", "INVALID_ARG_RATEMESSAGES"],
    },
  },
  "POST /channel/emptydelayed": {
    summary: "Finish the messages that were requeued with a delay",
    details: "Deferred publishes stay: they are the topic's.",
    parameters: [TOPIC, CHANNEL, PARTITION],
    answer: NO_BODY,
    errors: { ...NOT_SEARCHED, 400: ARGUMENTS },
  },
  "POST /channel/requeuedelayed": {
    summary: "Deliver messages now that were requeued with a delay",
    parameters: [TOPIC, CHANNEL, takes("offset", "Those that are due within so many hours", { ...AMOUNT, default: 1 }, 24), PARTITION],
    answer: NO_BODY,
    errors: { ...NOT_SEARCHED, 400: [...ARGUMENTS, "INVALID_ARG_OFFSET"] },
  },
};
