import { afterAll, beforeAll, expect, test } from "bun:test";
import { ClusterKeys } from "../../../src/cluster/state/keys.ts";
import { SHAPES } from "../../../src/cluster/state/records.ts";
import { identityOf, LookupClient } from "../../lookup/support/lookup-client.ts";
import { RealEtcd } from "../../support/etcd.ts";
import { startLookupServer } from "../../support/lookup.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { type Running, until } from "../../support/server.ts";
import { StandInBrokers } from "./support/stand-in-broker.ts";

const KEYS = new ClusterKeys("test");
const [A, B, C] = ["aaaa000000000001", "bbbb000000000002", "cccc000000000003"] as const;
const NSQ = { headers: { Accept: "application/vnd.nsq; version=1.0" } };

interface Peer {
  broadcast_address: string;
  distributed_id: string;
}

interface Partitions {
  channels: string[];
  meta: { partition_num: number; replica: number; ordered: boolean };
  partitions: Record<string, Peer>;
  producers: Peer[];
}

describeUnless(missing("etcd"))("topics of a cluster, at lookup servers", () => {
  let etcd: RealEtcd;
  let brokers: StandInBrokers;
  let lookup: Running;
  let other: Running;
  const clients: LookupClient[] = [];

  const get = async <T>(path: string, server = lookup): Promise<T> =>
    (await (await fetch(`http://127.0.0.1:${server.httpPort}${path}`, NSQ)).json()) as T;
  const post = async (path: string, server = lookup) => {
    const answer = await server.http("POST", path);
    const body = await answer.text();
    return `${answer.status} ${body === "" ? "" : (JSON.parse(body) as { message: string }).message}`.trim();
  };
  const producers = async (topic: string) =>
    (await get<{ producers?: Peer[] }>(`/lookup?topic=${topic}`)).producers?.map((peer) => peer.broadcast_address).sort();
  /** A broker that has registered at the lookup server. */
  const registered = async (host: string, lines: readonly string[]): Promise<LookupClient> => {
    const client = await LookupClient.connect(lookup.tcpPort);
    clients.push(client);
    await client.identify(identityOf(host));
    for (const line of lines) await client.call(line);
    return client;
  };

  beforeAll(async () => {
    etcd = await RealEtcd.start();
    brokers = new StandInBrokers(etcd.endpoints, KEYS);
    await brokers.start();
    const flags = [`--etcd-endpoints=${etcd.endpoints.join(",")}`, "--cluster=test", "--broadcast-address=127.0.0.1", "--cluster-lease=1s"];
    [lookup, other] = await Promise.all([startLookupServer("bunsq", flags), startLookupServer("bunsq", flags)]);
    await Promise.all([brokers.put(A, "10.0.0.1"), brokers.put(B, "10.0.0.2"), brokers.put(C, "10.0.0.3")]);
    const known = async (server: Running) => (await get<{ brokers?: object[] }>("/cluster/status", server)).brokers?.length === 3;
    await until("the brokers are known", async () => (await known(lookup)) && (await known(other)));
  });

  afterAll(async () => {
    for (const client of clients) client.close();
    brokers.close();
    await Promise.all([lookup.stop(), other.stop()]);
    await etcd[Symbol.asyncDispose]();
  });

  test("a topic that is made by Youzan's call can be used when the call returns, at any of them", async () => {
    expect(await post("/topic/create?topic=orders&partition_num=4&replicator=3&orderedmulti=true&syncdisk=1&retention=2", other)).toBe(
      "200",
    );
    const answer = await get<Partitions>("/lookup?topic=orders&access=w&metainfo=true", other);
    expect(answer.meta).toMatchObject({ partition_num: 4, replica: 3, ordered: true });
    expect(Object.keys(answer.partitions).sort()).toEqual(["0", "1", "2", "3"]);
    // The leaders are spread, and each is told once.
    const leaders = new Set(Object.values(answer.partitions).map((peer) => peer.broadcast_address));
    expect([...leaders].sort()).toEqual(["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    expect(answer.producers).toHaveLength(3);
    expect(answer.producers.map((peer) => peer.distributed_id).sort()[0]).toBe("10.0.0.1:4152:4150:0");
    await until("the other one knows", async () => (await producers("orders"))?.length === 3);
    const one = await get<Partitions>("/lookup?topic=orders&access=r&partition=2");
    expect([Object.keys(one.partitions), one.producers.length]).toEqual([["2"], 1]);
    const { topics } = await get<{ topics: object[] }>("/cluster/topics?topic=orders");
    expect(topics).toMatchObject([{ replicas: 3, min_in_sync: 2, ordered: true, durability: "fsync" }]);
  });

  test("the same call again changes nothing, another one is refused, and so is what brokers do not suffice for", async () => {
    const answers: Record<string, string> = {
      "/topic/create?topic=orders&partition_num=4&replicator=3&orderedmulti=true": "200",
      "/topic/create?topic=orders&partition_num=4": "200",
      "/topic/create?topic=orders": "200",
      "/topic/create?topic=orders&partition_num=5": "400 already exist",
      "/topic/create?topic=orders&partition_num=4&replicator=2": "400 already exist",
      "/topic/create?topic=orders&partition_num=4&orderedmulti=false": "400 already exist",
      "/topic/create?topic=more&partition_num=1&replicator=4":
        "400 ErrType:9 ErrCode:1 : No node is available for topic: 4 replicas need as many brokers that are alive and not being removed",
      "/topic/create?topic=more&partition_num=1&replicator=6": "400 INVALID_ARG_TOPIC_REPLICATOR",
      "/topic/partition/expand?topic=orders&partition_num=3": "400 the partition number can not be reduced",
      "/topic/partition/expand?topic=nothing&partition_num=3": "404 topic is not created",
      "/topic/meta/update?topic=nothing&syncdisk=1": "404 topic is not created",
      "/topic/delete?topic=orders&partition=1": "400 REMOVE_SINGLE_PARTITION_NOT_ALLOWED",
    };
    const got: [string, string][] = [];
    for (const path of Object.keys(answers)) got.push([path, await post(path)]);
    expect(Object.fromEntries(got)).toEqual(answers);
  });

  test("several that are made at once can all be used at once", async () => {
    const names = Array.from({ length: 10 }, (_, i) => `many${i}`);
    expect(await Promise.all(names.map((name) => post(`/topic/create?topic=${name}&partition_num=2&replicator=2`)))).toEqual(
      names.map(() => "200"),
    );
    for (const name of names) expect(Object.keys((await get<Partitions>(`/lookup?topic=${name}&access=w`)).partitions)).toHaveLength(2);
  });

  test("leaders are told once, be they registered or not, beside NSQ's brokers; a leader that has gone is not told", async () => {
    expect(await post("/topic/create?topic=mixed&partition_num=1&replicator=3")).toBe("200");
    const [leader = ""] = (await producers("mixed")) ?? [];
    await registered(leader, ["REGISTER mixed billing"]);
    await registered("nsqd.local", ["REGISTER mixed archive"]);
    expect(await producers("mixed")).toEqual([leader, "nsqd.local"].sort());
    const { channels, producers: told } = await get<{ channels: string[]; producers: { hostname: string }[] }>("/lookup?topic=mixed");
    expect(channels.sort()).toEqual(["archive", "billing"]);
    // The registered one is told as it has said.
    expect(told.map(({ hostname }) => hostname)).toContain(`host-${leader}`);
    const toWrite = await get<Partitions>("/lookup?topic=mixed&access=w");
    expect(toWrite.producers.map((peer) => peer.broadcast_address)).toEqual([leader]);
    brokers.leads = false;
    const uid = { "10.0.0.1": A, "10.0.0.2": B, "10.0.0.3": C }[leader] ?? "";
    await brokers.remove(uid);
    // Its connection to the lookup server has not ended.
    await until("it is not told", async () => (await producers("mixed"))?.join() === "nsqd.local");
    await brokers.put(uid, leader);
    await until("it is told again", async () => (await producers("mixed"))?.length === 2);
    brokers.leads = true;
  });

  test("lists have all topics, nodes and lookup servers of the cluster", async () => {
    const { topics, meta_info: metas } = await get<{ topics: string[]; meta_info: { topic_name: string; ordered: boolean }[] }>(
      "/topics?metaInfo=true",
    );
    expect(topics).toEqual(expect.arrayContaining(["orders", "mixed", "many0"]));
    expect(metas.find(({ topic_name: name }) => name === "orders")).toMatchObject({ ordered: true });
    expect((await get<{ topics: string[] }>("/topics")).topics.sort()).toEqual(topics.sort());
    const { producers: nodes } = await get<{ producers: { broadcast_address: string; topics: string[] }[] }>("/nodes");
    expect(nodes.map((node) => node.broadcast_address)).toEqual(expect.arrayContaining(["10.0.0.1", "10.0.0.2", "10.0.0.3", "nsqd.local"]));
    expect(new Set(nodes.map((node) => node.broadcast_address)).size).toBe(nodes.length);
    const listed = await get<{ lookupdnodes: { HttpPort: string }[]; lookupdleader: { HttpPort: string } }>("/listlookup");
    const ports = [lookup, other].map(({ httpPort }) => String(httpPort)).sort();
    expect(listed.lookupdnodes.map(({ HttpPort }) => HttpPort).sort()).toEqual(ports);
    expect(ports).toContain(listed.lookupdleader.HttpPort);
    const stats = await get<{ stable: boolean; node_stat_list: { leader_load_factor: number }[] }>("/cluster/stats");
    expect([stats.stable, stats.node_stat_list.length]).toEqual([true, 3]);
    expect(stats.node_stat_list.reduce((sum, node) => sum + node.leader_load_factor, 0)).toBeCloseTo(1);
  });

  test("a topic gets more partitions, other settings, and goes", async () => {
    expect(await post("/topic/partition/expand?topic=orders&partition_num=6")).toBe("200");
    const { partitions, meta } = await get<Partitions>("/lookup?topic=orders&access=w&metainfo=true");
    expect([Object.keys(partitions).length, meta.partition_num]).toEqual([6, 6]);
    expect(await post("/topic/meta/update?topic=orders&syncdisk=2&replicator=2&disable_channel_auto_create=true")).toBe("200");
    const topic = async () => (await get<{ topics: object[] }>("/cluster/topics?topic=orders")).topics[0];
    await until("it is so", async () => (await get<Partitions>("/lookup?topic=orders&metainfo=true")).meta.replica === 2);
    expect(await topic()).toMatchObject({ durability: "write", replicas: 2, min_in_sync: 2, key_partitions: 4 });
    expect(await post("/topic/delete?topic=orders&partition=**", other)).toBe("200");
    await until("it is gone", async () => (await producers("orders")) === undefined);
    expect(await get<object>("/lookup?topic=orders&access=w")).toEqual({ message: "Key not found" });
  });

  test("the calls of NSQ's tools change a topic of the cluster, and one broker cannot be hidden from it", async () => {
    expect(await post("/topic/create?topic=plain")).toBe("200");
    expect(await post("/channel/create?topic=plain&channel=c")).toBe("200");
    const channels = async (server: Running) => (await get<{ channels: string[] }>("/channels?topic=plain", server)).channels.join();
    await until("the other one has the channel", async () => (await channels(other)) === "c");
    expect(await post("/channel/delete?topic=plain&channel=c", other)).toBe("200");
    await until("it is in etcd no more", async () => (await channels(other)) === "");
    expect(await post("/channel/delete?topic=plain&channel=c", other)).toBe("404 CHANNEL_NOT_FOUND");
    for (const host of ["10.0.0.1", "10.0.0.2", "10.0.0.3"])
      expect(await post(`/topic/tombstone?topic=plain&node=${host}:4151`)).toStartWith("400 TOPIC_OF_CLUSTER: ");
    expect(await post("/topic/tombstone?topic=plain&node=nsqd.local:4151")).toBe("200");
    // Each lookup server is asked, and the second one finds nothing left to delete.
    expect(await Promise.all([post("/topic/delete?topic=plain"), post("/topic/delete?topic=plain", other)])).toEqual(["200", "200"]);
    await until("it is gone", async () => (await producers("plain")) === undefined);
    expect((await get<{ topics?: object[] }>("/cluster/topics?topic=plain")).topics).toBeUndefined();
    expect(await post("/topic/delete?topic=plain", other)).toBe("200");
  });

  test("a topic that a broker has for itself is left to it, and is no topic of the cluster", async () => {
    await registered("10.0.0.2", ["REGISTER lone c"]);
    expect(await producers("lone")).toEqual(["10.0.0.2"]);
    expect(await post("/topic/create?topic=lone")).toBe("200");
    expect(await post("/topic/create?topic=lone&partition_num=1")).toBe(
      "400 already exist: 10.0.0.2:4151 has a topic lone of its own; `bunsq cluster replicas lone N` makes it a topic of the cluster",
    );
    expect((await get<{ topics?: object[] }>("/cluster/topics?topic=lone")).topics).toBeUndefined();
  });

  test("channels that are made or removed at once are all noted, so that partitions that are made later have them", async () => {
    using broker = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
    const D = "dddd000000000004";
    await brokers.put(D, "127.0.0.1", { http: `127.0.0.1:${broker.port}` });
    const record = { uid: D, partitions: 1, replicas: 1, minInSync: 1, ordered: false, durability: "write", retentionMs: 0 } as const;
    const partition = { uid: D, prefix: 9_001, replicas: [D], leader: D, epoch: 1, inSync: [D] };
    await brokers.set({
      [KEYS.topic("channels")]: SHAPES.topics.write({ ...record, retentionBytes: 0, channels: ["old"], paused: false }),
      [KEYS.partition("channels", 0)]: SHAPES.partitions.write(partition),
    });
    await until("it is known", async () => (await producers("channels"))?.join() === "127.0.0.1");
    const names = Array.from({ length: 8 }, (_, i) => `c${i}`);
    const calls = ["delete?channel=old", ...names.map((name) => `create?channel=${name}`)];
    expect(await Promise.all(calls.map((path) => post(`/channel/${path}&topic=channels&partition=**`)))).toEqual(calls.map(() => "200"));
    // The server that was asked would know them in any case.
    const noted = async () => (await get<{ channels: string[] }>("/channels?topic=channels", other)).channels.sort();
    await until("the other one knows the last one", async () => (await noted()).length === names.length);
    expect(await noted()).toEqual(names);
    await brokers.remove(D);
  });

  test("a topic that is being made is told to nobody, and its call says what is missing", async () => {
    const change = { kind: "create", partitions: 1, firstPrefix: 9_000 } as const;
    const record = { uid: A, partitions: 1, replicas: 1, minInSync: 1, ordered: false, durability: "write", retentionMs: 0 } as const;
    await brokers.set({ [KEYS.topic("half")]: SHAPES.topics.write({ ...record, retentionBytes: 0, channels: [], paused: false, change }) });
    expect(await producers("half")).toBeUndefined();
    brokers.leads = false;
    expect(await post("/topic/create?topic=leaderless&partition_num=2")).toBe(
      "503 NOT_LED: it was made, but brokers lead only 0 of its partitions after 10000 ms",
    );
  }, 60_000);
});
