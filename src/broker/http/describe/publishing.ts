import { MAX_MESSAGE_KEY_BYTES } from "../../../frame/header.ts";
import { eitherForm } from "../../../http/openapi/common.ts";
import { header, needs, type OperationGroup, type Parameter, takes, textAnswer } from "../../../http/openapi/operation.ts";
import { INTEGER, object, type Schema, STRING } from "../../../http/openapi/schema.ts";
import { MAX_KEY_BYTES } from "../../storage/idempotency/key-store.ts";
import { DEFER, PARTITION, TOPIC } from "./parameters.ts";

const KEY = header(
  "Idempotency-Key",
  "A publish whose key was sent before is answered OK, and not published again",
  { type: "string", minLength: 1, maxLength: MAX_KEY_BYTES, pattern: "^[\\x20-\\x7e]+$" },
  "order-4711",
);
const MESSAGE_KEY_SCHEMA: Schema = { type: "string", minLength: 1, maxLength: MAX_MESSAGE_KEY_BYTES };
const EXT_SCHEMA: Schema = { type: "string" };
const EXT_EXAMPLE = '{"region":"eu"}';
/** What a request says of the header of its messages (../message-header.ts). */
const MESSAGE_HEADER: readonly Parameter[] = [
  takes(
    "key",
    "What the messages belong to: those of one key go to one partition and are in order there. 1 to 1,024 bytes",
    MESSAGE_KEY_SCHEMA,
    "customer-7",
  ),
  header("Message-Key", "The same, where there is no argument `key`", MESSAGE_KEY_SCHEMA, "customer-7"),
  takes("ext", "A JSON object: the header of the messages", EXT_SCHEMA, EXT_EXAMPLE),
  header("X-Nsqext-NAME", "A member of the header with that name, in lower case. It goes over one in `ext`", STRING, "eu"),
  header("traceparent", "W3C trace context, which the header keeps, with `tracestate`", STRING),
];
const HEADER_ERRORS = ["INVALID_MESSAGE_KEY", "E_INVALID_JSON_HEADER", "INVALID_TRACE_ID", "E_EXT_NOT_SUPPORT"];
const MESSAGE_BODY = {
  description: "The message; at most `--max-msg-size` bytes",
  required: true,
  contents: { "application/octet-stream": {} },
};
const PLACE = object(
  { status: STRING, id: INTEGER, trace_id: STRING, queue_offset: INTEGER, rawsize: INTEGER, message_id: STRING },
  { title: "PublishedMessage" },
);
const YOUZAN_PARTITION = takes("partition", "The partition; −1 for none", { type: "integer", minimum: -1, maximum: 1023 }, 0);
const YOUZAN_ERRORS = {
  400: [
    ...["MISSING_ARG_TOPIC", "INVALID_ARG_TOPIC", "INVALID_IDEMPOTENCY_KEY", "strconv.Atoi: parsing …", "INVALID_TRACE_ID"],
    ...["E_FAILED_ON_NOT_LEADER", "E_FAILED_ON_NOT_WRITABLE"],
  ],
  404: ["E_TOPIC_NOT_EXIST"],
  406: ["MSG_EMPTY"],
  413: ["MSG_TOO_BIG"],
  503: ["PUB_FAILED", "EXITING", "DRAINING", "TOPIC_NOT_OPEN"],
};
const FAILED = ["PUB_FAILED", "EXITING", "DRAINING"];
const REFUSED = ["MISSING_ARG_TOPIC", "INVALID_TOPIC", "INVALID_IDEMPOTENCY_KEY", "INVALID_ARG_PARTITION", ...HEADER_ERRORS];
const PUBLISHED = textAnswer("What was published is as durable as the topic asks for.", "OK");

export const PUBLISHING: OperationGroup = {
  name: "publishing",
  description:
    "`/pub` and `/mpub` make a topic that does not exist. What a request says of the header of its messages is in [order.md](order.md#headers-over-http).",
  operations: {
    "POST /pub": {
      summary: "Publish one message",
      parameters: [TOPIC, PARTITION, DEFER, KEY, ...MESSAGE_HEADER],
      body: MESSAGE_BODY,
      answer: PUBLISHED,
      errors: {
        400: [...REFUSED, "MSG_EMPTY", "INVALID_DEFER"],
        404: ["PARTITION_NOT_FOUND"],
        409: ["PARTITION_NOT_HERE"],
        413: ["MSG_TOO_BIG"],
        503: [...FAILED, "TOPIC_NOT_OPEN"],
      },
    },
    "POST /mpub": {
      summary: "Publish several messages, all or none, with the same header",
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
        ...MESSAGE_HEADER,
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
        409: ["PARTITION_NOT_HERE"],
        413: ["BODY_TOO_BIG", "MSG_TOO_BIG", "BAD_BODY", "BAD_MESSAGE"],
        503: [...FAILED, "TOPIC_NOT_OPEN"],
      },
    },
    "POST /pub_ext": {
      summary: "Publish one message with a header",
      details: "Youzan's call. With `##trace_id` in the header the answer says where the message is.",
      parameters: [
        TOPIC,
        YOUZAN_PARTITION,
        needs("ext", "A JSON object: the header of the message", EXT_SCHEMA, EXT_EXAMPLE),
        KEY,
        ...MESSAGE_HEADER.filter(({ name }) => name !== "ext"),
      ],
      body: MESSAGE_BODY,
      answer: {
        description: "It is as durable as the topic asks for.",
        contents: { ...PUBLISHED.contents, "application/json": eitherForm(PLACE) },
      },
      errors: { ...YOUZAN_ERRORS, 400: [...YOUZAN_ERRORS[400], ...HEADER_ERRORS.filter((code) => code !== "INVALID_TRACE_ID")] },
    },
    "POST /pubtrace": {
      summary: "Publish one message with a trace id",
      details: "Youzan's call. `id` is a number of 64 bits; `message_id` is the id in all other calls.",
      parameters: [
        TOPIC,
        YOUZAN_PARTITION,
        needs("trace_id", "A number of 64 bits", { type: "string", pattern: "^\\d{1,20}$" }, "12345"),
        KEY,
      ],
      body: MESSAGE_BODY,
      answer: {
        description: "Where the message is, or OK if it repeats one. It is as durable as the topic asks for.",
        contents: { ...PUBLISHED.contents, "application/json": PLACE },
      },
      errors: YOUZAN_ERRORS,
    },
  },
};
