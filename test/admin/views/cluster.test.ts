import { expect, test } from "bun:test";
import { Grants } from "../../../src/admin/access/grants.ts";
import type { ClusterDetail, ReplicaRow } from "../../../src/admin/cluster-api.ts";
import type { Overview, Page, TopicDetail } from "../../../src/admin/console-api.ts";
import type { PartitionRow } from "../../../src/admin/partition-api.ts";
import type { FakeBroker, FakeLookup } from "../support/fake-upstream.ts";
import { Watching } from "../support/watching.ts";

const [A, B, C] = ["a".repeat(16), "b".repeat(16), "c".repeat(16)] as const;
const AWAY = { uid: C, state: "away", tcp: "", http: "", zone: "", version: "", away_ms: 5_000, leaders: 0, replicas: 1, in_sync: 0 };

function alive(uid: string, http: string): object {
  return {
    uid,
    state: "alive",
    http,
    zone: "z",
    version: "1",
    away_ms: null,
    leaders: 1,
    replicas: 2,
    in_sync: 2,
    disk: { size_bytes: 10, free_bytes: 4 },
  };
}

const STATUS = {
  ...{ cluster: "main", controller: "l1:1", topics: 2, partitions: 3, without_leader: 1, under_replicated: 2 },
  brokers: [
    alive(A, "a:1"),
    { ...alive(B, "b:1"), removal: { state: "draining", partitions: 3, left: 2, problem: "" }, state: "leaving" },
    AWAY,
  ],
  moves: [{ topic: "t", partition: 1, what: "replace", why: "removal", state: "copying", from: B, to: A, for_ms: 10 }],
  risks: [
    {
      kind: "no-leader",
      severity: "critical",
      text: "partition secret/0 has no leader.",
      partitions: ["secret/0"],
      partition_count: 1,
      for_ms: 9,
    },
    {
      kind: "under-replicated",
      severity: "warning",
      text: "partition t/1 has 1 of 2.",
      partitions: ["t/1"],
      partition_count: 1,
      for_ms: null,
    },
    { kind: "no-controller", severity: "warning", text: "No controller.", partitions: [], partition_count: 0, for_ms: 4 },
  ],
};

const partition = (at: number, leader: string, replicas: string[], inSync: string[], move: object | null = null) => ({
  ...{ partition: at, leader, epoch: 3, replicas, in_sync: inSync, move },
});

const TOPICS = [
  {
    ...{ topic: "t", partition_num: 2, replicas: 2, min_in_sync: 1, change: null },
    partitions: [partition(0, A, [A, B], [A, B]), partition(1, B, [B, C], [B], { what: "replace", state: "copying", from: B, to: A })],
  },
  { topic: "secret", partition_num: 1, replicas: 1, min_in_sync: 1, change: "expand", partitions: [partition(0, C, [C], [C])] },
];

const LAGS = [{ topic: "t", partition: 1, role: "leader", followers: [{ uid: C, lag_messages: 40, lag_bytes: 900, lag_ms: 70_000 }] }];

function broker(replicas: object[] = []): FakeBroker {
  return { bunsq_version: "1", topics: { t: { channels: {} } }, replicas };
}

function started(lookups: Record<string, FakeLookup>): Watching {
  const watching = new Watching({ "a:1": broker(), "b:1": broker(LAGS) }, { lookups: () => Object.keys(lookups) });
  for (const [address, lookup] of Object.entries(lookups)) watching.upstream.lookups.set(address, lookup);
  return watching;
}

const lookup = (more: Partial<FakeLookup> = {}): FakeLookup => ({ brokers: [], topics: [], bunsq_version: "1", ...more });
const inCluster = (): FakeLookup => lookup({ cluster: { status: STATUS, topics: TOPICS } });

test("without a cluster there is none to be seen, and lookup servers are asked for it once a minute at most, Go's never", async () => {
  const { bunsq_version: _, ...go } = lookup();
  using watching = started({ "l1:1": lookup(), "go:1": go });
  await watching.start();
  await watching.pass(10_000);
  await expect(watching.read("/cluster")).rejects.toThrow("NO_CLUSTER");
  await expect(watching.read("/replicas")).rejects.toThrow("NO_CLUSTER");
  expect(await watching.read<TopicDetail>("/topics/t")).not.toHaveProperty("replication");
  expect(await watching.read<Overview>("/overview")).not.toHaveProperty("at_risk");
  await watching.pass(40_000);
  expect([watching.upstream.askedFor("l1:1", "/cluster"), watching.upstream.askedFor("go:1", "/cluster")]).toEqual([1, 0]);
  watching.upstream.lookups.set("l1:1", inCluster());
  await watching.pass(60_000);
  expect(await watching.read<ClusterDetail>("/cluster")).toMatchObject({ cluster: "main", lookup: "l1:1" });
});

test("the cluster is what a lookup server tells, and brokers are called by their addresses", async () => {
  using watching = started({ "l1:1": lookup(), "l2:1": inCluster() });
  await watching.start();
  await watching.pass(4_000);
  const detail = await watching.read<ClusterDetail>("/cluster");
  expect(detail).toMatchObject({ cluster: "main", lookup: "l2:1", controller: "l1:1", partitions: 3, without_leader: 1 });
  expect(detail).not.toHaveProperty("down");
  expect(detail.brokers.map(({ name, address, state }) => [name, address, state])).toEqual([
    ["a:1", "a:1", "alive"],
    ["b:1", "b:1", "leaving"],
    [C.slice(0, 8), "", "away"],
  ]);
  expect(detail.brokers[0]).toMatchObject({ disk_size_bytes: 10, disk_free_bytes: 4, removal: null });
  expect(detail.brokers[2]).toMatchObject({ disk_size_bytes: null, disk_free_bytes: null, away_ms: 5_000 });
  expect(detail.moves).toEqual([
    { key: "t/1", topic: "t", partition: 1, what: "replace", why: "removal", state: "copying", from: "b:1", to: "a:1", for_ms: 10 },
  ]);
});

