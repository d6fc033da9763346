import type { MetricText } from "../../http/metrics/metric-text.ts";
import type { Scope } from "./exposition/groups.ts";

/** What /stats says of a partition that other brokers have, too. */
export interface ReplicaStats {
  partition: number;
  /** `out`: this broker knows of no leader, or must not have one. */
  role: "leader" | "follower" | "out";
  /** Grows with each change of leader. */
  epoch: number;
  /** The broker that leads it: its HTTP address, or the uid of its data path if it is not known; empty: none does. */
  leader: string;
  /** How many brokers are to have it, and how many of them have all that was acknowledged. */
  replicas: number;
  in_sync: number;
  /** What the follower that is farthest behind lacks; at a follower what itself lacks, as far as it knows. Null: not known. */
  lag_messages: number | null;
  lag_bytes: number | null;
  /** For how long it has lacked something, ms. */
  lag_ms: number | null;
}

/** What a broker of a cluster tells operators of its part in it. */
export interface ClusterReport {
  /** Why clients should go to another broker; undefined: they need not. */
  readonly notReady: string | undefined;
  /** The partitions of a topic that are replicated here. @param only one of them; undefined: all */
  replicas(topic: string, only: number | undefined): ReplicaStats[];
  /** Gauges for statsd, by their keys. */
  gauges(): Readonly<Record<string, number>>;
  /** Writes its metrics. Yields after each piece of work, which takes some µs. */
  metrics(scope: Scope, text: MetricText): Generator<void>;
}
