import { systemClock } from "../../../../src/base/clock.ts";
import type { Logger } from "../../../../src/base/logger.ts";
import { EtcdHttp } from "../../../../src/cluster/etcd/etcd-http.ts";
import { TopicChanges } from "../../../../src/cluster/placement/topic-changes.ts";
import { ClusterView } from "../../../../src/cluster/state/cluster-view.ts";
import { ClusterKeys } from "../../../../src/cluster/state/keys.ts";
import { until } from "../../../support/server.ts";

const CALL_LIMIT_MS = 2_000;
const ignore = () => {};
const SILENT: Logger = { level: "error", debug: ignore, info: ignore, warn: ignore, error: ignore, fatal: ignore };

/** Makes topics of three replicas as a lookup server does, once all brokers are members. It logs nothing. */
export async function makeTopics(
  endpoints: readonly string[],
  brokers: number,
  topics: readonly { topic: string; partitions: number }[],
  durability: "write" | "fsync" = "write",
): Promise<void> {
  const etcd = new EtcdHttp({ endpoints, callLimitMs: CALL_LIMIT_MS });
  const keys = new ClusterKeys("bunsq");
  const view = new ClusterView(etcd, keys, systemClock, SILENT);
  try {
    await view.start();
    await until("all brokers are members", () => view.brokers.size === brokers);
    const changes = new TopicChanges(etcd, keys, view, systemClock, Math.random);
    for (const { topic, partitions } of topics) {
      const refusal = await changes.create(topic, {
        partitions,
        replicas: 3,
        minInSync: 2,
        ordered: false,
        durability,
        retentionMs: 0,
        retentionBytes: 0,
        channels: [],
        paused: false,
      });
      if (refusal !== undefined) throw new Error(`${topic}: ${refusal.message}`);
    }
  } finally {
    view.close();
  }
}
