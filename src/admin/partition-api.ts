// What the console's API says of partitions, and of channels that choose their messages (docs/order.md). console-api.ts is the rest.

/** The partitions of a topic with several, at all brokers together. */
export interface TopicPartitions {
  /** The largest count that a broker tells. */
  count: number;
  /** How many no broker has that answers. */
  missing: number;
  /** Their indexes as ranges, `1,4-6`; empty if none is missing. */
  missing_indexes: string;
  /** Brokers tell different counts. */
  differs?: true;
}

/** What a broker is for a partition that others have, too; `out`: it knows of no leader. */
export type ReplicaRole = "leader" | "follower" | "out";

/**
 * `GET /api/v1/partitions?topic=&channel=` → Page<PartitionRow>: each partition at each broker that has it, of a topic or of a channel.
 * One that nobody has is a row without a broker. They are asked of the brokers while somebody looks at them.
 */
export interface PartitionRow {
  /** `partition|broker` */
  key: string;
  partition: number;
  /** Empty: no broker that answers has it. */
  broker: string;
  hostname: string;
  /** Brokers that are down and had it. */
  down?: string[];
  /** Left out where the broker has it alone. What waits is counted where it is led. */
  role?: ReplicaRole;
  depth: number;
  in_flight: number;
  deferred: number;
  /** Messages of the depth that wait for others of their key or partition. */
  blocked: number;
  message_count: number;
  /** Bytes of all messages since the broker has the topic, and of the log; null for a channel. */
  message_bytes: number | null;
  log_bytes: number | null;
}

/** How a channel delivers at bunsq's brokers; where they differ, at the first one. */
export interface ChannelDelivery {
  order: "none" | "key" | "partition";
  filter: Record<string, unknown> | null;
  /** 0: without end. */
  max_attempts: number;
  dead_letter_topic: string;
  /** What holds the channel back; all of it false, empty or 0: nothing. */
  limits: {
    /** All messages are finished without being delivered; those that are marked as tests are. */
    skip: boolean;
    skip_zan_test: boolean;
    /** The most messages that each client has in flight whose address or id begins with the prefix. */
    client_limits: { prefix: string; ready: number }[];
    /** Messages and KiB per second. */
    rate_limit: number;
    rate_limit_kb: number;
  };
  differs: boolean;
  /** Sums over the brokers, since they started. */
  blocked: number;
  filtered: number;
  dead_letters: number;
  /** The unfinished message that was delivered most often of those that were delivered again. */
  most_tried: { id: string; attempts: number; broker: string } | null;
}

/** What a consumer wants of its channel. What it does not say is left out. */
export interface ClientWishes {
  /** The only messages that it gets: those with this tag. */
  tag?: string;
  /** The only messages that it gets, by their headers. */
  filter?: Record<string, unknown>;
  /** The order that it has asked its channel for. */
  order?: string;
  /** The only partition that it consumes. */
  partition?: number;
}
