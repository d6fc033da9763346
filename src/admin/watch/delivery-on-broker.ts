import type { ChannelDelivery } from "../partition-api.ts";
import { type Fields, fieldsOf, flagOf, listOf, numberOf, textOf } from "../upstream/fields.ts";

/** How a channel delivers at one broker, as of its last answer. */
export interface DeliveryOnBroker extends Omit<ChannelDelivery, "differs" | "most_tried"> {
  mostTried: { id: string; attempts: number } | undefined;
}

/** @param stats of the channel; one that delivers its messages as they come says nothing */
export function readDelivery(stats: Fields): DeliveryOnBroker | undefined {
  if (stats.delivery === undefined) return undefined;
  const delivery = fieldsOf(stats.delivery);
  const tried = fieldsOf(delivery.most_tried);
  const order = textOf(delivery, "order");
  return {
    order: order === "key" || order === "partition" ? order : "none",
    filter: delivery.filter === undefined ? null : fieldsOf(delivery.filter),
    max_attempts: numberOf(delivery, "max_attempts"),
    dead_letter_topic: textOf(delivery, "dead_letter_topic"),
    limits: limitsOf(delivery),
    blocked: numberOf(delivery, "blocked_count"),
    filtered: numberOf(delivery, "filtered_count"),
    dead_letters: numberOf(delivery, "dead_letter_count"),
    mostTried: delivery.most_tried === undefined ? undefined : { id: textOf(tried, "id"), attempts: numberOf(tried, "attempts") },
  };
}

function limitsOf(delivery: Fields): ChannelDelivery["limits"] {
  return {
    skip: flagOf(delivery, "skip"),
    skip_zan_test: flagOf(delivery, "skip_zan_test"),
    client_limits: listOf(delivery, "client_limits").map((limit) => {
      const fields = fieldsOf(limit);
      return { prefix: textOf(fields, "prefix"), ready: numberOf(fields, "ready") };
    }),
    rate_limit: numberOf(delivery, "rate_limit"),
    rate_limit_kb: numberOf(delivery, "rate_limit_kb"),
  };
}
