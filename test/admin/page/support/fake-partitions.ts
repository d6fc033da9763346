import type { Finding } from "../../../../src/admin/console-api.ts";
import type { MessageRow } from "../../../../src/admin/message-api.ts";
import type { ChannelDelivery, PartitionRow, TopicPartitions } from "../../../../src/admin/partition-api.ts";

/** The topic that has several partitions, and its channel that delivers in order. */
export const SPLIT_TOPIC = "payments";
export const ORDERED_CHANNEL = "billing";
const BROKERS = ["nsq-a:4151", "nsq-b:4151"];
const COUNT = 8;
const MISSING = [6, 7];

export const PARTITIONS: TopicPartitions = { count: COUNT, missing: MISSING.length, missing_indexes: "6-7" };

export const DELIVERY: ChannelDelivery = {
  order: "key",
  filter: { type: 1, filter_ext_key: "region", filter_data: "eu" },
  max_attempts: 20,
  dead_letter_topic: "payments.dead",
  limits: {
    ...{ skip: false, skip_zan_test: true, rate_limit: 500, rate_limit_kb: 0 },
    client_limits: [{ prefix: "10.2.", ready: 10 }],
  },
  differs: false,
  blocked: 412,
  filtered: 90_412,
  dead_letters: 3,
  most_tried: { id: "0000000000000007", attempts: 12, broker: "nsq-a:4151" },
};

export const PLAIN_DELIVERY: ChannelDelivery = {
  ...{ order: "none", filter: null, max_attempts: 0, dead_letter_topic: "", differs: false },
  limits: { skip: false, skip_zan_test: false, client_limits: [], rate_limit: 0, rate_limit_kb: 0 },
  ...{ blocked: 0, filtered: 0, dead_letters: 0, most_tried: null },
};

export const ORDER_FINDINGS: readonly Finding[] = [
  {
    kind: "poison",
    text: "A message was delivered 12 times and is not finished. All of its key wait behind it. It goes to payments.dead after 20 attempts.",
    broker: "nsq-a:4151",
    message: "0000000000000007",
  },
  { kind: "dead_letters", text: "3 messages were given up and moved to payments.dead since the brokers started.", topic: "payments.dead" },
];

/** Answers `GET /api/v1/partitions`. */
export function partitionRows(topic: string, channel: string): PartitionRow[] {
  if (topic !== SPLIT_TOPIC) return [];
  return Array.from({ length: COUNT }, (_, partition) => {
    const isMissing = MISSING.includes(partition);
    const broker = isMissing ? "" : (BROKERS[partition % 2] ?? "");
    const figure = (value: number) => (isMissing ? 0 : value);
    return {
      key: `${partition}|${broker}`,
      partition,
      broker,
      hostname: isMissing ? "" : `${broker.slice(0, 5)}.internal`,
      ...(partition === 7 ? { down: ["nsq-c:4151"] } : {}),
      depth: figure(1200 + partition * 310),
      in_flight: figure(10 + partition),
      deferred: figure(partition),
      blocked: channel === ORDERED_CHANNEL ? figure(40 + partition * 17) : 0,
      message_count: figure(180_000 + partition * 1900),
      message_bytes: channel === "" && !isMissing ? 91_000_000 + partition * 800_000 : null,
      log_bytes: channel === "" && !isMissing ? 64_000_000 + partition * 500_000 : null,
    };
  });
}

/** What a message of the topic says in its header. */
export function headerOf(topic: string, sequence: number): Partial<MessageRow> {
  if (topic !== SPLIT_TOPIC) return {};
  const partition = sequence % MISSING[0]!;
  if (sequence % 5 === 4) return { partition };
  const key = `customer-${sequence % 97}`;
  const tag = sequence % 3 === 0 ? { tag: "priority" } : {};
  return {
    partition,
    key,
    ...tag,
    trace_id: `${12_345_678_901_234n + BigInt(sequence)}`,
    headers: { "##key": key, region: sequence % 2 === 0 ? "eu" : "us", source: { service: "checkout", version: 3 } },
  };
}
