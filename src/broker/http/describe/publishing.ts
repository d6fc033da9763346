import { header, type OperationGroup, takes, textAnswer } from "../../../http/openapi/operation.ts";
import { MAX_KEY_BYTES } from "../../storage/idempotency/key-store.ts";
import { DEFER, PARTITION, TOPIC } from "./parameters.ts";

const KEY = header(
  "Idempotency-Key",
  "A publish whose key was sent before is answered OK, and not published again",
  { type: "string", minLength: 1, maxLength: MAX_KEY_BYTES, pattern: "^[\\x20-\\x7e]+$" },
  "order-4711",
);
const FAILED = ["PUB_FAILED", "EXITING", "DRAINING"];
const REFUSED = ["MISSING_ARG_TOPIC", "INVALID_TOPIC", "INVALID_IDEMPOTENCY_KEY", "INVALID_ARG_PARTITION"];
const PUBLISHED = textAnswer("What was published is as durable as the topic asks for.", "OK");

export const PUBLISHING: OperationGroup = {
  name: "publishing",
  description: "Publishes make a topic that does not exist.",
  operations: {
    "POST /pub": {
      summary: "Publish one message",
      parameters: [TOPIC, PARTITION, DEFER, KEY],
      body: { description: "The message; at most `--max-msg-size` bytes", required: true, contents: { "application/octet-stream": {} } },
      answer: PUBLISHED,
      errors: {
        400: [...REFUSED, "MSG_EMPTY", "INVALID_DEFER"],
        404: ["PARTITION_NOT_FOUND"],
        413: ["MSG_TOO_BIG"],
        503: [...FAILED, "TOPIC_NOT_OPEN"],
      },
    },
    "POST /mpub": {
      summary: "Publish several messages, all or none",
      parameters: [
        TOPIC,
        PARTITION,
        takes(
          "binary",
          "Whether the body has the form of the command MPUB. Anything but `false` and `0` is true.",
          { type: "string" },
          "true",
        ),
        KEY,
      ],
      body: {
        description:
          "One message per line; empty lines are skipped. Or, in binary form, that of the command MPUB. At most `--max-body-size` bytes",
        required: true,
        contents: { "application/octet-stream": {} },
      },
      answer: PUBLISHED,
      errors: {
        400: REFUSED,
        404: ["PARTITION_NOT_FOUND"],
        413: ["BODY_TOO_BIG", "MSG_TOO_BIG", "BAD_BODY", "BAD_MESSAGE"],
        503: [...FAILED, "TOPIC_NOT_OPEN"],
      },
    },
  },
};
