import type { Forwarder } from "../../broker/forwarding/forwarder.ts";
import type { ClusterReport, FollowerReport, ReplicaReport, ReplicaStats } from "../../broker/metrics/cluster-report.ts";
import type { Scope } from "../../broker/metrics/exposition/groups.ts";
import type { Family } from "../../http/metrics/family.ts";
import { labels, type MetricText } from "../../http/metrics/metric-text.ts";
import { one } from "../../http/metrics/process-metrics.ts";
import { parseRemoteAddress } from "../../net/address.ts";
import type { MeteredEtcd } from "../etcd/metered-etcd.ts";
import type { FollowerStatus, ReplicaStatus } from "../replication/replica-status.ts";
import type { Replication } from "../replication/replication.ts";
import type { ClusterView } from "../state/cluster-view.ts";
import { topicAndPartition } from "../state/keys.ts";
import type { BrokerRecord } from "../state/records.ts";
import { etcdMetrics } from "./etcd-metrics.ts";
import { replicaMetrics } from "./replica-metrics.ts";

/** What the report is made of. */
export interface ReportedMember {
  /** This broker's data path uid. */
  readonly uid: string;
  readonly view: ClusterView;
  readonly etcd: MeteredEtcd;
  /** These two are undefined before it takes part. */
  readonly lease: { readonly holds: boolean } | undefined;
  readonly replication: Pick<Replication, "replicas" | "replica" | "counts" | "peers"> | undefined;
  readonly forwarder: Readonly<Pick<Forwarder, "counts" | "heldBytes">>;
  /** Its own key is in etcd. */
  readonly isMember: boolean;
  /** Why it has no part in the cluster yet, or any more; undefined: it has. */
  readonly notReady: string | undefined;
}

const gauge = (name: string, help: string): Family => ({ name, kind: "gauge", help });
const counter = (name: string, help: string, more: Partial<Family> = {}): Family => ({ name, kind: "counter", help, ...more });
const OUTCOME = { labels: ["outcome"] };
const DONE = labels({ outcome: "done" });
const FAILED = labels({ outcome: "failed" });

const MEMBER = gauge("nsq_cluster_member", "1 if this broker's key is in etcd, so that others count with it, else 0");
const BROKERS = gauge("nsq_cluster_brokers", "Brokers of the cluster that are alive, as far as this one knows");
const PEERS = gauge("nsq_cluster_connected_peers", "Other brokers that this one is connected with for replication");
const PARTITIONS = gauge("nsq_cluster_partitions", "Partitions of the whole cluster");
const OFFLINE = gauge("nsq_cluster_offline_partitions", "Partitions of the whole cluster that no broker leads which is alive");
const LEADS = counter("nsq_cluster_leader_changes", "Partitions that this broker has begun to lead");
const TAKE_OVERS = counter("nsq_cluster_takeovers", "Partitions of these whose leader seemed to be gone");
const HAND_OVERS = counter("nsq_cluster_hand_overs", "Partitions that this broker was to hand over to another one", OUTCOME);
const LEFT = counter("nsq_cluster_in_sync_left", "Followers of this broker that were taken out of an in-sync set");
const JOINED = counter("nsq_cluster_in_sync_joined", "Followers of this broker that were taken into an in-sync set");
const FENCED = counter("nsq_cluster_fenced_frames", "Frames of other brokers that were refused, as their epoch is over");
const FENCED_MESSAGES = counter(
  "nsq_cluster_fenced_messages",
  "Messages that this broker had written as the leader, and could not acknowledge before it led no more",
  { unit: "messages" },
);
const FORWARDED = counter(
  "nsq_cluster_forwarded_publishes",
  "Publishes that were passed on to the leader: done, refused by it, leaderless (nobody led in time), or unknown (it may have them)",
  OUTCOME,
);
const FORWARDED_BYTES: Family = {
  name: "nsq_cluster_forwarded_bytes",
  kind: "counter",
  unit: "bytes",
  help: "Bytes of the publishes that were passed on and acknowledged",
};
const HELD: Family = {
  name: "nsq_cluster_forwarding_bytes",
  kind: "gauge",
  unit: "bytes",
  help: "Bytes of the publishes that wait for a leader, or for its answer",
};
const CATCH_UP: Family = {
  name: "nsq_cluster_catch_up_bytes",
  kind: "counter",
  unit: "bytes",
  help: "Bytes that were sent to followers which were not in sync",
};
const REPAIRED = counter(
  "nsq_cluster_repaired_regions",
  "Damaged regions of logs that were to be read again from another replica",
  OUTCOME,
);

