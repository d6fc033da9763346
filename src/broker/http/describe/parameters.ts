import { NAME } from "../../../http/openapi/common.ts";
import { needs, takes } from "../../../http/openapi/operation.ts";
import { oneOf, type Schema } from "../../../http/openapi/schema.ts";

// Arguments that several calls have.

export const TOPIC = needs("topic", "The topic", NAME, "orders");
export const CHANNEL = needs("channel", "The channel", NAME, "billing");

/** A time that is no wait is a whole number of ms within --max-req-timeout. */
export const DEFER = takes(
  "defer",
  "For how long delivery is delayed, ms; at most `--max-req-timeout`",
  { type: "integer", minimum: 0 },
  5000,
);

export const MESSAGE_ID: Schema = { type: "string", pattern: "^[0-9a-f]{16}$" };
export const ID = needs("id", "The message's id", MESSAGE_ID, "0000000000000a01");

/** A log position (docs/replay.md). */
export const POSITION: Schema = {
  type: "string",
  description: "`beginning`, `end`, a sequence, an id, a time in RFC 3339, `time:UNIX-TIME`, or `ago:DURATION`",
};

export const FORMAT = takes("format", "The form of bodies. A body that does not have it is in base64, which `encoding` says.", {
  ...oneOf("text", "json", "base64"),
  default: "text",
});
export const LIMIT = takes("limit", "The most messages in the answer; above 1,000 counts as 1,000", {
  type: "integer",
  minimum: 1,
  maximum: 999_999_999,
  default: 100,
});

export const PARTITION = takes(
  "partition",
  "The partition, where the topic has several",
  { type: "integer", minimum: 0, maximum: 1023 },
  0,
);
/** The errors of the argument `partition`, and of a position that needs it; beside 404 PARTITION_NOT_FOUND. */
export const PARTITION_ERRORS = ["INVALID_ARG_PARTITION", "MISSING_ARG_PARTITION"];

/** The errors of an existing topic; `validExistingTopic()` and `existingTopic()` of ../arguments.ts. */
export const NO_TOPIC = { 400: ["MISSING_ARG_TOPIC"], 404: ["TOPIC_NOT_FOUND"], 503: ["TOPIC_NOT_OPEN"] };
export const NO_VALID_TOPIC = { ...NO_TOPIC, 400: ["MISSING_ARG_TOPIC", "INVALID_TOPIC"] };
/** The errors of `topicAndChannel()`. */
export const CHANNEL_ARGUMENTS = ["MISSING_ARG_TOPIC", "INVALID_ARG_TOPIC", "MISSING_ARG_CHANNEL", "INVALID_ARG_CHANNEL"];
export const NO_CHANNEL = { 400: CHANNEL_ARGUMENTS, 404: ["TOPIC_NOT_FOUND", "CHANNEL_NOT_FOUND"], 503: ["TOPIC_NOT_OPEN"] };
