import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { InProcessLookup } from "../../lookup/support/in-process.ts";
import { identityOf } from "../../lookup/support/lookup-client.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";
import { Cluster, type Places } from "./support/cluster.ts";

// Topics that are made and changed at a lookup server, at real brokers. Texts and statuses are those of the transcripts of Youzan's, unless
// the test says what theirs was.

describe("topics at two brokers", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start(2);
  });
  afterAll(() => cluster[Symbol.asyncDispose]());
  const post = (target: string) => cluster.post(target);

  test.each([
    ["partition_num=0", "INVALID_ARG_TOPIC_PARTITION_NUM"],
    // Theirs: at most 254.
    ["partition_num=1025", "INVALID_ARG_TOPIC_PARTITION_NUM"],
    ["partition_num=x", "INVALID_ARG_TOPIC_PARTITION_NUM"],
    ["partition_num=1&replicator=6", "INVALID_ARG_TOPIC_REPLICATOR"],
    ["partition_num=1&replicator=0", "INVALID_ARG_TOPIC_REPLICATOR"],
    // Theirs: refused if there are too few nodes, without a reason.
    [
      "partition_num=2&replicator=2",
      "ErrType:9 ErrCode:1 : No node is available for topic: several replicas need a cluster, which this lookup server does not have; give replicator=1",
    ],
    ["partition_num=1&retention=61", "max retention days allowed exceed"],
    ["partition_num=1&syncdisk=4001", "INVALID_ARG_TOPIC_SYNCDISK"],
    ["partition_num=1&orderedmulti=yes", "INVALID_ARG_ORDEREDMULTI"],
  ])("a topic with %s is refused", async (query, message) => {
    // Theirs: replicator must be given. Without a cluster there is one replica.
    expect(await post(`/topic/create?topic=refused&${query}`)).toBe(`400 {"message":"${message}"}`);
    expect(await post("/topic/create?partition_num=1")).toBe('400 {"message":"MISSING_ARG_TOPIC"}');
    expect(await post("/topic/create?topic=s!5&partition_num=1")).toBe('400 {"message":"INVALID_ARG_TOPIC"}');
    expect((await cluster.places("refused", "access=r")).partitions).toEqual({});
  });

  test("its partitions are spread, and usable when the answer comes", async () => {
    expect(await post("/topic/create?topic=mp&partition_num=4&replicator=1&multipart=true&extend=true&suggestload=5")).toBe("200");
    expect(await cluster.counts("mp")).toEqual([2, 2]);
    const { meta, partitions } = await cluster.places("mp");
    expect(meta).toEqual({
      disable_channel_auto_create: false,
      extend_support: true,
      multi_part: true,
      ordered: false,
      partition_num: 4,
      replica: 1,
    } as object as Places["meta"]);
    for (const [index, { http_port }] of Object.entries(partitions)) {
      const response = await fetch(`http://127.0.0.1:${http_port}/pub?topic=mp&partition=${index}`, { method: "POST", body: "x" });
      expect(await response.text()).toBe("OK");
    }
    // A repetition is no error, but another number is.
    expect(await post("/topic/create?topic=mp&partition_num=4&replicator=1&multipart=true")).toBe("200");
    expect(await cluster.counts("mp")).toEqual([2, 2]);
    expect(await post("/topic/create?topic=mp&partition_num=5&replicator=1")).toBe('400 {"message":"already exist"}');
    expect(await post("/topic/create?topic=mp&partition_num=4&orderedmulti=true")).toBe('400 {"message":"already exist"}');
  });

  test("many topics of one partition are spread, too", async () => {
    for (let i = 0; i < 20; i++) expect(await post(`/topic/create?topic=one-${i}&partition_num=1`)).toBe("200");
    let first = 0;
    for (let i = 0; i < 20; i++) first += (await cluster.counts(`one-${i}`))[0] ?? 0;
    expect(first).toBeWithin(4, 17);
  });

  test("a topic gets more partitions, which those that it has survive", async () => {
    expect(await post("/topic/create?topic=grow&partition_num=3&orderedmulti=true")).toBe("200");
    const before = (await cluster.places("grow")).partitions;
    expect(await post("/topic/partition/expand?topic=grow&partition_num=7")).toBe("200");
    const { meta, partitions } = await cluster.places("grow");
    expect(meta).toMatchObject({ partition_num: 7, ordered: true });
    expect(Object.keys(partitions)).toEqual(["0", "1", "2", "3", "4", "5", "6"]);
    for (const index of Object.keys(before)) expect(partitions[index]?.tcp_port).toBe(before[index]?.tcp_port ?? 0);
    // Theirs: 500 in both cases. Nothing is wrong with the server.
    expect(await post("/topic/partition/expand?topic=grow&partition_num=2")).toBe(
      '400 {"message":"the partition number can not be reduced"}',
    );
    expect(await post("/topic/partition/expand?topic=nope&partition_num=2")).toBe('404 {"message":"topic is not created"}');
    expect(await post("/topic/partition/expand?topic=grow")).toBe('400 {"message":"MISSING_ARG_TOPIC_PARTITION_NUM"}');
  });

  test("settings of a topic are changed at all its brokers", async () => {
    expect(await post("/topic/create?topic=set&partition_num=2&retention=3&syncdisk=1")).toBe("200");
    const told = async (path: string) => {
      const answers = cluster.brokers.map(async (broker) => (await broker.http("GET", `${path}?topic=set`)).json());
      return Promise.all(answers) as Promise<Record<string, unknown>[]>;
    };
    const retention = async () => (await told("/topic/retention")).map(({ time }) => time);
    const level = async () => (await told("/topic/durability")).map(({ level }) => level);
    expect(await retention()).toEqual(["72h0m0s", "72h0m0s"]);
    expect(await level()).toEqual(["fsync", "fsync"]);
    expect(await post("/topic/meta/update?topic=set&retention=7&syncdisk=100")).toBe("200");
    expect(await retention()).toEqual(["168h0m0s", "168h0m0s"]);
    expect(await level()).toEqual(["write", "write"]);
    expect(await post("/topic/meta/update?topic=set&retention=0&syncdisk=0&replicator=1&upgradeext=true")).toBe("200");
    expect(await retention()).toEqual(["0s", "0s"]);
    expect(await level()).toEqual(["default", "default"]);
    expect(await post("/topic/meta/update?topic=set&channel_order=odd")).toBe('400 {"message":"INVALID_ARG_CHANNEL_ORDER"}');
    expect(await post("/topic/meta/update?topic=set")).toBe("200");
    expect(await post("/topic/meta/update?topic=set&replicator=9")).toBe('400 {"message":"INVALID_ARG_TOPIC_REPLICATOR"}');
    expect(await post("/topic/meta/update?topic=set&retention=61")).toBe('400 {"message":"max retention days allowed exceed"}');
    // Theirs: 400.
    expect(await post("/topic/meta/update?topic=nope&retention=1")).toBe('404 {"message":"topic is not created"}');
  });

  test("a topic without headers gets them, and one of made channels makes them itself again", async () => {
    const flags = "extend=false&disable_channel_auto_create=true";
    expect(await post(`/topic/create?topic=upgrade&partition_num=1&${flags}`)).toBe("200");
    const meta = async () => (await cluster.places("upgrade")).meta;
    expect(await meta()).toMatchObject({ extend_support: false, disable_channel_auto_create: true });
    // A repetition must say the same.
    expect(await post(`/topic/create?topic=upgrade&partition_num=1&${flags}`)).toBe("200");
    for (const other of ["extend=true", "multipart=true", "disable_channel_auto_create=false"]) {
      expect(await post(`/topic/create?topic=upgrade&partition_num=1&${other}`)).toBe('400 {"message":"already exist"}');
    }
    expect(await post("/topic/meta/update?topic=upgrade&upgradeext=false&disable_channel_auto_create=false")).toBe("200");
    await until("channels are made by SUB", async () => !(await meta()).disable_channel_auto_create);
    expect(await meta()).toMatchObject({ extend_support: false });
    expect(await post("/topic/meta/update?topic=upgrade&upgradeext=true")).toBe("200");
    await until("messages may have headers", async () => (await meta()).extend_support);
  });

  test("a topic without headers is upgraded at all its brokers, and new channels get the order that was asked for", async () => {
    expect(await post("/topic/create?topic=up&partition_num=2&extend=false&channel_order=partition")).toBe("200");
    expect((await cluster.places("up")).meta.extend_support).toBeFalse();
    const publish = (at: number) => cluster.brokers[at].http("POST", "/pub?topic=up&ext=%7B%7D", "x");
    const orders = async (channel: string) => {
      expect(await post(`/channel/create?topic=up&channel=${channel}&partition=**`)).toBe("200");
      const told = cluster.brokers.map((broker) => broker.http("GET", `/channel/settings?topic=up&channel=${channel}`));
      return Promise.all(told.map(async (answer) => ((await (await answer).json()) as { order: string }).order));
    };
    expect([(await publish(0)).status, (await publish(1)).status]).toEqual([400, 400]);
    expect(await orders("before")).toEqual(["partition", "partition"]);
    expect(await post("/topic/meta/update?topic=up&upgradeext=true&channel_order=key")).toBe("200");
    expect([(await publish(0)).status, (await publish(1)).status]).toEqual([200, 200]);
    expect(await orders("after")).toEqual(["key", "key"]);
    await until("the lookup server has heard of it", async () => (await cluster.places("up")).meta.extend_support);
  });

  test("channels are made and deleted at all brokers, and for all partitions", async () => {
    expect(await post("/topic/create?topic=chans&partition_num=4")).toBe("200");
    expect(await post("/channel/create?topic=chans&channel=ch&partition=**")).toBe("200");
    const channels = async () =>
      Promise.all(
        cluster.brokers.map(async (broker) => {
          const { topics } = (await (await broker.http("GET", "/stats?format=json&topic=chans")).json()) as {
            topics: { channels: { channel_name: string }[] }[];
          };
          return topics[0]?.channels.map(({ channel_name }) => channel_name) ?? [];
        }),
      );
    expect(await channels()).toEqual([["ch"], ["ch"]]);
    expect((await cluster.places("chans")).channels).toEqual(["ch"]);
    expect(await post("/channel/delete?topic=chans&channel=ch&partition=**")).toBe("200");
    expect(await channels()).toEqual([[], []]);
    expect((await cluster.places("chans")).channels).toEqual([]);
    expect(await post("/channel/delete?topic=chans&channel=ch&partition=**")).toBe('404 {"message":"CHANNEL_NOT_FOUND"}');
    expect(await post("/channel/create?topic=nope&channel=ch&partition=**")).toBe('404 {"message":"TOPIC_NOT_FOUND"}');
    expect(await post("/channel/create?topic=chans&channel=ch&partition=0")).toBe('400 {"message":"INVALID_ARG_TOPIC_PARTITION"}');
  });

  test("a topic is deleted at all brokers", async () => {
    expect(await post("/topic/create?topic=gone&partition_num=4")).toBe("200");
    expect(await post("/topic/delete?topic=gone&partition=0")).toBe('400 {"message":"REMOVE_SINGLE_PARTITION_NOT_ALLOWED"}');
    expect(await post("/topic/delete?topic=gone&partition=**")).toBe("200");
    for (const broker of cluster.brokers) expect((await broker.http("POST", "/topic/delete?topic=gone")).status).toBe(404);
    // Theirs: 500.
    expect(await post("/topic/delete?topic=gone&partition=**")).toBe('404 {"message":"Key not found"}');
  });

  test("the calls of NSQ change nothing at brokers", async () => {
    expect(await post("/topic/create?topic=plain")).toBe("200");
    expect(await post("/channel/create?topic=plain&channel=c")).toBe("200");
    for (const broker of cluster.brokers) expect((await broker.http("POST", "/topic/delete?topic=plain")).status).toBe(404);
    expect(await post("/topic/delete?topic=plain")).toBe("200");
  });
});

