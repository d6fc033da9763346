import { rangesOf } from "../../base/ranges.ts";
import type { PartitionRow, TopicPartitions } from "../partition-api.ts";
import type { Cluster } from "../watch/cluster.ts";
import type { PartitionAtBroker, PartitionLook } from "../watch/partition-look.ts";
import { orNull } from "../watch/scale.ts";
import type { TopicOnBroker } from "../watch/topic-on-broker.ts";
import type { Listing, Sorts, SortValue } from "./listing.ts";

/** A partition at a broker, or one that no broker has that answers. */
interface PartitionItem extends PartitionAtBroker {
  broker: string;
  hostname: string;
  down: readonly string[];
}

const SORTS: Sorts<PartitionItem> = new Map<string, SortValue<PartitionItem>>([
  ["partition", ({ partition }) => partition],
  ["broker", ({ broker }) => broker],
  ["hostname", ({ hostname }) => hostname],
  ["depth", ({ depth }) => depth],
  ["in_flight", ({ inFlight }) => inFlight],
  ["deferred", ({ deferred }) => deferred],
  ["blocked", ({ blocked }) => blocked],
  ["message_count", ({ messageCount }) => messageCount],
  ["message_bytes", ({ messageBytes }) => messageBytes],
  ["log_bytes", ({ logBytes }) => logBytes],
]);

/** @param look what the brokers told of their partitions */
export function partitionListing(cluster: Cluster, topic: string, look: PartitionLook): Listing<PartitionItem, PartitionRow> {
  return {
    items: [...partitionItems(cluster, look), ...missingItems(cluster, topic)],
    names: ({ partition, broker, hostname }) => [String(partition), broker, hostname],
    tie: ({ partition, broker }) => `${String(partition).padStart(4, "0")} ${broker}`,
    sorts: SORTS,
    defaultSort: "partition",
    row: partitionRow,
  };
}

/** What is known of a topic's partitions as a whole. @returns undefined for a topic with one */
export function topicPartitions(cluster: Cluster, topic: string): TopicPartitions | undefined {
  const having = brokersWith(cluster, topic);
  const count = Math.max(1, ...having.map(({ onBroker }) => onBroker.partitions));
  if (count === 1) return undefined;
  const missing = missingIn(having, count);
  const counts = new Set(having.filter(({ isUp }) => isUp).map(({ onBroker }) => onBroker.partitions));
  return {
    count,
    missing: missing.length,
    missing_indexes: rangesOf(missing),
    ...(counts.size > 1 ? { differs: true } : {}),
  };
}

interface Having {
  address: string;
  isUp: boolean;
  onBroker: TopicOnBroker;
}

function brokersWith(cluster: Cluster, topic: string): Having[] {
  return [...cluster.brokers.values()].flatMap(({ address, isUp, topics }) => {
    const onBroker = topics.get(topic);
    return onBroker === undefined ? [] : [{ address, isUp, onBroker }];
  });
}

/** The partitions that no broker has that answers. */
function missingIn(having: readonly Having[], count: number): number[] {
  const up = having.filter(({ isUp }) => isUp).map(({ onBroker }) => onBroker);
  return Array.from({ length: count }, (_, index) => index).filter((index) => !up.some((onBroker) => onBroker.hasPartition(index)));
}

function* partitionItems({ brokers }: Cluster, look: PartitionLook): Generator<PartitionItem> {
  for (const [broker, partitions] of look.byBroker) {
    const hostname = brokers.get(broker)?.hostname ?? "";
    for (const partition of partitions) yield { ...partition, broker, hostname, down: [] };
  }
}

function missingItems(cluster: Cluster, topic: string): PartitionItem[] {
  const having = brokersWith(cluster, topic);
  const count = Math.max(1, ...having.map(({ onBroker }) => onBroker.partitions));
  if (count === 1) return [];
  return missingIn(having, count).map((partition) => ({
    partition,
    broker: "",
    hostname: "",
    down: having.filter(({ onBroker }) => onBroker.hasPartition(partition)).map(({ address }) => address),
    role: undefined,
    ...{ depth: 0, inFlight: 0, deferred: 0, blocked: 0, messageCount: 0, messageBytes: Number.NaN, logBytes: Number.NaN },
  }));
}

function partitionRow({ partition, broker, hostname, down, ...figures }: PartitionItem): PartitionRow {
  return {
    key: `${partition}|${broker}`,
    partition,
    broker,
    hostname,
    ...(down.length === 0 ? {} : { down: [...down] }),
    ...(figures.role === undefined ? {} : { role: figures.role }),
    depth: figures.depth,
    in_flight: figures.inFlight,
    deferred: figures.deferred,
    blocked: figures.blocked,
    message_count: figures.messageCount,
    message_bytes: orNull(figures.messageBytes),
    log_bytes: orNull(figures.logBytes),
  };
}
