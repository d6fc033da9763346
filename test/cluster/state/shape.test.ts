import { describe, expect, test } from "bun:test";
import { ClusterKeys, topicAndPartition } from "../../../src/cluster/state/keys.ts";
import { type Kind, type PartitionRecord, SHAPES } from "../../../src/cluster/state/records.ts";
import { BadValue } from "../../../src/cluster/state/shape.ts";

const UID = "00112233445566ff";
const OTHER = "ffeeddccbbaa9900";
const PARTITION: PartitionRecord = { uid: UID, prefix: 1, replicas: [UID, OTHER], leader: UID, epoch: 3, inSync: [UID], successor: OTHER };

const WHOLE: Record<Kind, object> = {
  brokers: {
    uid: UID,
    run: "r",
    tcp: "h:1",
    http: "",
    replication: "h:2",
    region: "",
    zone: "z",
    version: "1",
    disk: { sizeBytes: 2, freeBytes: 1 },
    load: { inBytesPerSecond: 0.5, outBytesPerSecond: 0, storedBytes: 9 },
  },
  lookups: { uid: "l1", run: "r", tcp: "h:1", http: "h:2", version: "1" },
  controller: { lookup: "l1", run: "r" },
  topics: {
    uid: UID,
    partitions: 4,
    replicas: 3,
    minInSync: 2,
    ordered: true,
    durability: "fsync",
    retentionMs: 1,
    retentionBytes: 2,
    channels: ["c", "d#ephemeral"],
    paused: false,
    keyPartitions: 2,
    change: { kind: "expand", partitions: 6, firstPrefix: 9 },
  },
  partitions: PARTITION,
  moves: { state: "waiting", what: "replace", why: "asked", topic: "t", partition: 3, uid: UID, from: UID, to: OTHER, inSync: 2 },
  removals: { state: "draining", partitions: 4, left: 3, problem: "" },
  deleted: { topic: "t" },
  requests: { what: "balance" },
};

describe("the values in etcd", () => {
  for (const [kind, value] of Object.entries(WHOLE) as [Kind, object][]) {
    test(`of ${kind} are read as they were written, and each of their fields is checked`, () => {
      const shape = SHAPES[kind];
      expect(shape.read(JSON.stringify(value))).toEqual(value as never);
      expect(shape.write(shape.read(JSON.stringify(value)) as never)).toBe(JSON.stringify(value));
      for (const name of Object.keys(value)) {
        for (const bad of [null, -1, { x: 1 }, [1, 1], "x".repeat(1000), [{}]]) {
          const read = shape.read(JSON.stringify({ ...value, [name]: bad }));
          expect(read).toBeInstanceOf(BadValue);
          expect((read as BadValue).message).toContain(name);
        }
      }
    });
  }

  test("that are no JSON objects are refused", () => {
    for (const text of ["", "{", "3", "null", "[]", '"x"']) expect(SHAPES.moves.read(text)).toBeInstanceOf(BadValue);
  });

  test("keep the fields that this release does not know, at every depth", () => {
    const text = JSON.stringify({ ...WHOLE.brokers, disk: { sizeBytes: 2, freeBytes: 1, inodes: 7 }, later: { a: [1] } });
    const read = SHAPES.brokers.read(text);
    if (read instanceof BadValue) throw read;
    expect(read.unknown).toEqual({ later: { a: [1] } });
    const written = JSON.parse(SHAPES.brokers.write({ ...read, zone: "other" }));
    expect(written).toEqual({ ...JSON.parse(text), zone: "other" });
  });

  test("that an earlier release wrote lack fields that came later", () => {
    expect(SHAPES.topics.read(JSON.stringify({ uid: UID, partitions: 1, replicas: 1, minInSync: 1 }))).toMatchObject({
      channels: [],
      durability: "write",
      paused: false,
    });
  });

  test("are refused where their fields contradict each other", () => {
    const bad = (changes: Partial<PartitionRecord>) => SHAPES.partitions.read(JSON.stringify({ ...PARTITION, ...changes }));
    expect(bad({ leader: OTHER })).toEqual(new BadValue("the leader is not in inSync"));
    expect(bad({ replicas: [UID], inSync: [UID, OTHER] })).toEqual(new BadValue("inSync has one that is no replica"));
    expect(bad({ replicas: [UID, UID] })).toEqual(new BadValue("replicas has something twice"));
    expect(bad({ replicas: [] })).toBeInstanceOf(BadValue);
    expect(bad({ leader: "", inSync: [] })).toMatchObject({ leader: "" });
    expect(SHAPES.topics.read(JSON.stringify({ ...WHOLE.topics, minInSync: 4 }))).toEqual(new BadValue("minInSync is more than replicas"));
  });
});

describe("the keys in etcd", () => {
  const keys = new ClusterKeys("main");

  test("say what they are about", () => {
    expect([keys.controller, keys.topic("t"), keys.partition("t", 12), keys.member("brokers", "b1:4150")]).toEqual([
      "/bunsq/main/controller",
      "/bunsq/main/topics/t",
      "/bunsq/main/partitions/t/12",
      "/bunsq/main/brokers/b1:4150",
    ]);
    expect(keys.placeOf(keys.controller)).toEqual({ kind: "controller", name: "" });
    expect(keys.placeOf(keys.topic("t#ephemeral"))).toEqual({ kind: "topics", name: "t#ephemeral" });
    expect(keys.placeOf(keys.partition("t", 0))).toEqual({ kind: "partitions", name: "t/0" });
    expect(topicAndPartition("t/12")).toEqual({ topic: "t", partition: 12 });
    expect(keys.placeOf(keys.balanceRequest)).toEqual({ kind: "requests", name: "balance" });
    expect(keys.placeOf(keys.member("removals", "b"))).toEqual({ kind: "removals", name: "b" });
  });

  test("that this release does not know are left alone", () => {
    for (const key of [
      "",
      "/bunsq/other/topics/t",
      "/bunsq/main/",
      "/bunsq/main/topics",
      "/bunsq/main/topics/",
      "/bunsq/main/topics/a b",
      "/bunsq/main/controller/x",
      "/bunsq/main/partitions/t",
      "/bunsq/main/partitions/t/01",
      "/bunsq/main/partitions/t/0/1",
      "/bunsq/main/brokers/a/b",
      "/bunsq/main/toString/x",
    ]) {
      expect(keys.placeOf(key)).toBeUndefined();
    }
  });

  test("are not made of names that would be several keys", () => {
    for (const name of ["", "a/b", "a b", "x".repeat(201)]) {
      expect(() => new ClusterKeys(name)).toThrow("invalid cluster name");
      expect(() => keys.member("brokers", name)).toThrow("invalid id");
    }
  });
});
