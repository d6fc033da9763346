import type { Scope } from "../../broker/metrics/exposition/groups.ts";
import type { Family } from "../../http/metrics/family.ts";
import { LINES_PER_STEP, labels, type MetricText } from "../../http/metrics/metric-text.ts";
import type { FollowerStatus, ReplicaStatus } from "../replication/replica-status.ts";
import { topicAndPartition } from "../state/keys.ts";

/** A metric of partitions that this broker has. Of several ones it has the sum, or the largest. */
interface ReplicaFamily extends Family {
  read(status: ReplicaStatus): number;
  isLargest?: true;
}

const gauge = (name: string, help: string, read: (status: ReplicaStatus) => number, more: Partial<ReplicaFamily> = {}): ReplicaFamily => ({
  name,
  kind: "gauge",
  help,
  read,
  ...more,
});

const isLed = ({ role }: ReplicaStatus) => role === "leader";
const ofFollowers = (read: (follower: FollowerStatus) => number) => (status: ReplicaStatus) =>
  (status.followers ?? []).reduce((sum, follower) => sum + read(follower), 0);
const messagesOf = ({ lagMessages }: FollowerStatus) => lagMessages;
const bytesOf = ({ lagBytes }: FollowerStatus) => lagBytes;
const secondsOf = ({ lagMs }: FollowerStatus) => Math.round(lagMs) / 1000;

/** How many of a partition's replicas are not in sync. */
function missing({ record }: ReplicaStatus): number {
  return record === undefined ? 0 : record.replicas.length - record.inSync.length;
}

/** The metrics of the partitions that this broker has of the cluster: all as one, or by topic. */
export const REPLICA_FAMILIES: readonly ReplicaFamily[] = [
  gauge("nsq_cluster_led_partitions", "Partitions that this broker leads", (status) => Number(isLed(status))),
  gauge("nsq_cluster_followed_partitions", "Partitions that this broker follows another one in", ({ role }) => Number(role === "follower")),
  gauge("nsq_cluster_leaderless_partitions", "Partitions that this broker has and knows no leader of", ({ role }) =>
    Number(role === "out"),
  ),
  gauge("nsq_cluster_replicas", "Replicas that the partitions which this broker leads are to have, itself included", (status) =>
    isLed(status) ? (status.record?.replicas.length ?? 0) : 0,
  ),
  gauge("nsq_cluster_in_sync_replicas", "Replicas of these that have all that was acknowledged", (status) =>
    isLed(status) ? (status.record?.inSync.length ?? 0) : 0,
  ),
  gauge("nsq_cluster_under_replicated_partitions", "Partitions that this broker leads and not all replicas are in sync of", (status) =>
    Number(isLed(status) && missing(status) > 0),
  ),
  gauge(
    "nsq_cluster_unwritable_partitions",
    "Partitions that this broker leads and takes no publishes to: too few replicas are in sync, or another one is about to lead",
    ({ refusal }) => Number(refusal !== undefined),
  ),
  gauge(
    "nsq_cluster_repairing_partitions",
    "Partitions of this broker whose log is damaged, and is being read from another replica",
    ({ isRepairing }) => Number(isRepairing),
  ),
  gauge("nsq_cluster_lag_messages", "Messages that followers of this broker lack, each follower counted", ofFollowers(messagesOf), {
    unit: "messages",
  }),
  gauge("nsq_cluster_lag_bytes", "About how many bytes these have", ofFollowers(bytesOf), { unit: "bytes" }),
  gauge(
    "nsq_cluster_lag_seconds",
    "For how long a follower of this broker has lacked something; of several, the longest",
    ({ followers = [] }) => Math.max(0, ...followers.map(secondsOf)),
    { unit: "seconds", isLargest: true },
  ),
];

const FOLLOWER = ["follower"];

