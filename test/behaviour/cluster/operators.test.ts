import { afterAll, beforeAll, expect, test } from "bun:test";
import { METRIC_TABLES } from "../../../scripts/metrics-doc.ts";
import type { ClusterDetail, ReplicaRow } from "../../../src/admin/cluster-api.ts";
import type { Overview, Page, TopicDetail } from "../../../src/admin/console-api.ts";
import { sampleName } from "../../../src/http/metrics/family.ts";
import { Console } from "../../admin/support/console.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { until } from "../../support/server.ts";
import { ClusterProcesses, type ClusterServer } from "./support/cluster-processes.ts";

const HERE = { host: "127.0.0.1", prefix: [] };
const MESSAGES = 30;
const PARTITIONS = 3;
const LONG_MS = 120_000;

/** The value of each series, by its name with its labels. */
async function metricsOf(server: ClusterServer, query = ""): Promise<ReadonlyMap<string, number>> {
  const { text } = await server.call("GET", `/metrics${query}`);
  const samples = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(samples.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]));
}

async function typesOf(server: ClusterServer): Promise<string[]> {
  const { text } = await server.call("GET", "/metrics");
  return [...text.matchAll(/^# TYPE (nsq_(?:cluster|etcd|lookup_cluster)_\S+) /gm)].map(([, name = ""]) => name).sort();
}

function listed(titles: RegExp): string[] {
  return METRIC_TABLES.filter(({ title }) => titles.test(title))
    .flatMap(({ families }) => families.map(sampleName))
    .sort();
}

describeUnless(missing("etcd"))("what operators see of a cluster", () => {
  let cluster: ClusterProcesses;
  let console: Console;

  const sum = async (name: string): Promise<number> => {
    const all = await Promise.all(cluster.brokers.filter(({ isRunning }) => isRunning).map((broker) => metricsOf(broker)));
    return all.reduce((total, metrics) => total + (metrics.get(name) ?? 0), 0);
  };

  beforeAll(async () => {
    const lease = ["--cluster-lease=1s"];
    cluster = await ClusterProcesses.start({ lookups: [HERE], brokers: [HERE, HERE, HERE], lookupFlags: lease, brokerFlags: lease });
    await until("all are ready", async () => {
      const answers = await Promise.all(cluster.brokers.map((broker) => broker.call("GET", "/ready")));
      return answers.every(({ status }) => status === 200);
    });
    await until("the lookup server knows them", async () => {
      const status = await cluster.lookups[0]?.call("POST", `/topic/create?topic=orders&partition_num=${PARTITIONS}&replicator=3`);
      return status?.status === 200;
    });
    for (let i = 0; i < MESSAGES; i++) {
      const [broker] = cluster.brokers;
      await until("it is published", async () => {
        const answer = await fetch(`http://${broker?.http}/pub?topic=orders`, { method: "POST", body: `${i}` });
        return answer.status === 200;
      });
    }
    console = new Console({ lookupdHttpAddresses: cluster.lookups.map(({ http }) => http), pollIntervalMs: 200 });
  }, LONG_MS);
  afterAll(async () => {
    await console?.[Symbol.asyncDispose]();
    await cluster?.[Symbol.asyncDispose]();
  });

  test("brokers and lookup servers have the metrics that docs/metrics.md lists, and no others of a cluster", async () => {
    const [broker] = cluster.brokers;
    const [lookup] = cluster.lookups;
    await until("it leads or follows", async () => (await metricsOf(broker as ClusterServer)).has("nsq_cluster_led_partitions"));
    expect(await typesOf(lookup as ClusterServer)).toEqual(listed(/^The cluster as a whole|^etcd/));
    await until("it has followers", async () => (await sum("nsq_cluster_led_partitions")) === PARTITIONS);
    const types = await Promise.all(cluster.brokers.map(typesOf));
    for (const names of types) expect(names).toEqual(listed(/^Replication|^Partitions of a cluster|^etcd/));
  });

  test("each message counts once, wherever replicas are", async () => {
    await until("all are in sync", async () => (await sum("nsq_cluster_in_sync_replicas")) === 3 * PARTITIONS);
    expect(await sum("nsq_topic_depth_messages")).toBe(MESSAGES);
    expect(await sum("nsq_cluster_replicas")).toBe(3 * PARTITIONS);
    expect(await sum("nsq_cluster_followed_partitions")).toBe(2 * PARTITIONS);
    await until("the console has it all", async () => (await console.read<TopicDetail>("/topics/orders")).depth === MESSAGES);
  });

  test(
    "a broker that is killed is at once seen: in metrics, and in the console with why",
    async () => {
      const [killed, ...others] = cluster.brokers as [ClusterServer, ...ClusterServer[]];
      await killed.stop("SIGKILL");
      const led = (name: string) => until(`${name} is ${PARTITIONS}`, async () => (await sum(`nsq_cluster_${name}`)) === PARTITIONS);
      await led("led_partitions");
      await led("under_replicated_partitions");
      for (let i = 0; i < PARTITIONS; i++)
        expect((await fetch(`http://${others[0]?.http}/pub?topic=orders&partition=${i}`, { method: "POST", body: "x" })).status).toBe(200);
      const follower = `{follower="${killed.http}"}`;
      await until("it lacks messages", async () => (await sum(`nsq_cluster_follower_lag_messages${follower}`)) === PARTITIONS);
      expect(await sum(`nsq_cluster_follower_out_of_sync_partitions${follower}`)).toBe(PARTITIONS);
      expect(await sum(`nsq_cluster_follower_lag_bytes${follower}`)).toBeGreaterThan(0);

      await until("the console says so", async () => {
        const { risks, brokers } = await console.read<ClusterDetail>("/cluster");
        return (
          risks.some(({ kind }) => kind === "broker-away") && brokers.some(({ state, name }) => state === "away" && name === killed.http)
        );
      });
      expect((await console.read<Overview>("/overview")).at_risk).toEqual({ critical: 0, warning: expect.any(Number) });
      await until("the console has the lag", async () => {
        const { rows } = await console.read<Page<ReplicaRow>>("/replicas?topic=orders");
        return rows.length === PARTITIONS && rows.every(({ state, lag_messages: lag }) => state === "under_replicated" && lag === 1);
      });
      const { rows } = await console.read<Page<ReplicaRow>>("/replicas?topic=orders");
      for (const { replicas } of rows)
        expect(replicas.filter(({ role }) => role === "away").map(({ name }) => name)).toEqual([killed.http]);
      const stats = JSON.parse((await (others[0] as ClusterServer).call("GET", "/stats?format=json&topic=orders")).text);
      expect(stats.topics[0].replicas).toHaveLength(PARTITIONS);

      await killed.start();
      await until("it has caught up", async () => (await sum("nsq_cluster_in_sync_replicas")) === 3 * PARTITIONS);
      await until("nothing is at risk", async () => (await console.read<ClusterDetail>("/cluster")).risks.length === 0);
    },
    LONG_MS,
  );
});
