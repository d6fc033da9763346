import type { BrokerClient, PageOptions, PeekedMessage } from "../../client/bun.ts";
import { BROKER_FLAGS, type BrokerFlags, findBrokers } from "../command/brokers.ts";
import { type Call, command, EXIT_OK } from "../command/command.ts";
import type { Terminal } from "../command/terminal.ts";
import { CHANNEL, checkName, jsonFlag, TOPIC } from "../command/words.ts";
import type { ChoiceFlag, IntFlag, StringFlag } from "../flag.ts";
import { UsageError } from "../flags.ts";
import { POSITIONS } from "./channel.ts";

type State = "in_flight" | "waiting" | "deferred";

interface PeekFlags extends BrokerFlags {
  from: string;
  limit: number;
  state: State;
  partition: number;
  json: boolean;
}

const fromFlag: StringFlag = {
  name: "from",
  kind: "string",
  own: true,
  default: "",
  doc: "position of the first message; default: the oldest",
};
const limitFlag: IntFlag = { name: "limit", kind: "int", own: true, default: 10, min: 1, max: 1_000_000, doc: "how many messages" };
const stateFlag: ChoiceFlag<State> = {
  name: "state",
  kind: "choice",
  own: true,
  values: ["in_flight", "waiting", "deferred"],
  default: "waiting",
  doc: "which of a channel's messages: in_flight, waiting or deferred",
};

const partitionFlag: IntFlag = {
  name: "partition",
  kind: "int",
  own: true,
  default: 0,
  defaultDoc: "all, one after the other",
  min: 0,
  max: 1023,
  doc: "only this partition",
};
/** A broker gives at most this many messages at a time. */
const MAX_PAGE = 1000;

/** `bunsq peek` */
export const peekCommand = command<PeekFlags>({
  name: "peek",
  summary: "Show messages without consuming them",
  about: `Shows what is in the topic's log, or, with a channel, those of its messages that are in a state.\n${POSITIONS}`,
  words: [TOPIC, { ...CHANNEL, isOptional: true }],
  table: {
    options: { ...BROKER_FLAGS, from: fromFlag, limit: limitFlag, state: stateFlag, partition: partitionFlag, json: jsonFlag },
    others: [],
  },
  run: async (call) => {
    const topic = checkName("topic", call.words[0]);
    const channel = call.words[1] === undefined ? undefined : checkName("channel", call.words[1]);
    if (channel === undefined && call.given.has(stateFlag.name)) throw new UsageError("--state needs a channel");
    const brokers = await findBrokers(call, topic);
    for (const { address, client } of brokers) {
      for await (const message of messages(client, topic, channel, call)) {
        if (call.options.json) await call.terminal.printJson({ broker: address, ...message });
        else await call.terminal.print(`${headOf(message, call.terminal)}\n${bodyOf(message)}\n`);
      }
    }
    return EXIT_OK;
  },
});

/** As many messages as are asked for. */
async function* messages(
  client: BrokerClient,
  topic: string,
  channel: string | undefined,
  { options: { from, limit, state, partition }, given }: Call<PeekFlags>,
): AsyncGenerator<PeekedMessage, void> {
  const options: PageOptions = {
    ...{ limit: Math.min(limit, MAX_PAGE), format: "text" },
    ...(from === "" ? {} : { from }),
    ...(given.has(partitionFlag.name) ? { partition } : {}),
  };
  let left = limit;
  for await (const message of channel === undefined
    ? client.messages(topic, options)
    : client.channelMessages(topic, channel, state, options)) {
    yield message;
    if (--left === 0) return;
  }
}

/** The line above a message: what is known about it beside its body. */
export function headOf(message: PeekedMessage, terminal: Terminal): string {
  const { id, sequence, timestamp, size, key, tag, trace_id: traceId, headers, state, attempts, due } = message;
  const parts = [
    id ?? "no id yet",
    sequence === null ? "" : `sequence ${sequence}`,
    timestamp,
    `${size} bytes`,
    state ?? "",
    attempts === undefined ? "" : `attempts ${attempts}`,
    due === undefined ? "" : `due ${due}`,
    key === undefined ? "" : `key ${key}`,
    tag === undefined ? "" : `tag ${tag}`,
    traceId === undefined ? "" : `trace ${traceId}`,
    headers === undefined ? "" : `headers ${JSON.stringify(headers)}`,
  ];
  return terminal.style("dim", parts.filter((part) => part !== "").join("  "));
}

/** The body as it is to be shown. One that is no text is in base64. */
export function bodyOf({ body, encoding }: PeekedMessage): string {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return encoding === undefined ? text : `(base64) ${text}`;
}
