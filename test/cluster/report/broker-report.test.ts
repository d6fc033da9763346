import { expect, setDefaultTimeout, test } from "bun:test";
import type { Scope } from "../../../src/broker/metrics/exposition/groups.ts";
import { EtcdError } from "../../../src/cluster/etcd/etcd-error.ts";
import { MeteredEtcd } from "../../../src/cluster/etcd/metered-etcd.ts";
import { BrokerReport, MEMBER_FAMILIES } from "../../../src/cluster/report/broker-report.ts";
import { ETCD_FAMILIES } from "../../../src/cluster/report/etcd-metrics.ts";
import { FOLLOWER_FAMILIES, REPLICA_FAMILIES } from "../../../src/cluster/report/replica-metrics.ts";
import { ClusterKeys } from "../../../src/cluster/state/keys.ts";
import { type PartitionRecord, SHAPES } from "../../../src/cluster/state/records.ts";
import { sampleName } from "../../../src/http/metrics/family.ts";
import { MetricText } from "../../../src/http/metrics/metric-text.ts";
import type { SimBroker } from "../simulator/sim-broker.ts";
import { PARTITION_KEY, PREFIX, partitionOf, ThreeBrokers, UIDS } from "../simulator/three-brokers.ts";

/** How long the machine takes for a simulation says nothing. */
setDefaultTimeout(60_000);

const KEYS = new ClusterKeys("sim");
const ALL: Scope = { detail: "none", topic: undefined, channel: undefined };

function reportOf({ uid, view, membership, replication, site, node }: SimBroker): BrokerReport {
  return new BrokerReport({
    uid,
    view,
    etcd: new MeteredEtcd(site.world.etcd.client(node), node),
    lease: membership.lease,
    forwarder: { counts: { forwarded: 3, forwardedBytes: 30, repeated: 0, refused: 1, leaderless: 2, unknown: 4 }, heldBytes: 5 },
    isMember: true,
    notReady: undefined,
    replication,
  });
}

interface Metrics {
  /** The value of each series, by its name with its labels. */
  readonly values: ReadonlyMap<string, number>;
  readonly names: readonly string[];
}

function metricsOf(report: BrokerReport, scope = ALL): Metrics {
  const text = new MetricText("text");
  for (const _ of report.metrics(scope, text));
  const lines = new TextDecoder().decode(text.take()).trimEnd().split("\n");
  const samples = lines.filter((line) => !line.startsWith("#")).map((line) => line.split(" "));
  const types = lines.filter((line) => line.startsWith("# TYPE"));
  return {
    values: new Map(samples.map(([name, value]) => [name, Number(value)])),
    names: types.map((line) => line.split(" ")[2]),
  };
}

function read(report: BrokerReport, ...names: string[]): (number | undefined)[] {
  const { values } = metricsOf(report);
  return names.map((name) => values.get(`nsq_cluster_${name}`));
}

/** Three brokers that know each other's HTTP addresses. */
function started(): { cluster: ThreeBrokers; leader: SimBroker; followers: SimBroker[] } {
  const cluster = new ThreeBrokers();
  const topic = { uid: "f".repeat(16), partitions: 1, replicas: 3, minInSync: 2, ordered: false, durability: "write" } as const;
  const value = SHAPES.topics.write({ ...topic, retentionMs: 0, retentionBytes: 0, channels: [], paused: false });
  put(cluster, KEYS.topic("t"), value);
  for (const broker of cluster.brokers) broker.membership.update({ http: `${broker.node.name}:4151` });
  cluster.publishMs();
  cluster.world.time.advance(500);
  const leader = cluster.leader as SimBroker;
  return { cluster, leader, followers: cluster.brokers.filter((broker) => broker !== leader) };
}

test("a broker of a cluster has all metrics of the tables, each once, and no others", () => {
  const { names } = metricsOf(reportOf(started().leader));
  const families = [...MEMBER_FAMILIES, ...REPLICA_FAMILIES, ...FOLLOWER_FAMILIES, ...ETCD_FAMILIES];
  expect([...names].sort()).toEqual(families.map(sampleName).sort());
});

test("publishes that were passed on are counted by what came of them", () => {
  const { values } = metricsOf(reportOf(started().leader));
  const outcomes = ["done", "refused", "leaderless", "unknown"];
  const counts = outcomes.map((outcome) => values.get(`nsq_cluster_forwarded_publishes_total{outcome="${outcome}"}`));
  expect([...counts, values.get("nsq_cluster_forwarded_bytes_total"), values.get("nsq_cluster_forwarding_bytes")]).toEqual([
    3, 1, 2, 4, 30, 5,
  ]);
});

test("a leader counts its partition and its followers, a follower that it follows", () => {
  const { leader, followers } = started();
  const names = ["led_partitions", "followed_partitions", "replicas", "in_sync_replicas", "under_replicated_partitions"];
  expect(read(reportOf(leader), ...names)).toEqual([1, 0, 3, 3, 0]);
  expect(read(reportOf(followers[0]), ...names)).toEqual([0, 1, 0, 0, 0]);
  expect(
    read(reportOf(leader), "member", "brokers", "connected_peers", "partitions", "offline_partitions", "leader_changes_total"),
  ).toEqual([1, 3, 2, 1, 0, 1]);
});

