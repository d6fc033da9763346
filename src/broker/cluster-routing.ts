import type { ClusterReport } from "./metrics/cluster-report.ts";
import type { Durability } from "./options.ts";

/** The broker that leads a partition now. */
export interface PartitionLeader {
  /** Its data path uid. */
  readonly uid: string;
  /** Where its clients reach it, `host:port`; "": it does not listen there, or is not alive. */
  readonly tcp: string;
  readonly http: string;
  /** It is this broker, and it takes publishes. */
  readonly isOurs: boolean;
}

/** A topic of the cluster, as this broker knows it. */
export interface RoutedTopic {
  /** How many partitions it has, at all brokers together. */
  readonly partitions: number;
  /** Keys are spread over the first this many of them. */
  readonly keyPartitions: number;
  /** @returns undefined: nobody leads the partition now */
  leader(partition: number): PartitionLeader | undefined;
}

/** What may be changed of a topic of the cluster. */
export interface ClusterTopicChanges {
  readonly paused?: boolean;
  readonly durability?: Durability;
  /** How long finished messages are kept, and how many bytes of them; 0 for both: they are not. */
  readonly retentionMs?: number;
  readonly retentionBytes?: number;
}

/** Where the topics of a cluster are. A broker that is alone has none. */
export interface ClusterRouting {
  /** @returns undefined: the cluster has no such topic, as far as this broker knows. It may be one of its own that others do not have. */
  topic(name: string): RoutedTopic | undefined;
  /**
   * Makes a topic of the cluster, or waits for one that is being made.
   *
   * @param name was checked, and is not ephemeral
   * @param partitions of a new one; one that exists is expanded to as many, if it has fewer
   * @returns once someone leads its partitions; an error if that did not come to be in time. It never rejects.
   */
  create(name: string, partitions?: number): Promise<Error | undefined>;
  /**
   * Makes a topic that this broker has alone one of the cluster, with this broker as its only replica.
   *
   * @returns once this broker leads it; why that cannot be, in words. It never rejects.
   */
  adopt(name: string): Promise<Error | undefined>;
  /** What the cluster has of a topic, usable or not. `deleted`: it had it, and that goes or is gone. */
  known(name: string): "there" | "deleted" | undefined;
  /** Removes a topic of the cluster. @returns once that is certain, or why it is not. It never rejects. */
  remove(name: string): Promise<Error | undefined>;
  /** Changes what a topic of the cluster is to be. @returns as remove() */
  change(name: string, changes: ClusterTopicChanges): Promise<Error | undefined>;
  /**
   * Tells which topics have another leader somewhere, are new or gone.
   *
   * @returns a function that ends this
   */
  listen(changed: (topics: ReadonlySet<string>) => void): () => void;
}

/** A broker's part in a cluster. */
export interface ClusterMember {
  readonly routing: ClusterRouting;
  readonly report: ClusterReport;
  /**
   * Takes part from now on. The broker listens already.
   *
   * @throws StartError if it cannot listen for other brokers
   */
  start(): void;
  /** Has other brokers lead what this one leads, as far as they are in sync. Publishes wait meanwhile. It never rejects. */
  handOver(): Promise<void>;
  /** Hands over, and takes part no more. It never rejects. */
  leave(): Promise<void>;
}
