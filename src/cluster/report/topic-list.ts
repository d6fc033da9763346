import type { ClusterView } from "../state/cluster-view.ts";
import type { TopicRecord } from "../state/records.ts";

export interface PartitionStatus {
  readonly partition: number;
  /** Data path uids. "": nobody leads. */
  readonly leader: string;
  readonly epoch: number;
  readonly replicas: readonly string[];
  readonly in_sync: readonly string[];
  /** The move under way; null: none. */
  readonly move: { readonly what: string; readonly state: string; readonly from: string; readonly to: string } | null;
}

/** A topic of the cluster with its partitions. */
export interface TopicStatus {
  readonly topic: string;
  readonly partition_num: number;
  /** Keys are spread over the first this many. */
  readonly key_partitions: number;
  readonly replicas: number;
  readonly min_in_sync: number;
  readonly ordered: boolean;
  readonly durability: TopicRecord["durability"];
  /** `create`, `expand` or `delete` while that is under way; null: nothing is. */
  readonly change: string | null;
  readonly partitions: readonly PartitionStatus[];
}

/** @param only given: this topic alone */
export function topicList(view: ClusterView, only: string | undefined): TopicStatus[] {
  const names = only === undefined ? [...view.topics.keys()].sort() : [only];
  return names.flatMap((name) => {
    const topic = view.topics.get(name)?.value;
    return topic === undefined ? [] : [topicStatus(view, name, topic)];
  });
}

function topicStatus(view: ClusterView, name: string, topic: TopicRecord): TopicStatus {
  const partitions: PartitionStatus[] = [];
  for (let partition = 0; partition < topic.partitions; partition++) {
    const record = view.partitions.get(`${name}/${partition}`)?.value;
    if (record === undefined || record.uid !== topic.uid) continue;
    const move = view.moves.get(String(record.prefix))?.value;
    partitions.push({
      partition,
      leader: record.leader,
      epoch: record.epoch,
      replicas: record.replicas,
      in_sync: record.inSync,
      move: move === undefined ? null : { what: move.what, state: move.state, from: move.from, to: move.to },
    });
  }
  return {
    topic: name,
    partition_num: topic.partitions,
    key_partitions: topic.keyPartitions ?? topic.partitions,
    replicas: topic.replicas,
    min_in_sync: topic.minInSync,
    ordered: topic.ordered,
    durability: topic.durability,
    change: topic.change?.kind ?? null,
    partitions,
  };
}
