import { expect, test } from "bun:test";
import { TopicMaker } from "../../../src/cluster/member/topic-maker.ts";
import { PlacedCluster } from "../placement/support/placed-cluster.ts";

const OPTIONS = { clusterReplicas: 3, minInSync: 0, durability: "write", retentionTimeMs: 0, retentionBytes: 0 } as const;
const LEADER = { uid: "0000000000000001", tcp: "", http: "", isOurs: false };

test("a topic that is used for the first time while a broker is being removed has as many replicas as brokers stay", () => {
  const cluster = new PlacedCluster(1, 3);
  const { world, lookup, brokers } = cluster;
  const routing = { topic: () => ({ partitions: 1, keyPartitions: 1, leader: () => LEADER }), listen: () => () => {} };
  const maker = new TopicMaker(OPTIONS, lookup.view, lookup.topics, routing, lookup.node, world.logger);
  expect(world.time.settle(maker.make("before"))).toBeUndefined();
  expect(world.time.settle(lookup.requests.removeBroker(brokers[0].uid))).toBeUndefined();
  world.time.until(() => lookup.view.removals.size === 1, 1_000, "it is known");
  expect(world.time.settle(maker.make("meanwhile"))).toBeUndefined();
  world.time.advance(100);
  const replicas = (topic: string) => lookup.view.topics.get(topic)?.value.replicas;
  expect([replicas("before"), replicas("meanwhile")]).toEqual([3, 2]);
});
