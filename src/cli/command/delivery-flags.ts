import type { ChannelOptions } from "../../client/bun.ts";
import type { ChoiceFlag, IntFlag, StringFlag } from "../flag.ts";
import { UsageError } from "../flags.ts";

type Order = "none" | "key" | "partition";

/** How a channel delivers, as a command line says it. */
export interface DeliveryFlags {
  order: Order;
  filter: string;
  maxAttempts: number;
  deadLetterTopic: string;
}

const orderFlag: ChoiceFlag<Order> = {
  name: "order",
  kind: "choice",
  own: true,
  values: ["none", "key", "partition"],
  default: "none",
  doc: "what is delivered one after the other: the messages of a key, of a partition, or none",
};
const filterFlag: StringFlag = {
  name: "filter",
  kind: "string",
  own: true,
  default: "",
  doc: "JSON of which messages are delivered by their headers (docs/order.md); empty: all",
};
const attemptsFlag: IntFlag = {
  name: "max-attempts",
  kind: "int",
  own: true,
  default: 0,
  min: 0,
  max: 65_535,
  doc: "how often a message is delivered before it goes to --dead-letter-topic; 0: without end",
};
const deadLetterFlag: StringFlag = { name: "dead-letter-topic", kind: "string", own: true, default: "", doc: "where it goes then" };

export const DELIVERY_FLAGS = { order: orderFlag, filter: filterFlag, maxAttempts: attemptsFlag, deadLetterTopic: deadLetterFlag };

/** The settings that were given. @throws UsageError for a filter that is no JSON object */
export function deliveryOptions(options: DeliveryFlags, given: { has(name: string): boolean }): ChannelOptions {
  return {
    ...(given.has(orderFlag.name) ? { order: options.order } : {}),
    ...(given.has(filterFlag.name) ? { filter: parsed(options.filter) } : {}),
    ...(given.has(attemptsFlag.name) ? { maxAttempts: options.maxAttempts } : {}),
    ...(given.has(deadLetterFlag.name) ? { deadLetterTopic: options.deadLetterTopic } : {}),
  };
}

function parsed(text: string): NonNullable<ChannelOptions["filter"]> | null {
  if (text === "") return null;
  try {
    const value: unknown = JSON.parse(text);
    // The broker says what else is wrong with it.
    if (typeof value === "object" && value !== null) return { type: 0, ...value };
  } catch {
    // Told below.
  }
  throw new UsageError("--filter is a JSON object");
}
