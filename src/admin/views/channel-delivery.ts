import type { ChannelDelivery } from "../partition-api.ts";
import type { Cluster } from "../watch/cluster.ts";
import type { DeliveryOnBroker } from "../watch/delivery-on-broker.ts";

/** What a channel is that delivers its messages as they come. */
const PLAIN: DeliveryOnBroker = {
  ...{ order: "none", filter: null, max_attempts: 0, dead_letter_topic: "" },
  limits: { skip: false, skip_zan_test: false, client_limits: [], rate_limit: 0, rate_limit_kb: 0 },
  ...{ blocked: 0, filtered: 0, dead_letters: 0, mostTried: undefined },
};

/** How a channel delivers at all brokers that answer. @returns undefined if none of them is bunsq's */
export function channelDelivery({ brokers }: Cluster, topic: string, channel: string): ChannelDelivery | undefined {
  const all = [...brokers.values()].flatMap(({ address, isUp, product, topics }) => {
    const onBroker = topics.get(topic)?.channels.get(channel);
    return !isUp || product !== "bunsq" || onBroker === undefined ? [] : [{ address, delivery: onBroker.delivery ?? PLAIN }];
  });
  const first = all[0]?.delivery;
  if (first === undefined) return undefined;
  const sum = (read: (delivery: DeliveryOnBroker) => number) => all.reduce((total, { delivery }) => total + read(delivery), 0);
  return {
    order: first.order,
    filter: first.filter,
    max_attempts: first.max_attempts,
    dead_letter_topic: first.dead_letter_topic,
    limits: first.limits,
    differs: all.some(({ delivery }) => settingsText(delivery) !== settingsText(first)),
    blocked: sum(({ blocked }) => blocked),
    filtered: sum(({ filtered }) => filtered),
    dead_letters: sum(({ dead_letters }) => dead_letters),
    most_tried: mostTried(all),
  };
}

function settingsText({ order, filter, max_attempts, dead_letter_topic, limits }: DeliveryOnBroker): string {
  return JSON.stringify([order, filter, max_attempts, dead_letter_topic, limits]);
}

function mostTried(all: readonly { address: string; delivery: DeliveryOnBroker }[]): ChannelDelivery["most_tried"] {
  let most: ChannelDelivery["most_tried"] = null;
  for (const { address: broker, delivery } of all) {
    const { mostTried: tried } = delivery;
    if (tried !== undefined && tried.attempts > (most?.attempts ?? 0)) most = { ...tried, broker };
  }
  return most;
}
