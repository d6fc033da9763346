import type { ClusterReport } from "./metrics/cluster-report.ts";

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

/** Where the topics of a cluster are. A broker that is alone has none. */
export interface ClusterRouting {
  /** @returns undefined: the cluster has no such topic, as far as this broker knows. It may be one of its own that others do not have. */
  topic(name: string): RoutedTopic | undefined;
  /**
   * Makes a topic of the cluster, or waits for one that is being made.
   *
   * @param name was checked, and is not ephemeral
   * @returns once someone leads its partitions; an error if that did not come to be in time. It never rejects.
   */
  create(name: string): Promise<Error | undefined>;
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
  /** Hands over what this broker leads, and takes part no more. It never rejects. */
  leave(): Promise<void>;
}
