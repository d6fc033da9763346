import type { ClusterView } from "../state/cluster-view.ts";
import { topicAndPartition } from "../state/keys.ts";
import type { BrokerRecord, PartitionRecord } from "../state/records.ts";
import type { Layout, Placed } from "./placed.ts";

/** How many bytes a second of a leader, and stored bytes of a replica, weigh as much as the partition itself. */
const LEADER_UNIT = 1024;
const REPLICA_UNIT = 1024 * 1024;

/** The brokers that may get replicas: they are alive, and nobody wants them removed. */
export function candidatesOf({ brokers, removals }: Pick<ClusterView, "brokers" | "removals">): BrokerRecord[] {
  return [...brokers.values()].flatMap(({ value }) => (removals.has(value.uid) ? [] : value));
}

/**
 * The cluster as it is to be placed on. Brokers say what they have to do as a whole, so each partition of a broker gets an even share of it.
 */
export function layoutOf(view: ClusterView): Layout {
  const brokers = [...view.brokers.values()].map(({ value }) => value);
  const candidates = candidatesOf(view).map(({ uid, zone }) => ({ uid, zone }));
  const zones = new Map(brokers.map(({ uid, zone }) => [uid, zone]));
  const leads = new Map<string, number>();
  const keeps = new Map<string, number>();
  for (const { value } of view.partitions.values()) {
    leads.set(value.leader, (leads.get(value.leader) ?? 0) + 1);
    for (const uid of value.replicas) keeps.set(uid, (keeps.get(uid) ?? 0) + 1);
  }
  const leaderShare = new Map<string, number>();
  const replicaShare = new Map<string, number>();
  for (const { uid, load } of brokers) {
    leaderShare.set(uid, (load.inBytesPerSecond + load.outBytesPerSecond) / LEADER_UNIT / (leads.get(uid) ?? 1));
    replicaShare.set(uid, load.storedBytes / REPLICA_UNIT / (keeps.get(uid) ?? 1));
  }
  const placed = [...view.partitions].map(([name, { value }]): Placed => {
    const { topic, partition } = topicAndPartition(name);
    const kept = value.replicas.map((uid) => replicaShare.get(uid) ?? 0);
    const replicaWeight = 1 + kept.reduce((sum, share) => sum + share, 0) / kept.length;
    return { ...placedOf(topic, partition, value), leaderWeight: 1 + (leaderShare.get(value.leader) ?? 0), replicaWeight };
  });
  return { candidates, zones, placed };
}

export function placedOf(topic: string, partition: number, { replicas, leader, inSync }: PartitionRecord): Placed {
  return { topic, partition, replicas, leader, inSync, leaderWeight: 1, replicaWeight: 1 };
}