test("what a follower lacks that is gone is told in messages, bytes and seconds, by its address", () => {
  const { cluster, leader, followers } = started();
  const [gone] = followers;
  const report = reportOf(leader);
  cluster.network.end(gone.node);
  cluster.until("it is out of the in-sync set", () => cluster.inSync.length === 2);
  for (let count = 0; count < 5; count++) {
    cluster.publishMs();
    cluster.world.time.advance(1_000);
  }
  const { values } = metricsOf(report, { ...ALL, detail: "topic" });
  const of = (name: string) => values.get(`nsq_cluster_follower_${name}{follower="${gone.node.name}:4151"}`) ?? 0;
  const lacking = partitionOf(leader).log.end - partitionOf(gone).log.end;
  expect(lacking).toBeGreaterThanOrEqual(5);
  expect(of("lag_messages")).toBe(lacking);
  expect(of("lag_bytes")).toBe(lacking * 8);
  expect(of("lag_seconds")).toBeGreaterThan(4);
  expect(of("lag_seconds")).toBeLessThan(10);
  expect(of("out_of_sync_partitions")).toBe(1);
  expect(values.get('nsq_cluster_under_replicated_partitions{topic="t"}')).toBe(1);
  expect(values.get('nsq_cluster_lag_messages{topic="t"}')).toBe(lacking);
  expect(values.get("nsq_cluster_in_sync_left_total")).toBe(1);
  expect(report.replicas("t", undefined)).toEqual([
    {
      ...{ partition: 0, role: "leader", epoch: 1, leader: `${leader.node.name}:4151`, replicas: 3, in_sync: 2 },
      ...{ lag_messages: lacking, lag_bytes: lacking * 8, lag_ms: expect.any(Number) },
    },
  ]);
  expect(report.replicas("t", 1)).toEqual([]);
  expect([...report.list("u")]).toEqual([]);
  const [listed] = report.list(undefined);
  expect(listed).toMatchObject({
    topic: "t",
    partition: 0,
    role: "leader",
    leader: leader.uid,
    end: partitionOf(leader).log.end,
    refusal: null,
    whole: true,
  });
  expect(listed?.followers?.find(({ uid }) => uid === gone.uid)).toMatchObject({
    ...{ in_sync: false, following: false, end: partitionOf(gone).log.end, lag_messages: lacking },
  });
  expect(report.replicas("u", undefined)).toEqual([]);
  expect(report.gauges()).toEqual({
    ...{ led_partitions: 1, followed_partitions: 0, under_replicated_partitions: 1, offline_partitions: 0, lag_messages: lacking },
  });
});

test("whoever takes a partition over counts it, and without two replicas nothing can be published and it is said so", () => {
  const { cluster, leader, followers } = started();
  cluster.network.end(leader.node);
  cluster.publishMs();
  const next = cluster.leader as SimBroker;
  expect(followers).toContain(next);
  const names = ["leader_changes_total", "takeovers_total", "unwritable_partitions"];
  expect(read(reportOf(next), ...names)).toEqual([1, 1, 0]);
  const last = followers.find((broker) => broker !== next) as SimBroker;
  cluster.network.end(last.node);
  cluster.until("it is alone", () => cluster.inSync.length === 1);
  cluster.world.time.advance(100);
  expect(read(reportOf(next), ...names)).toEqual([1, 1, 1]);
});

test("a partition whose leader is gone with all that could follow it is offline to the others", () => {
  const { cluster, leader, followers } = started();
  const report = reportOf(followers[1]);
  for (const { node } of [leader, followers[0]]) cluster.network.end(node);
  put(cluster, PARTITION_KEY, record({ leader: "", inSync: [leader.uid], epoch: 7 }));
  cluster.world.time.advance(500);
  expect(read(report, "offline_partitions", "leaderless_partitions")).toEqual([1, 1]);
});

test("a hand-over is counted, and so are those who come back", () => {
  const { cluster, leader } = started();
  leader.drain();
  cluster.until("another one leads", () => cluster.leader !== undefined && cluster.leader !== leader);
  const { values } = metricsOf(reportOf(leader));
  expect(values.get('nsq_cluster_hand_overs_total{outcome="done"}')).toBe(1);
  expect(values.get('nsq_cluster_hand_overs_total{outcome="failed"}')).toBe(0);
  expect(values.get("nsq_cluster_takeovers_total")).toBe(0);
});

test("calls to etcd are measured, and those that fail are counted by what they were", async () => {
  const { world } = new ThreeBrokers();
  const node = world.node("asking");
  const etcd = new MeteredEtcd(world.etcd.client(node), node);
  const answers = [etcd.grant(1_000), etcd.get("/x")];
  world.time.advance(1_000);
  await Promise.all(answers);
  world.etcd.setDown(true);
  const failing = etcd.keepAlive("1", 500);
  world.time.advance(1_000);
  expect(await failing).toBeInstanceOf(EtcdError);
  expect([etcd.calls.grant, etcd.calls.get, etcd.failures.grant, etcd.failures.keepAlive, etcd.durations.count]).toEqual([1, 1, 0, 1, 3]);
});

/** Puts a key as somebody else does. */
function put({ world }: ThreeBrokers, key: string, value: string): void {
  void world.etcd.client(world.node("somebody")).put(key, value);
}

function record(changes: Partial<PartitionRecord>): string {
  return SHAPES.partitions.write({ uid: "f".repeat(16), prefix: PREFIX, replicas: UIDS, leader: "", epoch: 0, inSync: UIDS, ...changes });
}
