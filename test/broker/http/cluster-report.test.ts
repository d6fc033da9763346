import { expect, test } from "bun:test";
import type { ClusterReport, ReplicaReport, ReplicaStats } from "../../../src/broker/metrics/cluster-report.ts";
import { WithHttp } from "../../support/with-http.ts";

const REPLICA: ReplicaStats = {
  ...{ partition: 0, role: "leader", epoch: 3, leader: "a:4151", replicas: 3, in_sync: 2 },
  ...{ lag_messages: 7, lag_bytes: 700, lag_ms: 1_500 },
};

const REPORTS: ReplicaReport[] = Array.from({ length: 1_000 }, (_, partition) => ({
  ...{ topic: "t", partition, role: "leader", epoch: 3, leader: "a".repeat(16), replicas: ["a".repeat(16)], in_sync: ["a".repeat(16)] },
  ...{ start: 0, end: 10, synced: 5, high_watermark: 10, whole: true, refusal: null },
  followers: [{ uid: "b".repeat(16), in_sync: true, following: true, end: 10, lag_messages: 0, lag_bytes: 0, lag_ms: 0 }],
}));

/** A broker that is a member of a cluster, as far as its report says. */
function started(report: Partial<ClusterReport> = {}): WithHttp {
  const server = WithHttp.start();
  server.broker.registry.topic("t").channel("c");
  server.broker.registry.topic("alone");
  server.broker.clusterReport = {
    uid: "a".repeat(16),
    notReady: undefined,
    youzanId: (uid) => `127.0.0.1:0:${uid.charCodeAt(0)}:0`,
    list: (topic) => (topic === undefined || topic === "t" ? REPORTS : []),
    replicas: (topic, only) => (topic === "t" && (only ?? 0) === 0 ? [REPLICA] : []),
    gauges: () => ({ led_partitions: 1 }),
    *metrics({ topic }, text) {
      text.family({ name: "nsq_cluster_led_partitions", kind: "gauge", help: "Partitions that this broker leads" });
      text.sample("", topic === "alone" ? 0 : 1);
      yield;
    },
    ...report,
  };
  return server;
}

async function topics(server: WithHttp, more = ""): Promise<Record<string, unknown>[]> {
  return ((await (await server.fetch("GET", `/stats?format=json${more}`)).json()) as { topics: Record<string, unknown>[] }).topics;
}

test("/stats tells of the replicas of a topic of the cluster, and of no other one", async () => {
  await using server = started();
  const [alone, t] = await topics(server);
  expect(t.replicas).toEqual([REPLICA]);
  expect("replicas" in alone).toBe(false);
  expect("replicas" in (await topics(server, "&topic=t&include_partitions=false"))[0]).toBe(false);
  expect("replicas" in (await topics(server, "&topic=t&partition=1"))[0]).toBe(false);
});

test("/metrics ends with what the cluster adds", async () => {
  await using server = started();
  expect(await (await server.fetch("GET", "/metrics")).text()).toEndWith("\nnsq_cluster_led_partitions 1\n");
  expect(await (await server.fetch("GET", "/metrics?topic=alone")).text()).toEndWith("\nnsq_cluster_led_partitions 0\n");
});

test("/cluster/replicas has all partitions of a broker of a cluster, or those of a topic, and is refused by one that is alone", async () => {
  await using server = started();
  const list = async (query = "") => (await server.fetch("GET", `/cluster/replicas${query}`)).json();
  expect(await list()).toEqual({ uid: "a".repeat(16), replicas: REPORTS });
  expect(await list("?topic=u")).toEqual({ uid: "a".repeat(16), replicas: [] });
  server.broker.clusterReport = undefined;
  expect(await server.call("GET", "/cluster/replicas")).toBe('400 {"message":"NO_CLUSTER"}');
});

test("/coordinator/stats says which replicas are in sync, as Youzan's, and is refused by a broker that is alone", async () => {
  const [first, second] = ["a".repeat(16), "b".repeat(16)];
  const report = { ...(REPORTS[0] as ReplicaReport), topic: "t", partition: 1, replicas: [first, second], in_sync: [first] };
  await using server = started({ list: () => [report, { ...report, partition: 0, in_sync: [first, second] }] });
  const stats = async (query: string) => (await server.fetch("GET", `/coordinator/stats${query}`)).json();
  const [a, b] = [97, 98].map((port) => ({ hostname: "", node_id: `127.0.0.1:0:${port}:0` }));
  expect(await stats("?topic=t&partition=1")).toEqual({
    topic_coord_stats: [{ node: "", name: "t", partition: 1, isr_stats: [a], catchup_stats: [b] }],
  });
  expect(await stats("?topic=t")).toMatchObject({
    topic_coord_stats: [{ partition: 0, isr_stats: [a, b], catchup_stats: null }, { partition: 1 }],
  });
  expect(await stats("")).toEqual({ topic_coord_stats: [] });
  expect(await server.call("GET", "/coordinator/stats?topic=t&partition=x")).toBe('400 {"message":"INVALID_ARG_PARTITION"}');
  server.broker.clusterReport = undefined;
  expect(await server.call("GET", "/coordinator/stats")).toBe('400 {"message":"Coordinator is disabled."}');
});

test("/ready says why a broker has no part in its cluster, and one that leads nothing is ready", async () => {
  await using server = started({ notReady: "its replicas are not open yet" });
  expect(await server.call("GET", "/ready")).toBe("503 NOK - its replicas are not open yet");
  server.broker.clusterReport = undefined;
  expect(await server.call("GET", "/ready")).toBe("200 OK");
});
