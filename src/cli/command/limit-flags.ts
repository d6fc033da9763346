import type { BrokerClient, ChannelSettings } from "../../client/bun.ts";
import type { IntFlag, ListFlag } from "../flag.ts";
import { BadValue } from "../values.ts";

/** What holds a channel back, as a command line says it. */
export interface LimitFlags {
  rateMessages: number;
  rateKilobytes: number;
  clientLimits: string[];
}

/** The largest number of these that a broker takes. */
const MAX = 999_999_999;
const CLIENT_LIMIT = /^(?:(.+)=)?(\d{1,9})$/;

const messagesFlag: IntFlag = {
  name: "rate-messages",
  kind: "int",
  own: true,
  default: 0,
  min: 0,
  max: MAX,
  doc: "how many messages are delivered per second at most; 0: no limit",
};
const kilobytesFlag: IntFlag = {
  ...messagesFlag,
  name: "rate-kilobytes",
  doc: "how many KiB are delivered per second at most; 0: no limit",
};
const clientsFlag: ListFlag = {
  name: "client-limit",
  kind: "list",
  own: true,
  default: [],
  isWhole: true,
  check: (text) => {
    if (!CLIENT_LIMIT.test(text)) throw new BadValue("must be a number, or PREFIX=number");
  },
  doc: "how many messages each client has in flight at most, or PREFIX=number for those whose address or id begins so; 0: no limit (may be given multiple times)",
};

export const LIMIT_FLAGS = { rateMessages: messagesFlag, rateKilobytes: kilobytesFlag, clientLimits: clientsFlag };

type Change = (client: BrokerClient, topic: string, channel: string) => Promise<void>;

/** The calls for the limits that were given. */
export function limitChanges({ rateMessages, rateKilobytes, clientLimits }: LimitFlags, given: { has(name: string): boolean }): Change[] {
  const rate = {
    ...(given.has(messagesFlag.name) ? { messages: rateMessages } : {}),
    ...(given.has(kilobytesFlag.name) ? { kilobytes: rateKilobytes } : {}),
  };
  const changes: Change[] = [];
  if (Object.keys(rate).length > 0) changes.push((client, topic, channel) => client.limitRate(topic, channel, rate));
  for (const text of given.has(clientsFlag.name) ? clientLimits : []) {
    const [, prefix = "", ready] = CLIENT_LIMIT.exec(text) ?? [];
    changes.push((client, topic, channel) => client.limitClients(topic, channel, Number(ready), prefix));
  }
  return changes;
}

/** What holds a channel back, for people. */
export function limitTexts({ skip, skip_zan_test, client_limits, rate_limit, rate_limit_kb }: ChannelSettings): string[] {
  return [
    ...(skip ? ["all messages skipped"] : []),
    ...(skip_zan_test ? ["tests skipped"] : []),
    ...(rate_limit > 0 ? [`at most ${rate_limit} messages/s`] : []),
    ...(rate_limit_kb > 0 ? [`at most ${rate_limit_kb} KiB/s`] : []),
    ...client_limits.map(({ prefix, ready }) => `at most ${ready} in flight at ${prefix === "" ? "each client" : `clients ${prefix}…`}`),
  ];
}
