import type { BrokerClient, ChannelSettings } from "../../client/bun.ts";
import { ACTION_TABLE, type ActionFlags, actionCommand, carryOut, DESTRUCTIVE_TABLE } from "../command/action.ts";
import { type Command, command, commandGroup } from "../command/command.ts";
import { DELIVERY_FLAGS, type DeliveryFlags, deliveryOptions } from "../command/delivery-flags.ts";
import { LIMIT_FLAGS, type LimitFlags, limitChanges, limitTexts } from "../command/limit-flags.ts";
import { CHANNEL, checkName, TOPIC } from "../command/words.ts";
import type { StringFlag } from "../flag.ts";
import type { FlagTable } from "../flags.ts";

const WORDS = [TOPIC, CHANNEL];

/** How a position in a topic's log is written. */
export const POSITIONS =
  "A POSITION is beginning, end, ago:10m, a time (2026-11-22T08:00:00Z), a message's id, or its number in the log (sequence:1234).";

interface SettingsFlags extends ActionFlags, DeliveryFlags, LimitFlags {}

interface CreateFlags extends ActionFlags, DeliveryFlags {
  start: string;
}

const startFlag: StringFlag = {
  name: "start",
  kind: "string",
  own: true,
  default: "",
  doc: "position in the topic's log at which a new channel begins; a channel that exists stays where it is",
};

const SETTINGS_TABLE: FlagTable<SettingsFlags> = { options: { ...ACTION_TABLE.options, ...DELIVERY_FLAGS, ...LIMIT_FLAGS }, others: [] };
const CREATE_TABLE: FlagTable<CreateFlags> = { options: { ...ACTION_TABLE.options, ...DELIVERY_FLAGS, start: startFlag }, others: [] };

const namesOf = (words: readonly string[]) => ({ topic: checkName("topic", words[0]), channel: checkName("channel", words[1]) });

/** A command that does one thing to a channel. @param verbs what it has done; and, if it drops messages, what to ask before */
function simple(
  name: string,
  summary: string,
  [done, question]: readonly [done: string, question?: string],
  at: (client: BrokerClient, topic: string, channel: string) => Promise<void>,
): Command {
  return actionCommand({ name, summary, words: WORDS, isDestructive: question !== undefined }, (words) => {
    const { topic, channel } = namesOf(words);
    const what = `channel ${channel} of ${topic}`;
    return {
      topic,
      done: `${done} ${what}`,
      ...(question === undefined ? {} : { question: `${question} ${what}` }),
      at: (client) => at(client, topic, channel),
    };
  });
}

const create = command({
  name: "create",
  summary: "make a channel",
  about: `${POSITIONS}\nA channel that exists gets the settings that are given.`,
  words: WORDS,
  table: CREATE_TABLE,
  run: (call) => {
    const { topic, channel } = namesOf(call.words);
    const { start } = call.options;
    const settings = deliveryOptions(call.options, call.given);
    return carryOut(call, {
      topic,
      done: `created channel ${channel} of ${topic}`,
      at: (client) => client.createChannel(topic, channel, { ...(start === "" ? {} : { start }), ...settings }),
    });
  },
});

const settings = command({
  name: "settings",
  summary: "show or set how a channel delivers its messages",
  about: "Without a flag they are shown and stay as they are; so does each that is not given. docs/order.md explains them.",
  words: WORDS,
  table: SETTINGS_TABLE,
  run: (call) => {
    const { topic, channel } = namesOf(call.words);
    const changes = deliveryOptions(call.options, call.given);
    const limits = limitChanges(call.options, call.given);
    const isSet = Object.keys(changes).length + limits.length > 0;
    return carryOut(call, {
      topic,
      done: `${isSet ? "set settings" : "settings"} of channel ${channel} of ${topic}`,
      at: async (client) => {
        if (Object.keys(changes).length > 0) await client.setChannelSettings(topic, channel, changes);
        for (const set of limits) await set(client, topic, channel);
        return client.channelSettings(topic, channel);
      },
      tell: (now) => ({ text: describe(now), json: now }),
    });
  },
});

function describe(settings: ChannelSettings): string {
  const { order, filter, max_attempts: attempts, dead_letter_topic: deadLetters } = settings;
  const parts = [
    order === "none" ? "no order" : `ordered by ${order}`,
    filter === null ? "no filter" : `filter ${JSON.stringify(filter)}`,
    attempts === 0 ? "attempts without end" : `${attempts} attempts, then to ${deadLetters}`,
    ...limitTexts(settings),
  ];
  return parts.join("; ");
}

const seek = command({
  name: "seek",
  summary: "move a channel: it then has exactly the messages from a position on",
  about: `${POSITIONS}\nWhat the channel has in flight, requeued and deferred is discarded, and counted.`,
  words: [...WORDS, { name: "POSITION" }],
  table: DESTRUCTIVE_TABLE,
  run: (call) => {
    const { topic, channel } = namesOf(call.words);
    const to = call.words[2] ?? "";
    return carryOut(call, {
      topic,
      done: `moved channel ${channel} of ${topic}`,
      question: `move channel ${channel} of ${topic} to ${to}`,
      at: (client) => client.seek(topic, channel, to),
      tell: (result) => {
        const { in_flight, requeued, deferred } = result.discarded;
        const discarded = `${in_flight} in flight, ${requeued} requeued and ${deferred} deferred discarded`;
        return { text: `now at ${result.sequence} with ${result.depth} messages; ${discarded}`, json: result };
      },
    });
  },
});

/** `bunsq channel …` */
export const channelCommand = commandGroup("channel", "Make, change, move and delete channels", [
  create,
  simple("delete", "delete a channel with its messages", ["deleted", "delete"], (client, topic, channel) =>
    client.deleteChannel(topic, channel),
  ),
  simple("pause", "give a channel's consumers no messages until it is unpaused", ["paused"], (client, topic, channel) =>
    client.pauseChannel(topic, channel),
  ),
  simple("unpause", "let a paused channel go on", ["unpaused"], (client, topic, channel) => client.unpauseChannel(topic, channel)),
  simple("empty", "drop all messages of a channel, also those in flight", ["emptied", "drop all messages of"], (client, topic, channel) =>
    client.emptyChannel(topic, channel),
  ),
  settings,
  simple(
    "skip",
    "drop all messages of a channel, and finish those that come without delivering them",
    ["skipping the messages of", "drop all messages of, and skip those that come to,"],
    (client, topic, channel) => client.skipChannel(topic, channel),
  ),
  simple("unskip", "deliver what comes from now on", ["no longer skipping the messages of"], (client, topic, channel) =>
    client.unskipChannel(topic, channel),
  ),
  seek,
]);