test("a broker that is away keeps its partitions, and they are only made again when somebody says so", async () => {
  await using cluster = await Cluster.start(1);
  const dataPath = temporaryFolder();
  const second = await cluster.startBroker(2, dataPath);
  cluster.brokers.push(second);
  await cluster.untilBrokers(2);
  expect(await cluster.post("/topic/create?topic=t&partition_num=4")).toBe("200");
  const places = async () => Object.entries((await cluster.places("t")).partitions).map(([index, peer]) => `${index} ${peer.tcp_port}`);
  const all = await places();
  await second.stop();
  await cluster.untilBrokers(1);
  const left = await places();
  expect(left).toHaveLength(2);
  const missing = ["0", "1", "2", "3"].filter((index) => !left.some((place) => place.startsWith(`${index} `)));
  const refusal = `400 {"message":"already exist: no registered broker has its partitions ${missing.join(", ")}; if they are lost, give fill=true to make them again"}`;
  for (const call of ["/topic/create?topic=t&partition_num=4", "/topic/partition/expand?topic=t&partition_num=6"]) {
    expect(await cluster.post(call)).toBe(refusal);
  }
  expect((await cluster.places("t")).meta.partition_num).toBe(4);
  cluster.brokers[1] = await cluster.startBroker(2, dataPath, [`--broadcast-tcp-port=${second.tcpPort}`]);
  await cluster.untilBrokers(2);
  await until("all partitions are back", async () => Bun.deepEquals(await places(), all));
  await cluster.brokers[1].stop();
  cluster.brokers.pop();
  await cluster.untilBrokers(1);
  expect(await cluster.post("/topic/create?topic=t&partition_num=4&fill=true")).toBe("200");
  expect(await places()).toHaveLength(4);
  removeFolder(dataPath);
}, 60_000);

