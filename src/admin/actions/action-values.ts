import { Refusal } from "../../http/server/reply.ts";
import type { ActionRequest } from "../console-api.ts";
import type { Fields } from "../upstream/fields.ts";
import { MOST_PARTITIONS } from "../watch/index-ranges.ts";

/** No partition has more. */
const MOST_REPLICAS = 16;

/** The arguments of a broker's call. */
type Arguments = Record<string, string>;

/**
 * The arguments that the `value` of an action is for the brokers' calls. An action that takes none ignores what is given.
 *
 * @param isChannel the action is about a channel
 * @throws Refusal 400 INVALID_VALUE
 */
export function argumentsOf(action: ActionRequest["action"], isChannel: boolean, value: Fields): Arguments {
  switch (action) {
    case "durability":
      return { level: text(value.value) };
    case "trace":
      return { on: String(flag(value.on)) };
    case "retention":
      return retention(value);
    case "create":
      return { ...(value.partitions === undefined ? {} : partitions(value)), ...(isChannel ? delivery(value) : {}) };
    case "expand":
      return partitions(value);
    case "delivery":
      return delivery(value);
    case "move":
      return { ...place(value), from: text(value.from), to: text(value.to) };
    case "lead":
      return { ...place(value), to: text(value.to) };
    case "replicas":
      return { replicas: String(whole(value.replicas, 1, MOST_REPLICAS)) };
    default:
      return {};
  }
}

function retention({ default: isDefault, time, bytes }: Fields): Arguments {
  if (isDefault === true) return { default: "true" };
  if (time === undefined && bytes === undefined) throw invalid();
  return { ...(time === undefined ? {} : { time: text(time) }), ...(bytes === undefined ? {} : { bytes: String(number(bytes)) }) };
}

function partitions({ partitions: count }: Fields): Arguments {
  return { partition_num: String(whole(count, 1, MOST_PARTITIONS)) };
}

/** Which partition of a topic. */
function place({ partition }: Fields): Arguments {
  return { partition: String(whole(partition, 0, MOST_PARTITIONS - 1)) };
}

/** What the broker finds wrong with them it says itself. */
function delivery({ order, filter, max_attempts: attempts, dead_letter_topic: deadLetters }: Fields): Arguments {
  return {
    ...(order === undefined ? {} : { ordered: text(order) }),
    ...(filter === undefined ? {} : { filter: text(filter) }),
    ...(attempts === undefined ? {} : { max_attempts: String(number(attempts)) }),
    ...(deadLetters === undefined ? {} : { dead_letter_topic: text(deadLetters) }),
  };
}

function text(value: unknown): string {
  if (typeof value !== "string") throw invalid();
  return value;
}

function number(value: unknown): number {
  if (typeof value !== "number") throw invalid();
  return value;
}

function whole(value: unknown, least: number, most: number): number {
  if (!Number.isInteger(value) || number(value) < least || number(value) > most) throw invalid();
  return number(value);
}

function flag(value: unknown): boolean {
  if (typeof value !== "boolean") throw invalid();
  return value;
}

function invalid(): Refusal {
  return new Refusal(400, "INVALID_VALUE");
}
