import { call, getJson, type HttpOptions, parseObject } from "./http.ts";

/** A broker of a cluster, or the data path of one that is away. */
export interface ClusterBroker {
  /** Its data path is called so. */
  uid: string;
  /** `removed`: it is gone, and had nothing any more. */
  state: "alive" | "leaving" | "away" | "removed";
  /** `host:port`; "" if the lookup server does not know. */
  tcp: string;
  http: string;
  replication: string;
  region: string;
  zone: string;
  version: string;
  /** For how long at least; null: it is not away. */
  away_ms: number | null;
  leaders: number;
  replicas: number;
  in_sync: number;
  disk: { size_bytes: number; free_bytes: number };
  load: { in_bytes_per_second: number; out_bytes_per_second: number; stored_bytes: number };
  removal: { state: "draining" | "drained"; partitions: number; left: number; problem: string } | null;
}

export interface ClusterMove {
  topic: string;
  partition: number;
  what: "replace" | "add" | "drop" | "lead";
  why: "asked" | "balance" | "removal" | "replicas";
  state: "waiting" | "copying" | "leading";
  /** Data path uids; "": none. */
  from: string;
  to: string;
  for_ms: number;
}

export interface ClusterRisk {
  kind: string;
  severity: "critical" | "warning";
  /** What is at risk and why, in sentences. */
  text: string;
  partitions: string[];
  partition_count: number;
  for_ms: number | null;
}

/** A cluster as one lookup server sees it. */
export interface ClusterStatus {
  cluster: string;
  healthy: boolean;
  /** Id of the lookup server that moves partitions; "": none does. */
  controller: string;
  lookups: { id: string; tcp: string; http: string; version: string }[];
  brokers: ClusterBroker[];
  topics: number;
  partitions: number;
  without_leader: number;
  under_replicated: number;
  moves: ClusterMove[];
  /** Balance was asked for, and is under way. */
  balancing: boolean;
  risks: ClusterRisk[];
}

/** A topic of a cluster. Replicas are data path uids. */
export interface ClusterTopic {
  topic: string;
  partition_num: number;
  key_partitions: number;
  replicas: number;
  min_in_sync: number;
  ordered: boolean;
  durability: "write" | "fsync";
  change: "create" | "expand" | "delete" | null;
  partitions: {
    partition: number;
    leader: string;
    epoch: number;
    replicas: string[];
    in_sync: string[];
    move: { what: string; state: string; from: string; to: string } | null;
  }[];
}

/** What is left of a partition. */
export interface ClusterRecovery {
  /** False: one that has everything is alive. */
  needed: boolean;
  replicas: {
    uid: string;
    http: string;
    alive: boolean;
    in_sync: boolean;
    has: { epoch: number; end: number; high_watermark: number } | null;
  }[];
}

/**
 * What operators ask of a cluster, at one of its lookup servers. A change resolves when it is in etcd; the status says how far it is. Brokers
 * are named by data path uid, the first four digits of it, an address, or a host.
 *
 * All calls @throws HttpError, ClientError TIMEOUT or CONNECT_FAILED, or the signal's reason.
 */
export class ClusterClient {
  /** @param address `host:port` of the lookup server's HTTP listener, or a URL */
  constructor(
    readonly address: string,
    private readonly options: HttpOptions = {},
  ) {}

  status(signal?: AbortSignal): Promise<ClusterStatus> {
    return this.get("/cluster/status", signal);
  }

  /** @param topic given: this one alone */
  async topics(topic?: string, signal?: AbortSignal): Promise<ClusterTopic[]> {
    const path = `/cluster/topics${topic === undefined ? "" : `?topic=${encodeURIComponent(topic)}`}`;
    return (await this.get<{ topics: ClusterTopic[] }>(path, signal)).topics;
  }

  /** Has a replica moved from one broker to another. */
  move(topic: string, partition: number, from: string, to: string): Promise<void> {
    return this.change("move", { topic, partition, from, to });
  }

  /** Has another replica in sync lead a partition; by default its first one. */
  lead(topic: string, partition: number, to?: string): Promise<void> {
    return this.change("lead", { topic, partition, ...(to === undefined ? {} : { to }) });
  }

  /** Has leaders and replicas spread evenly, at any hour. */
  balance(): Promise<void> {
    return this.change("balance", {});
  }

  /** Has everything moved from a broker to others. @returns which broker that is */
  async removeNode(node: string): Promise<{ uid: string }> {
    const { uid } = parseObject(this.address, await this.post("remove-node", { node }));
    return { uid: String(uid) };
  }

  /** Takes removeNode() back. */
  keepNode(node: string): Promise<void> {
    return this.change("remove-node", { node, cancel: "true" });
  }

  /** Gives a topic more partitions. Keys stay where they are. */
  expand(topic: string, partitions: number): Promise<void> {
    return this.change("expand", { topic, partitions });
  }

  setReplicas(topic: string, replicas: number): Promise<void> {
    return this.change("replicas", { topic, replicas });
  }

  /** @param minInSync 0: a majority of the replicas */
  setMinInSync(topic: string, minInSync: number): Promise<void> {
    return this.change("min-in-sync", { topic, min_in_sync: minInSync });
  }

  /** What replicas have of a partition, before recover(). */
  recoverable(topic: string, partition: number, signal?: AbortSignal): Promise<ClusterRecovery> {
    return this.get(`/cluster/recover?topic=${encodeURIComponent(topic)}&partition=${partition}`, signal);
  }

  /** Has a replica lead that is not in sync, when none of those that are will come back. What it lacks is lost for good. */
  recover(topic: string, partition: number, from: string, options: { acceptDataLoss: boolean }): Promise<void> {
    return this.change("recover", { topic, partition, from, accept_data_loss: String(options.acceptDataLoss) });
  }

  private get<Answer>(path: string, signal: AbortSignal | undefined): Promise<Answer> {
    return getJson(this.address, path, this.options, signal) as Promise<Answer>;
  }

  private async change(name: string, values: Record<string, string | number>): Promise<void> {
    await this.post(name, values);
  }

  private post(name: string, values: Record<string, string | number>): Promise<string> {
    const query = Object.entries(values)
      .map(([key, value]) => `${key}=${encodeURIComponent(value)}`)
      .join("&");
    return call(this.address, { method: "POST", path: `/cluster/${name}?${query}` }, this.options);
  }
}
