import { NAME } from "../../http/openapi/common.ts";
import { needs } from "../../http/openapi/operation.ts";
import { INTEGER, STRING } from "../../http/openapi/schema.ts";

// What descriptions of the lookup server's calls have alike.

export const TOPIC = needs("topic", "The topic", NAME, "orders");
export const CHANNEL = needs("channel", "The channel", NAME, "billing");
export const NO_VALID_TOPIC = ["MISSING_ARG_TOPIC", "INVALID_ARG_TOPIC"];
export const NO_VALID_CHANNEL = [...NO_VALID_TOPIC, "MISSING_ARG_CHANNEL", "INVALID_ARG_CHANNEL"];

/** What `nodeFields()` writes. */
export const NODE = {
  remote_address: STRING,
  hostname: STRING,
  broadcast_address: STRING,
  tcp_port: INTEGER,
  http_port: INTEGER,
  version: STRING,
};