/** The metrics of each broker that follows this one, over all partitions. */
export const FOLLOWER_FAMILIES: readonly Family[] = [
  {
    name: "nsq_cluster_follower_out_of_sync_partitions",
    kind: "gauge",
    help: "Partitions that this broker leads and a follower is not in sync of; follower is its HTTP address, or the uid of its data path",
    labels: FOLLOWER,
  },
  {
    name: "nsq_cluster_follower_lag_messages",
    kind: "gauge",
    unit: "messages",
    help: "Messages that a follower lacks; at least, if it has told nothing since its leader changed",
    labels: FOLLOWER,
  },
  {
    name: "nsq_cluster_follower_lag_bytes",
    kind: "gauge",
    unit: "bytes",
    help: "About how many bytes a follower lacks",
    labels: FOLLOWER,
  },
  {
    name: "nsq_cluster_follower_lag_seconds",
    kind: "gauge",
    unit: "seconds",
    help: "For how long a follower has lacked something of a partition; of several, the longest",
    labels: FOLLOWER,
  },
];

/** Sums over partitions. */
class Sums {
  private readonly all = new Float64Array(REPLICA_FAMILIES.length);
  private readonly byTopic = new Map<string, Float64Array>();
  private readonly byFollower = new Map<string, Float64Array>();

  constructor(private readonly isByTopic: boolean) {}

  add(topic: string, status: ReplicaStatus): void {
    const sums = (this.isByTopic ? this.byTopic.get(topic) : this.all) ?? new Float64Array(REPLICA_FAMILIES.length);
    if (this.isByTopic) this.byTopic.set(topic, sums);
    REPLICA_FAMILIES.forEach(({ read, isLargest }, i) => {
      sums[i] = isLargest === true ? Math.max(sums[i], read(status)) : sums[i] + read(status);
    });
    for (const follower of status.followers ?? []) this.addFollower(follower);
  }

  private addFollower(follower: FollowerStatus): void {
    const sums = this.byFollower.get(follower.uid) ?? new Float64Array(FOLLOWER_FAMILIES.length);
    this.byFollower.set(follower.uid, sums);
    if (!follower.isInSync) sums[0]++;
    sums[1] += messagesOf(follower);
    sums[2] += bytesOf(follower);
    sums[3] = Math.max(sums[3], secondsOf(follower));
  }

  /** @param nameOf what a follower is called, by its uid */
  *write(nameOf: (uid: string) => string, text: MetricText): Generator<void> {
    const groups = this.isByTopic
      ? [...this.byTopic].map(([topic, sums]) => ({ label: labels({ topic }), sums }))
      : [{ label: "", sums: this.all }];
    yield* writeRows(REPLICA_FAMILIES, groups, text);
    const followers = [...this.byFollower].map(([uid, sums]) => ({ label: labels({ follower: nameOf(uid) }), sums }));
    yield* writeRows(FOLLOWER_FAMILIES, followers, text);
  }
}

function* writeRows(
  families: readonly Family[],
  rows: readonly { readonly label: string; readonly sums: Float64Array }[],
  text: MetricText,
): Generator<void> {
  for (let i = 0; i < families.length; i++) {
    text.family(families[i]);
    for (let row = 0; row < rows.length; row++) {
      text.sample(rows[row].label, rows[row].sums[i]);
      if (row % LINES_PER_STEP === 0) yield;
    }
  }
}

/** Writes the metrics of partitions. Yields after each. @param nameOf what a follower is called, by its uid */
export function* replicaMetrics(
  replicas: Iterable<{ readonly status: ReplicaStatus }>,
  { detail, topic: only }: Scope,
  nameOf: (uid: string) => string,
  text: MetricText,
): Generator<void> {
  const sums = new Sums(detail !== "none");
  for (const replica of [...replicas]) {
    const { status } = replica;
    const { topic } = topicAndPartition(status.name);
    if (only !== undefined && topic !== only) continue;
    sums.add(topic, status);
    yield;
  }
  yield* sums.write(nameOf, text);
}
