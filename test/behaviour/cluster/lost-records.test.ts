import { expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { EtcdHttp } from "../../../src/cluster/etcd/etcd-http.ts";
import { TopicChanges, type TopicSettings } from "../../../src/cluster/placement/topic-changes.ts";
import { ClusterView } from "../../../src/cluster/state/cluster-view.ts";
import { ClusterKeys } from "../../../src/cluster/state/keys.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { ThreeBrokers, TOPIC } from "./support/three-brokers.ts";

const LIMIT_MS = 60_000;
const KEYS = new ClusterKeys("bunsq");

/** What the topic is made with. */
const SETTINGS: TopicSettings = {
  ...{ partitions: 1, replicas: 3, minInSync: 2, ordered: false, durability: "write", paused: false },
  ...{ retentionMs: 0, retentionBytes: 0, channels: [] },
};

async function publishSome(cluster: ThreeBrokers): Promise<void> {
  const leader = await cluster.leader();
  const client = await RawClient.connect(cluster.broker(leader).tcpPort);
  for (let i = 0; i < 20; i++) expect(await client.call(`PUB ${TOPIC}`, `message ${i}`)).toBe("OK");
  client.terminate();
  await cluster.untilInSync(leader);
}

describeUnless(missing("etcd"))("what etcd does not have any more", () => {
  test(
    "messages stay while nobody said that their topic was deleted, and are served again when etcd has its records again",
    async () => {
      await using cluster = await ThreeBrokers.start();
      expect((await cluster.broker(0).http("POST", `/topic/create?topic=${TOPIC}`)).status).toBe(200);
      await publishSome(cluster);
      const etcd = new EtcdHttp({ endpoints: cluster.endpoints, callLimitMs: 5_000 });
      const range = await etcd.range(KEYS.prefix);
      if (range instanceof Error) throw range;
      const records = range.entries.filter(({ key }) => /\/(topics|partitions)\//.test(key));
      expect(records.length).toBe(2);
      for (const { key } of records) await etcd.remove(key);
      const isNoticed = (index: number) => cluster.broker(index).log().includes("does not say that it was deleted; they are kept");
      await until("all brokers notice it", () => [0, 1, 2].every(isNoticed));
      // Neither after a restart, nor for another topic of the name.
      await cluster.broker(0).stop();
      await cluster.startBroker(0);
      await until("it notices it at its start", () => isNoticed(0));
      for (const index of [0, 1, 2]) expect(Buffer.concat(cluster.segments(index)).includes("message 19")).toBe(true);
      for (const { key, value } of records) await etcd.put(key, value);
      await publishSome(cluster);
      const leader = await cluster.leader();
      expect((await cluster.replicaAt(leader))?.end).toBe(40);
    },
    LIMIT_MS,
  );

  test(
    "a broker that was away while a topic was deleted drops it when it comes back",
    async () => {
      await using cluster = await ThreeBrokers.start();
      expect((await cluster.broker(0).http("POST", `/topic/create?topic=${TOPIC}`)).status).toBe(200);
      await publishSome(cluster);
      await cluster.broker(2).stop("SIGKILL");
      const etcd = new EtcdHttp({ endpoints: cluster.endpoints, callLimitMs: 5_000 });
      const view = new ClusterView(etcd, KEYS, systemClock, new MemoryLogger());
      await view.start();
      const changes = new TopicChanges(etcd, KEYS, view, systemClock, Math.random);
      expect(await changes.remove(TOPIC)).toBeUndefined();
      expect(await changes.create(TOPIC, SETTINGS)).toBeUndefined();
      await cluster.startBroker(2);
      await until("the new one is led", async () => (await cluster.leader()) >= 0);
      await publishSome(cluster);
      for (const index of [0, 1, 2]) expect((await cluster.replicaAt(index))?.end).toBe(20);
      view.close();
    },
    LIMIT_MS,
  );
});