test("without brokers that make partitions no topic is made", async () => {
  await using lookup = InProcessLookup.settled();
  const client = await lookup.client();
  await client.identify(identityOf("nsqd"));
  const url = `http://127.0.0.1:${lookup.server.httpPort}/topic/create?topic=t&partition_num=1`;
  const response = await fetch(url, { method: "POST" });
  expect(`${response.status} ${await response.text()}`).toBe(
    '400 {"message":"ErrType:9 ErrCode:1 : No node is available for topic: no broker that makes partitions is registered here"}',
  );
});

test("a broker that fails is named with its reason", async () => {
  await using lookup = InProcessLookup.settled();
  using broken = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => Response.json({ message: "PUB_FAILED" }, { status: 503 }) });
  const client = await lookup.client();
  const port = broken.port ?? 0;
  await client.identify({ ...identityOf("127.0.0.1", { http_port: port }), registers_partitions: true } as ReturnType<typeof identityOf>);
  const url = `http://127.0.0.1:${lookup.server.httpPort}/topic/create?topic=t&partition_num=1`;
  const response = await fetch(url, { method: "POST" });
  expect(`${response.status} ${await response.text()}`).toBe(`503 {"message":"BROKERS_FAILED: 127.0.0.1:${port} answered 503 PUB_FAILED"}`);
});

