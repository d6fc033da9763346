/** A broker that may get replicas: it is alive, and nobody wants it removed. */
export interface Candidate {
  readonly uid: string;
  /** Brokers that fail together are in one zone; "": its broker was not told any, which is a zone, too. */
  readonly zone: string;
}

/** A partition as it is, and what it costs. */
export interface Placed {
  readonly topic: string;
  readonly partition: number;
  readonly replicas: readonly string[];
  /** "": none. */
  readonly leader: string;
  readonly inSync: readonly string[];
  /** What its leader has to do for it: 1 and a part of its bytes in and out, so that idle partitions are spread, too. */
  readonly leaderWeight: number;
  /** What each replica keeps for it: 1 and a part of its bytes. */
  readonly replicaWeight: number;
}

/** All brokers that may get replicas, and all partitions. */
export interface Layout {
  readonly candidates: readonly Candidate[];
  /** Those of brokers that get no replicas count, too, if they are known. By data path uid. */
  readonly zones: ReadonlyMap<string, string>;
  readonly placed: readonly Placed[];
}