const SCRUBBED = counter("nsq_cluster_scrubbed_bytes", "Bytes of logs that were read to find damage before somebody needs them", {
  unit: "bytes",
});

/** The metrics of a broker's part in its cluster, but for those of its partitions, its followers and its etcd. */
export const MEMBER_FAMILIES: readonly Family[] = [
  ...[MEMBER, BROKERS, PEERS, PARTITIONS, OFFLINE, LEADS, TAKE_OVERS, HAND_OVERS, LEFT, JOINED],
  ...[FENCED, FENCED_MESSAGES, FORWARDED, FORWARDED_BYTES, HELD, CATCH_UP, REPAIRED, SCRUBBED],
];

/** Partitions of the view that are looked at in one step. */
const PARTITIONS_PER_STEP = 500;

/** What a broker tells operators of its part in the cluster. */
export class BrokerReport implements ClusterReport {
  /** Where brokers were seen last, by the uids of their data paths. */
  private readonly addresses = new Map<string, string>();

  constructor(private readonly member: ReportedMember) {
    const { view } = member;
    for (const { value } of view.brokers.values()) this.saw(value);
    view.listen((changes) => {
      for (const { kind, after } of changes) if (kind === "brokers" && after !== undefined) this.saw(after.value);
    });
  }

  get uid(): string {
    return this.member.uid;
  }

  get notReady(): string | undefined {
    return this.member.notReady;
  }

  *list(only: string | undefined): Generator<ReplicaReport> {
    for (const replica of [...(this.member.replication?.replicas ?? [])]) {
      const { topic, partition } = topicAndPartition(replica.partition.name);
      if (only === undefined || topic === only) yield replicaReport(topic, partition, replica.status);
    }
  }

  replicas(topic: string, only: number | undefined): ReplicaStats[] {
    const found: ReplicaStats[] = [];
    const { view, replication } = this.member;
    const count = view.topics.get(topic)?.value.partitions ?? 0;
    for (let partition = only ?? 0; partition < (only === undefined ? count : only + 1); partition++) {
      const record = view.partitions.get(`${topic}/${partition}`)?.value;
      const replica = record === undefined ? undefined : replication?.replica(record.prefix);
      if (replica !== undefined) found.push(this.statsOf(partition, replica.status));
    }
    return found;
  }

  gauges(): Readonly<Record<string, number>> {
    let [led, followed, underReplicated, lag] = [0, 0, 0, 0];
    for (const { status } of this.member.replication?.replicas ?? []) {
      const { role, record, followers = [] } = status;
      if (role === "follower") followed++;
      if (role !== "leader") continue;
      led++;
      if (record !== undefined && record.inSync.length < record.replicas.length) underReplicated++;
      for (const { lagMessages } of followers) lag += lagMessages;
    }
    let offline = 0;
    for (const _ of this.offline()) offline++;
    return {
      led_partitions: led,
      followed_partitions: followed,
      under_replicated_partitions: underReplicated,
      offline_partitions: offline,
      lag_messages: lag,
    };
  }

  *metrics(scope: Scope, text: MetricText): Generator<void> {
    const { member } = this;
    const { view, replication, lease } = member;
    if (replication === undefined || lease === undefined) return;
    const { counts, peers, replicas } = replication;
    one(text, MEMBER, Number(member.isMember));
    one(text, BROKERS, view.brokers.size);
    one(text, PEERS, [...peers.all()].filter(({ isUp }) => isUp).length);
    one(text, PARTITIONS, view.partitions.size);
    let offline = 0;
    for (const _ of this.offline()) if (++offline % PARTITIONS_PER_STEP === 0) yield;
    one(text, OFFLINE, offline);
    yield;
    one(text, LEADS, counts.leads);
    one(text, TAKE_OVERS, counts.takeOvers);
    outcomes(text, HAND_OVERS, counts.handOvers, counts.failedHandOvers);
    one(text, LEFT, counts.inSyncLeft);
    one(text, JOINED, counts.inSyncJoined);
    one(text, FENCED, counts.fencedFrames);
    one(text, FENCED_MESSAGES, counts.fencedMessages);
    forwarderMetrics(member.forwarder, text);
    one(text, CATCH_UP, counts.catchUpBytes);
    outcomes(text, REPAIRED, counts.repairedRegions, counts.failedRepairs);
    one(text, SCRUBBED, counts.scrubbedBytes);
    yield* replicaMetrics(replicas, scope, (uid) => this.nameOf(uid), text);
    yield* etcdMetrics(member.etcd, lease, text);
  }

