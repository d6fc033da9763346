import { expect, test } from "bun:test";
import { MeteredEtcd } from "../../../src/cluster/etcd/metered-etcd.ts";
import type { BrokerStatus, ClusterStatus } from "../../../src/cluster/report/cluster-status.ts";
import { ETCD_FAMILIES } from "../../../src/cluster/report/etcd-metrics.ts";
import { LOOKUP_CLUSTER_FAMILIES, lookupMetrics } from "../../../src/cluster/report/lookup-metrics.ts";
import { sampleName } from "../../../src/http/metrics/family.ts";
import { MetricText } from "../../../src/http/metrics/metric-text.ts";
import { SimWorld } from "../simulator/sim-world.ts";

const broker = (state: BrokerStatus["state"], removal: BrokerStatus["removal"] = null): BrokerStatus => ({
  ...{ uid: "a".repeat(16), state, tcp: "", http: "", replication: "", region: "", zone: "", version: "", away_ms: null },
  ...{ leaders: 0, replicas: 0, in_sync: 0, disk: { size_bytes: 0, free_bytes: 0 } },
  load: { in_bytes_per_second: 0, out_bytes_per_second: 0, stored_bytes: 0 },
  removal,
});

const STATUS: ClusterStatus = {
  ...{
    cluster: "c",
    healthy: false,
    controller: "l1",
    lookups: [],
    topics: 2,
    partitions: 7,
    without_leader: 1,
    balancing: false,
    under_replicated: 3,
    revision: 5,
  },
  brokers: [
    ...[broker("alive"), broker("alive"), broker("away"), broker("removed")],
    broker("leaving", { state: "draining", partitions: 9, left: 4, problem: "" }),
    broker("leaving", { state: "drained", partitions: 2, left: 0, problem: "" }),
  ],
  moves: [
    { topic: "t", partition: 0, what: "add", why: "replicas", state: "waiting", from: "", to: "a", for_ms: 0 },
    { topic: "t", partition: 1, what: "add", why: "replicas", state: "copying", from: "", to: "a", for_ms: 0 },
  ],
  risks: [{ kind: "no-leader", severity: "critical", text: "…", partitions: [], partition_count: 1, for_ms: 0 }],
};

function metricsAt(id: string): string[] {
  const world = new SimWorld(1);
  const node = world.node("lookup");
  const etcd = new MeteredEtcd(world.etcd.client(node), node);
  const text = new MetricText("text");
  for (const _ of lookupMetrics({ id, etcd, lease: { holds: true }, status: () => STATUS }, text));
  return new TextDecoder().decode(text.take()).trimEnd().split("\n");
}

test("a lookup server has all metrics of the tables, and says whether it is the controller", () => {
  const lines = metricsAt("l1");
  const names = lines.flatMap((line) => (line.startsWith("# TYPE") ? (line.split(" ")[2] ?? "") : []));
  expect(names.sort()).toEqual([...LOOKUP_CLUSTER_FAMILIES, ...ETCD_FAMILIES].map(sampleName).sort());
  expect(lines).toContain("nsq_lookup_cluster_controller 1");
  expect(metricsAt("l2")).toContain("nsq_lookup_cluster_controller 0");
});

test("brokers, moves, removals and risks are counted by what they are", () => {
  const lines = metricsAt("l1");
  for (const line of [
    ...[
      'brokers{state="alive"} 2',
      'brokers{state="leaving"} 2',
      'brokers{state="away"} 1',
      'brokers{state="removed"} 1',
      "partitions 7",
      "offline_partitions 1",
    ],
    ...["under_replicated_partitions 3", 'moves{state="waiting"} 1', 'moves{state="copying"} 1', 'moves{state="leading"} 0'],
    ...['removals{state="draining"} 1', 'removals{state="drained"} 1', "removal_partitions 4"],
    ...['risks{severity="critical"} 1', 'risks{severity="warning"} 0', "has_controller 1"],
  ])
    expect(lines).toContain(`nsq_lookup_cluster_${line}`);
});
