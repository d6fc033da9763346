import type { ClusterRouting, ClusterTopicChanges, RoutedTopic } from "../../broker/cluster-routing.ts";
import type { TopicChanges } from "../placement/topic-changes.ts";
import type { ClusterView, ViewChange } from "../state/cluster-view.ts";
import { topicAndPartition } from "../state/keys.ts";
import type { TopicRecord } from "../state/records.ts";

/** What the routing asks of the broker's own partitions. */
export interface OwnPartitions {
  readonly uid: string;
  /** Whether this broker leads a partition, and takes publishes to it. @param name `TOPIC/PARTITION` */
  isServing(name: string): boolean;
  create(topic: string, partitions?: number): Promise<Error | undefined>;
  adopt(topic: string): Promise<Error | undefined>;
}

/** Where the topics of the cluster are, by the copy of etcd that this broker has. */
export class Routing implements ClusterRouting {
  private readonly listeners = new Set<(topics: ReadonlySet<string>) => void>();
  private readonly addresses = new Map<string, { readonly tcp: string; readonly http: string }>();

  constructor(
    private readonly view: ClusterView,
    private readonly own: OwnPartitions,
    private readonly changes: Pick<TopicChanges, "change" | "remove">,
  ) {
    view.listen((changes) => this.changed(changes));
  }

  topic(name: string): RoutedTopic | undefined {
    const record = this.view.topics.get(name)?.value;
    return record === undefined || !isUsable(record) ? undefined : this.routed(name, record);
  }

  create(name: string, partitions?: number): Promise<Error | undefined> {
    return this.own.create(name, partitions);
  }

  adopt(name: string): Promise<Error | undefined> {
    return this.own.adopt(name);
  }

  known(name: string): "there" | "deleted" | undefined {
    const record = this.view.topics.get(name)?.value;
    if (record !== undefined) return record.change?.kind === "delete" ? "deleted" : "there";
    for (const { value } of this.view.deleted.values()) if (value.topic === name) return "deleted";
    return undefined;
  }

  async remove(name: string): Promise<Error | undefined> {
    const refusal = await this.changes.remove(name);
    // Several brokers are asked as a rule.
    return refusal?.reason === "no-such-topic" ? undefined : refusal;
  }

  change(name: string, changes: ClusterTopicChanges): Promise<Error | undefined> {
    return this.changes.change(name, changes);
  }

  listen(changed: (topics: ReadonlySet<string>) => void): () => void {
    this.listeners.add(changed);
    return () => this.listeners.delete(changed);
  }

  /** This broker leads other partitions of these topics than before. */
  tell(topics: ReadonlySet<string>): void {
    if (topics.size > 0) for (const listener of [...this.listeners]) listener(topics);
  }

  private routed(name: string, { partitions, keyPartitions = partitions }: TopicRecord): RoutedTopic {
    return {
      partitions,
      keyPartitions,
      leader: (partition) => {
        const place = `${name}/${partition}`;
        const uid = this.view.partitions.get(place)?.value.leader ?? "";
        if (uid === "") return undefined;
        const isOurs = uid === this.own.uid;
        // It has not begun to lead, or hands over.
        if (isOurs && !this.own.isServing(place)) return undefined;
        const { tcp, http } = this.addresses.get(uid) ?? { tcp: "", http: "" };
        return { uid, tcp, http, isOurs };
      },
    };
  }

  private changed(changes: readonly ViewChange[]): void {
    const topics = new Set<string>();
    for (const { kind, name, before, after } of changes) {
      if (kind === "brokers") {
        if (after !== undefined) this.addresses.set(after.value.uid, after.value);
        else if (before !== undefined) this.addresses.delete(before.value.uid);
      } else if (kind === "topics") topics.add(name);
      else if (kind === "partitions" && before?.value.leader !== after?.value.leader) topics.add(topicAndPartition(name).topic);
    }
    this.tell(topics);
  }
}

/** A topic that is being made or removed is not used. */
export function isUsable({ change }: TopicRecord): boolean {
  return change === undefined || change.kind === "expand";
}
