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

/** One partition as this broker has it, of `GET /cluster/replicas`. Brokers are named by the uids of their data paths. */
export interface ReplicaReport {
  topic: string;
  partition: number;
  role: ReplicaStats["role"];
  epoch: number;
  /** As far as this broker knows; empty: none. */
  leader: string;
  /** As etcd had it last. */
  replicas: readonly string[];
  in_sync: readonly string[];
  /** The first sequence of this broker's log, and those after its last message: in the file, and on the disk. */
  start: number;
  end: number;
  synced: number;
  /** Below it everything is on all replicas in sync, and is acknowledged and delivered. */
  high_watermark: number;
  /** False: it may have lost messages, and must catch up before it may lead. */
  whole: boolean;
  /** Why the leader takes no publishes; null: it does, or this broker does not lead. */
  refusal: string | null;
  /** Null: this broker does not lead. */
  followers: FollowerReport[] | null;
}

/** A follower, as its leader knows it. */
export interface FollowerReport {
  uid: string;
  in_sync: boolean;
  /** It is connected, and has asked for what it lacks. */
  following: boolean;
  /** Null: it has not told it to this leader. */
  end: number | null;
  /** At least, if it has not told its end. */
  lag_messages: number;
  lag_bytes: number;
  lag_ms: number;
}

/** What a broker of a cluster tells operators of its part in it. */
export interface ClusterReport {
  /** Why clients should go to another broker; undefined: they need not. */
  readonly notReady: string | undefined;
  /** The uid of this broker's data path. */
  readonly uid: string;
  /** What Youzan's tools call a broker: `ip:rpc port:tcp port:worker id`. One that is away is called by its uid. */
  youzanId(uid: string): string;
  /** All partitions that are replicated here. @param topic only those of one topic; undefined: all */
  list(topic: string | undefined): Iterable<ReplicaReport>;
  /** The partitions of a topic that are replicated here. @param only one of them; undefined: all */
  replicas(topic: string, only: number | undefined): ReplicaStats[];
  /** Gauges for statsd, by their keys. */
  gauges(): Readonly<Record<string, number>>;
  /** Writes its metrics. Yields after each piece of work, which takes some µs. */
  metrics(scope: Scope, text: MetricText): Generator<void>;
}
