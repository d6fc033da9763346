import type { BrokerClient, Retention } from "../../client/bun.ts";
import { ACTION_TABLE, type ActionFlags, actionCommand, carryOut, DESTRUCTIVE_TABLE } from "../command/action.ts";
import { type Command, command, commandGroup } from "../command/command.ts";
import { checkName, TOPIC } from "../command/words.ts";
import type { BoolFlag, IntFlag, StringFlag } from "../flag.ts";
import { type FlagTable, UsageError } from "../flags.ts";
import { partitionsCommand } from "./topic-partitions.ts";

const WORDS = [TOPIC];

interface RetentionFlags extends ActionFlags {
  time: string;
  bytes: number;
  default: boolean;
}

const timeFlag: StringFlag = {
  name: "time",
  kind: "string",
  own: true,
  default: "",
  doc: "keep finished messages for this time, as in 48h",
};
const bytesFlag: IntFlag = {
  name: "bytes",
  kind: "int",
  own: true,
  default: 0,
  min: 0,
  max: 2 ** 50,
  doc: "keep this many bytes of finished messages",
};
const defaultFlag: BoolFlag = { name: "default", kind: "bool", own: true, default: false, doc: "keep what the broker's flags say" };

const RETENTION_TABLE: FlagTable<RetentionFlags> = {
  options: { ...ACTION_TABLE.options, time: timeFlag, bytes: bytesFlag, default: defaultFlag },
  others: [],
};

interface CreateFlags extends ActionFlags {
  partitions: number;
}

const MOST_PARTITIONS = 1024;
const partitionsFlag: IntFlag = {
  name: "partitions",
  kind: "int",
  own: true,
  default: 1,
  min: 1,
  max: MOST_PARTITIONS,
  doc: "how many logs it has, each with its own order",
};
const CREATE_TABLE: FlagTable<CreateFlags> = { options: { ...ACTION_TABLE.options, partitions: partitionsFlag }, others: [] };

/** A command that does one thing to a topic. @param ask given: what to ask before */
function simple(
  name: string,
  summary: string,
  done: string,
  at: (client: BrokerClient, topic: string) => Promise<void>,
  ask?: (topic: string) => string,
  doneCode?: string,
): Command {
  return actionCommand({ name, summary, words: WORDS, isDestructive: ask !== undefined }, (words) => {
    const topic = checkName("topic", words[0]);
    return {
      topic,
      done: `${done} topic ${topic}`,
      ...(ask === undefined ? {} : { question: ask(topic) }),
      ...(doneCode === undefined ? {} : { doneCode }),
      at: (client) => at(client, topic),
    };
  });
}

const create = command({
  name: "create",
  summary: "make a topic",
  about: `With --partitions, a topic that exists gets as many if it has fewer. Each broker gets all of them; a lookup server spreads them over
brokers: POST /topic/create?topic=TOPIC&partition_num=N there.`,
  words: WORDS,
  table: CREATE_TABLE,
  run: (call) => {
    const topic = checkName("topic", call.words[0]);
    const { partitions } = call.options;
    return carryOut(call, {
      // At all brokers, since none has it.
      done: `created topic ${topic}${partitions > 1 ? ` with ${partitions} partitions` : ""}`,
      at: (client) => client.createTopic(topic, partitions > 1 ? { partitions } : {}),
    });
  },
});

const expand = command({
  name: "expand",
  summary: "give a topic more partitions",
  about: `A topic never gets fewer again. Keys move: a key may have its next message in another partition than its last one, and consumers may
get the two in either order.`,
  words: [TOPIC, { name: "PARTITIONS" }],
  table: DESTRUCTIVE_TABLE,
  run: (call) => {
    const topic = checkName("topic", call.words[0]);
    const count = Number(call.words[1]);
    if (!Number.isInteger(count) || count < 1 || count > MOST_PARTITIONS) throw new UsageError(`PARTITIONS is 1 to ${MOST_PARTITIONS}`);
    return carryOut(call, {
      topic,
      done: `expanded topic ${topic} to ${count} partitions`,
      question: `expand topic ${topic} to ${count} partitions, so that keys move and it never has fewer again,`,
      at: (client) => client.expandTopic(topic, count),
    });
  },
});

const retention = command({
  name: "retention",
  summary: "show or set how long a topic keeps messages that all channels have finished",
  about: "With both limits, messages within both are kept. Without a flag the limits are shown and stay as they are.",
  words: WORDS,
  table: RETENTION_TABLE,
  run: (call) => {
    const { options, given } = call;
    const topic = checkName("topic", call.words[0]);
    const isSet = given.has(timeFlag.name) || given.has(bytesFlag.name);
    if (isSet && options.default) throw new UsageError("--default goes without --time and --bytes");
    const limits = {
      ...(given.has(timeFlag.name) ? { time: options.time } : {}),
      ...(given.has(bytesFlag.name) ? { bytes: options.bytes } : {}),
    };
    const set = isSet ? limits : options.default ? "default" : undefined;
    return carryOut(call, {
      topic,
      done: set === undefined ? `retention of topic ${topic}` : `set retention of topic ${topic}`,
      at: (client) => (set === undefined ? client.retention(topic) : client.setRetention(topic, set)),
      tell: (now) => ({ text: describe(now), json: now }),
    });
  },
});

function describe({ time, bytes, default: isDefault, log }: Retention): string {
  const limits = [time === "0s" ? "" : time, bytes === 0 ? "" : `${bytes} bytes`].filter((limit) => limit !== "");
  const own = isDefault ? ", from the broker's flags" : "";
  return `${limits.join(" and ") || "no longer than needed"}${own}; ${log.end - log.beginning} messages, ${log.bytes} bytes`;
}

/** `bunsq topic …` */
export const topicCommand = commandGroup("topic", "Make, change and delete topics", [
  create,
  expand,
  partitionsCommand,
  simple(
    "delete",
    "delete a topic with its channels and all messages",
    "deleted",
    (client, topic) => client.deleteTopic(topic),
    (topic) => `delete topic ${topic} with its channels and all messages`,
    "TOPIC_NOT_FOUND",
  ),
  simple("pause", "give the topic's channels no messages until it is unpaused", "paused", (client, topic) => client.pauseTopic(topic)),
  simple("unpause", "let a paused topic go on", "unpaused", (client, topic) => client.unpauseTopic(topic)),
  simple(
    "empty",
    "skip the messages that no channel has got yet",
    "emptied",
    (client, topic) => client.emptyTopic(topic),
    (topic) => `drop the messages of topic ${topic} that no channel has got yet`,
  ),
  retention,
]);
