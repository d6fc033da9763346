import type { Family } from "../../http/metrics/family.ts";
import { labels, type MetricText } from "../../http/metrics/metric-text.ts";
import { one } from "../../http/metrics/process-metrics.ts";
import type { MeteredEtcd } from "../etcd/metered-etcd.ts";
import type { ClusterStatus } from "./cluster-status.ts";
import { etcdMetrics } from "./etcd-metrics.ts";

/** What the metrics of a lookup server in a cluster need of it. */
export interface LookupSource {
  /** Its name in etcd. */
  readonly id: string;
  readonly etcd: MeteredEtcd;
  readonly lease: { readonly holds: boolean };
  status(): ClusterStatus;
}

const gauge = (name: string, help: string, more: Partial<Family> = {}): Family => ({ name, kind: "gauge", help, ...more });

const CONTROLLER = gauge("nsq_lookup_cluster_controller", "1 if this lookup server is the controller, which moves partitions, else 0");
const CONTROLLERS = gauge(
  "nsq_lookup_cluster_has_controller",
  "1 if any lookup server is the controller, as far as this one knows, else 0",
);
const BROKERS = gauge(
  "nsq_lookup_cluster_brokers",
  "Brokers of the cluster: state is alive, leaving (being removed), away, or removed and gone",
  {
    labels: ["state"],
  },
);
const PARTITIONS = gauge("nsq_lookup_cluster_partitions", "Partitions of the cluster");
const OFFLINE = gauge("nsq_lookup_cluster_offline_partitions", "Partitions that no broker leads which is alive");
const UNDER_REPLICATED = gauge(
  "nsq_lookup_cluster_under_replicated_partitions",
  "Partitions with fewer replicas in sync than they are to have",
);
const MOVES = gauge(
  "nsq_lookup_cluster_moves",
  "Changes of replicas that are under way: state is waiting, copying or leading (the hand-over)",
  {
    labels: ["state"],
  },
);
const REMOVALS = gauge("nsq_lookup_cluster_removals", "Brokers that are removed: state is draining or drained", { labels: ["state"] });
const LEFT = gauge("nsq_lookup_cluster_removal_partitions", "Partitions that brokers which are removed still have");
const RISKS = gauge("nsq_lookup_cluster_risks", "What is at risk, as /cluster/status tells: severity is critical or warning", {
  labels: ["severity"],
});

/** The metrics of a lookup server's cluster, but for those of its etcd. */
export const LOOKUP_CLUSTER_FAMILIES: readonly Family[] = [
  ...[CONTROLLER, CONTROLLERS, BROKERS, PARTITIONS, OFFLINE, UNDER_REPLICATED, MOVES, REMOVALS, LEFT, RISKS],
];

const BROKER_STATES = ["alive", "leaving", "away", "removed"] as const;
const MOVE_STATES = ["waiting", "copying", "leading"] as const;
const REMOVAL_STATES = ["draining", "drained"] as const;
const SEVERITIES = ["critical", "warning"] as const;

/** Writes them. The status takes some ms with thousands of partitions. */
export function* lookupMetrics(source: LookupSource, text: MetricText): Generator<void> {
  const status = source.status();
  yield;
  one(text, CONTROLLER, Number(status.controller === source.id));
  one(text, CONTROLLERS, Number(status.controller !== ""));
  byLabel(
    text,
    BROKERS,
    "state",
    BROKER_STATES,
    status.brokers.map(({ state }) => state),
  );
  one(text, PARTITIONS, status.partitions);
  one(text, OFFLINE, status.without_leader);
  one(text, UNDER_REPLICATED, status.under_replicated);
  byLabel(
    text,
    MOVES,
    "state",
    MOVE_STATES,
    status.moves.map(({ state }) => state),
  );
  const removals = status.brokers.flatMap(({ removal }) => removal ?? []);
  byLabel(
    text,
    REMOVALS,
    "state",
    REMOVAL_STATES,
    removals.map(({ state }) => state),
  );
  one(
    text,
    LEFT,
    removals.reduce((sum, { left }) => sum + left, 0),
  );
  byLabel(
    text,
    RISKS,
    "severity",
    SEVERITIES,
    status.risks.map(({ severity }) => severity),
  );
  yield* etcdMetrics(source.etcd, source.lease, text);
}

/** How many of the values are each word. */
function byLabel<Word extends string>(
  text: MetricText,
  family: Family,
  label: string,
  words: readonly Word[],
  values: readonly Word[],
): void {
  text.family(family);
  for (const word of words) text.sample(labels({ [label]: word }), values.filter((value) => value === word).length);
}