test("a lookup server that does not answer any more is followed by another one, and without any the cluster is shown as it was", async () => {
  const [first, second] = [inCluster(), inCluster()];
  using watching = started({ "l1:1": first, "l2:1": second });
  await watching.start();
  await watching.pass(4_000);
  expect(await watching.read<ClusterDetail>("/cluster")).toMatchObject({ lookup: "l1:1" });
  first.down = "connection refused";
  await watching.pass(4_000);
  expect(await watching.read<ClusterDetail>("/cluster")).toMatchObject({ lookup: "l2:1" });
  second.down = "no route";
  await watching.pass(4_000);
  expect(await watching.read<ClusterDetail>("/cluster")).toMatchObject({ lookup: "l2:1", down: expect.any(String), partitions: 3 });
});

test("partitions have their replicas, and what these lack by what their leaders tell; the worst come first", async () => {
  using watching = started({ "l1:1": inCluster() });
  await watching.start();
  await watching.pass(4_000);
  const { rows } = await watching.read<Page<ReplicaRow>>("/replicas");
  expect(rows.map(({ key, state }) => [key, state])).toEqual([
    ["secret/0", "offline"],
    ["t/1", "under_replicated"],
    ["t/0", "ok"],
  ]);
  expect(rows[1]).toMatchObject({
    ...{ leader: "b:1", in_sync: 1, replica_count: 2, lag_messages: 40, lag_bytes: 900, lag_ms: 70_000 },
    replicas: [
      { uid: B, name: "b:1", role: "leader", lag_messages: null },
      { uid: C, name: C.slice(0, 8), role: "away", lag_messages: 40 },
    ],
    move: { what: "replace", state: "copying", from: "b:1", to: "a:1" },
  });
  expect(rows[2]).toMatchObject({ lag_messages: null, move: null, replicas: [{ role: "leader" }, { role: "in_sync" }] });
  const keys = async (query: string) => (await watching.read<Page<ReplicaRow>>(`/replicas?${query}`)).rows.map(({ key }) => key);
  expect(await keys("topic=t&sort=-partition")).toEqual(["t/1", "t/0"]);
  expect(await keys(`broker=${A}`)).toEqual(["t/0"]);
  expect(await keys(`filter=${C.slice(0, 8)}`)).toEqual(["secret/0", "t/1"]);
  expect(await keys("topic=alone")).toEqual([]);
  expect((await watching.read<TopicDetail>("/topics/t")).replication).toEqual({
    ...{ partitions: 2, replicas: 2, min_in_sync: 1, under_replicated: 1, without_leader: 0, change: null },
  });
});

test("the overview says how much is at risk, and partitions what brokers are for them", async () => {
  using watching = started({ "l1:1": inCluster() });
  const partitions = [0, 1].map((at) => ({ partition: at, depth: 1 - at, channels: [] }));
  const replicas = [
    { partition: 0, role: "leader" },
    { partition: 1, role: "follower" },
  ];
  watching.upstream.brokers.set("a:1", { bunsq_version: "1", topics: { t: { partition_num: 2, channels: {}, partitions, replicas } } });
  await watching.start();
  await watching.pass(4_000);
  expect((await watching.read<Overview>("/overview")).at_risk).toEqual({ critical: 1, warning: 2 });
  expect((await watching.read<Overview>("/overview", new Grants({ "t*": "viewer" }))).at_risk).toEqual({ critical: 0, warning: 2 });
  const { rows } = await watching.read<Page<PartitionRow>>("/partitions?topic=t");
  expect(rows.map(({ broker: address, role, depth }) => [address, role, depth])).toEqual([
    ["a:1", "leader", 1],
    ["a:1", "follower", 0],
  ]);
});

test("who may see some topics is told of no others", async () => {
  using watching = started({ "l1:1": inCluster() });
  await watching.start();
  await watching.pass(4_000);
  const [some, none] = [new Grants({ "t*": "viewer" }), new Grants({ "x*": "viewer" })];
  expect((await watching.read<ClusterDetail>("/cluster", some)).risks.map(({ kind }) => kind)).toEqual([
    "under-replicated",
    "no-controller",
  ]);
  expect((await watching.read<ClusterDetail>("/cluster", none)).risks.map(({ kind }) => kind)).toEqual(["no-controller"]);
  expect((await watching.read<ClusterDetail>("/cluster", none)).moves).toEqual([]);
  expect((await watching.read<Page<ReplicaRow>>("/replicas", some)).rows.map(({ key }) => key)).toEqual(["t/1", "t/0"]);
  await expect(watching.read("/replicas?topic=secret", some)).rejects.toThrow("FORBIDDEN");
});

test("what a lookup server tells that cannot be is not believed", async () => {
  const status = {
    cluster: 7,
    brokers: [{ uid: A, state: "odd", disk: null, removal: 3 }, null, "x"],
    moves: {},
    risks: [{}],
    partitions: "many",
  };
  using watching = started({ "l1:1": lookup({ cluster: { status, topics: [{ topic: "t" }] } }) });
  await watching.start();
  await watching.pass(4_000);
  expect(await watching.read<ClusterDetail>("/cluster")).toMatchObject({
    cluster: "",
    partitions: 0,
    moves: [],
    risks: [{ severity: "warning" }],
  });
  expect((await watching.read<Page<ReplicaRow>>("/replicas")).rows).toEqual([]);
});