  /** The names of partitions that nobody leads. */
  private *offline(): Generator<string> {
    const { partitions, brokers } = this.member.view;
    for (const [name, { value }] of partitions) if (value.leader === "" || !brokers.has(value.leader)) yield name;
  }

  private statsOf(partition: number, { role, epoch, leader, record, followers, end, highWatermark }: ReplicaStatus): ReplicaStats {
    const farthest = followers === undefined ? undefined : farthestBehind(followers);
    const own = role === "follower" ? Math.max(0, highWatermark - end) : undefined;
    return {
      partition,
      role,
      epoch,
      leader: leader === "" ? "" : this.nameOf(leader),
      replicas: record?.replicas.length ?? 0,
      in_sync: record?.inSync.length ?? 0,
      lag_messages: farthest?.lagMessages ?? own ?? null,
      lag_bytes: farthest?.lagBytes ?? null,
      lag_ms: farthest === undefined ? null : Math.round(farthest.lagMs),
    };
  }

  private saw({ uid, http }: BrokerRecord): void {
    if (http !== "") this.addresses.set(uid, http);
  }

  /** What operators know a broker by. */
  youzanId(uid: string): string {
    const record = this.member.view.brokers.get(uid)?.value;
    if (record === undefined || record.tcp === "") return uid;
    const { hostname, port } = parseRemoteAddress(record.tcp);
    return `${hostname}:${record.replication === "" ? 0 : parseRemoteAddress(record.replication).port}:${port}:0`;
  }

  private nameOf(uid: string): string {
    return this.addresses.get(uid) ?? uid;
  }
}

function replicaReport(topic: string, partition: number, status: ReplicaStatus): ReplicaReport {
  const { role, epoch, leader, record, start, end, synced, highWatermark, isWhole, refusal, followers } = status;
  return {
    ...{ topic, partition, role, epoch, leader },
    replicas: record?.replicas ?? [],
    in_sync: record?.inSync ?? [],
    ...{ start, end, synced, high_watermark: highWatermark, whole: isWhole },
    refusal: refusal ?? null,
    followers: followers?.map(followerReport) ?? null,
  };
}

function followerReport({ uid, isInSync, isFollowing, end, lagMessages, lagBytes, lagMs }: FollowerStatus): FollowerReport {
  return {
    ...{ uid, in_sync: isInSync, following: isFollowing },
    end: end ?? null,
    lag_messages: lagMessages,
    lag_bytes: lagBytes,
    lag_ms: Math.round(lagMs),
  };
}

function forwarderMetrics({ counts, heldBytes }: ReportedMember["forwarder"], text: MetricText): void {
  const { forwarded, refused, leaderless, unknown, forwardedBytes } = counts;
  text.family(FORWARDED);
  for (const [outcome, count] of Object.entries({ done: forwarded, refused, leaderless, unknown })) text.sample(labels({ outcome }), count);
  one(text, FORWARDED_BYTES, forwardedBytes);
  one(text, HELD, heldBytes);
}

function outcomes(text: MetricText, family: Family, done: number, failed: number): void {
  text.family(family);
  text.sample(DONE, done);
  text.sample(FAILED, failed);
}

function farthestBehind(followers: readonly FollowerStatus[]): FollowerStatus | undefined {
  const lagOf = ({ lagMessages }: FollowerStatus) => lagMessages;
  return [...followers].sort((one, other) => lagOf(other) - lagOf(one) || other.lagMs - one.lagMs)[0];
}