test("the answer waits for the brokers to register what they made", async () => {
  await using lookup = InProcessLookup.settled();
  const called = Promise.withResolvers<string>();
  using slow = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: ({ url }) => {
      called.resolve(new URL(url).search);
      return new Response();
    },
  });
  const client = await lookup.client();
  await client.identify({ ...identityOf("127.0.0.1", { http_port: slow.port ?? 0 }), registers_partitions: true } as ReturnType<
    typeof identityOf
  >);
  let isAnswered = false;
  const url = `http://127.0.0.1:${lookup.server.httpPort}/topic/create?topic=t&partition_num=2`;
  const made = fetch(url, { method: "POST" }).then(({ status }) => {
    isAnswered = true;
    return status;
  });
  expect(await called.promise).toBe("?topic=t&partition_num=2&partitions=0%2C1");
  expect(await client.call("REGISTER t 0")).toBe("OK");
  expect(await client.call('SETTINGS t {"partition_num":2}')).toBe("OK");
  for (let i = 0; i < 20; i++) await lookup.get("/topics");
  expect(isAnswered).toBe(false);
  expect(await client.call("REGISTER t 1")).toBe("OK");
  expect(await made).toBe(200);
});

test.each([
  "/topic/meta/update?topic=t&channel_order=key",
  "/topic/delete?topic=t&partition=**",
  "/channel/create?topic=t&channel=c&partition=**",
  "/channel/delete?topic=t&channel=c&partition=**",
])("after a start %s waits for all brokers, and is not for the first ones alone", async (target) => {
  let nowMs = 0;
  await using lookup = new InProcessLookup({}, { monotonicMs: () => nowMs, wallMs: () => Date.now() });
  const called: string[] = [];
  await using brokers = new AsyncDisposableStack();
  const register = async (name: string) => {
    const server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: ({ url }) => {
        called.push(`${name} ${new URL(url).pathname}`);
        return new Response();
      },
    });
    brokers.defer(() => server.stop(true));
    const client = await lookup.client();
    const identity = { ...identityOf("127.0.0.1", { http_port: server.port ?? 0 }), registers_partitions: true };
    await client.identify(identity as ReturnType<typeof identityOf>);
    expect(await client.call("REGISTER t 0 c")).toBe("OK");
  };
  await register("one");
  const answered = fetch(`http://127.0.0.1:${lookup.server.httpPort}${target}`, { method: "POST" });
  for (let i = 0; i < 20; i++) await lookup.get("/topics");
  await register("other");
  nowMs = 5_000;
  expect((await answered).status).toBe(200);
  const path = target.startsWith("/topic/meta/update") ? "/topic/create" : new URL(target, "http://x").pathname;
  expect(called.toSorted()).toEqual([`one ${path}`, `other ${path}`]);
});
