import type { Family } from "../../http/metrics/family.ts";
import { labels, type MetricText } from "../../http/metrics/metric-text.ts";
import { one } from "../../http/metrics/process-metrics.ts";
import { ETCD_CALLS, type MeteredEtcd } from "../etcd/metered-etcd.ts";

const CALLS: Family = {
  name: "nsq_etcd_call_duration_seconds",
  kind: "histogram",
  unit: "seconds",
  help: "Time that a call to etcd took, failed ones included",
};
const FAILURES: Family = {
  name: "nsq_etcd_failures",
  kind: "counter",
  help: "Calls to etcd that failed: call is get, range, put, remove, txn, grant or keepAlive, by which leases are renewed, or watch",
  labels: ["call"],
};
const LEASE_HELD: Family = {
  name: "nsq_cluster_lease_held",
  kind: "gauge",
  help: "1 if the server's lease in etcd surely has not ended, else 0",
};

/** The metrics of a server's use of etcd. */
export const ETCD_FAMILIES: readonly Family[] = [CALLS, FAILURES, LEASE_HELD];

const LABELS = ETCD_CALLS.map((call) => ({ call, text: labels({ call }) }));
const WATCH = labels({ call: "watch" });

export function* etcdMetrics(etcd: MeteredEtcd, lease: { readonly holds: boolean }, text: MetricText): Generator<void> {
  text.family(CALLS);
  text.histogram("", etcd.durations, true);
  text.family(FAILURES);
  for (const { call, text: label } of LABELS) text.sample(label, etcd.failures[call]);
  text.sample(WATCH, etcd.watchTroubles);
  one(text, LEASE_HELD, Number(lease.holds));
  yield;
}
