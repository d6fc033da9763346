import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { EtcdHttp } from "../../../src/cluster/etcd/etcd-http.ts";
import { ClusterKeys } from "../../../src/cluster/state/keys.ts";
import { type BrokerRecord, SHAPES } from "../../../src/cluster/state/records.ts";
import { RealEtcd } from "../../support/etcd.ts";
import { startLookupServer } from "../../support/lookup.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { type Running, until } from "../../support/server.ts";

const KEYS = new ClusterKeys("test");
const [A, B] = ["aaaa000000000001", "bbbb000000000002"];

interface Status {
  healthy: boolean;
  controller: string;
  lookups: { id: string; http: string }[];
  brokers: { uid: string; http: string; removal: { state: string } | null }[];
  moves: { what: string; from: string; to: string; why: string }[];
  risks: { kind: string; text: string }[];
}

describeUnless(missing("etcd"))("lookup servers with etcd", () => {
  let etcd: RealEtcd;
  let client: EtcdHttp;
  const lookups: Running[] = [];

  const flags = () => [
    `--etcd-endpoints=${etcd.endpoints.join(",")}`,
    "--cluster=test",
    "--broadcast-address=127.0.0.1",
    "--cluster-lease=1s",
  ];
  const get = async (path: string, lookup = lookups[0] as Running) => (await lookup.http("GET", path)).json();
  const status = async (lookup?: Running) => (await get("/cluster/status", lookup)) as Status;
  const post = async (path: string, lookup = lookups.at(-1) as Running) => {
    const answer = await lookup.http("POST", path);
    const body = await answer.text();
    return `${answer.status} ${body === "" ? "" : ((JSON.parse(body) as { message?: string }).message ?? "")}`.trim();
  };
  const broker = (uid: string, host: string): Promise<unknown> => {
    const nothing = { disk: { sizeBytes: 0, freeBytes: 0 }, load: { inBytesPerSecond: 0, outBytesPerSecond: 0, storedBytes: 0 } };
    const at = { tcp: `${host}:4150`, http: `${host}:4151`, replication: `${host}:4152` };
    const record: BrokerRecord = { uid, run: "r", ...at, region: "", zone: "", version: "1", ...nothing };
    return client.put(KEYS.member("brokers", uid), SHAPES.brokers.write(record));
  };

  beforeAll(async () => {
    etcd = await RealEtcd.start();
    client = new EtcdHttp({ endpoints: etcd.endpoints, callLimitMs: 5_000 });
    for (let i = 0; i < 2; i++) lookups.push(await startLookupServer("bunsq", flags()));
    await until("both are members", async () =>
      (await Promise.all(lookups.map((one) => one.http("GET", "/cluster/status")))).every(({ ok }) => ok),
    );
    await until("one is the controller", async () => (await status()).lookups.length === 2 && (await status()).controller !== "");
  });

  afterAll(async () => {
    await Promise.all(lookups.map((lookup) => lookup.stop()));
    await etcd[Symbol.asyncDispose]();
  });

  test("know each other and one controller, and are well without brokers", async () => {
    const [first, second] = await Promise.all(lookups.map((lookup) => status(lookup)));
    expect(first?.lookups.map(({ http }) => http).sort()).toEqual(lookups.map(({ httpPort }) => `127.0.0.1:${httpPort}`).sort());
    expect(first).toMatchObject({ healthy: true, brokers: [], risks: [] });
    expect(second?.controller).toBe(first?.controller as string);
    expect(first?.lookups.map(({ id }) => id)).toContain(first?.controller as string);
  });

  test("take what operators ask for at any of them, and the controller does it", async () => {
    await Promise.all([broker(A, "10.0.0.1"), broker(B, "10.0.0.2")]);
    await until("both know the brokers", async () => (await Promise.all(lookups.map(status))).every(({ brokers }) => brokers.length === 2));
    const topic = {
      partitions: 1,
      replicas: 2,
      minInSync: 2,
      ordered: false,
      durability: "write",
      retentionMs: 0,
      retentionBytes: 0,
    } as const;
    const record = { uid: A, ...topic, channels: [], paused: false };
    const partition = { uid: A, prefix: 1, replicas: [A, B], leader: A, epoch: 1, inSync: [A, B] };
    await client.txn(
      [],
      [
        { put: KEYS.topic("t"), value: SHAPES.topics.write(record) },
        { put: KEYS.partition("t", 0), value: SHAPES.partitions.write(partition) },
      ],
    );
    const topics = async () => ((await get("/cluster/topics?topic=t")) as { topics: object[] }).topics;
    await until("the topic is known", async () => (await topics())?.length === 1);
    expect(await topics()).toEqual([
      {
        ...{
          topic: "t",
          partition_num: 1,
          key_partitions: 1,
          replicas: 2,
          min_in_sync: 2,
          ordered: false,
          durability: "write",
          change: null,
        },
        partitions: [{ partition: 0, leader: A, epoch: 1, replicas: [A, B], in_sync: [A, B], move: null }],
      },
    ]);
    expect(await post("/cluster/lead?topic=t&partition=0&to=10.0.0.2")).toBe("200");
    // No broker hands over here, so the move stays until it is forced.
    await until("it is under way", async () => (await status()).moves[0]?.what === "lead");
    await until("it is done by force", async () => (await status()).moves.length === 0);
    expect(await topics()).toMatchObject([{ partitions: [{ leader: B, epoch: 2 }] }]);
    expect(await post("/cluster/min-in-sync?topic=t&min_in_sync=1")).toBe("200");
    await until("it is set", async () => ((await topics())[0] as { min_in_sync: number } | undefined)?.min_in_sync === 1);
    expect(await post("/cluster/remove-node?node=aaaa")).toBe("200");
    await until("it says what it lacks", async () => (await status()).risks.some(({ kind }) => kind === "removal-stuck"));
    expect(await post("/cluster/remove-node?node=10.0.0.1:4151&cancel=true")).toBe("200");
    await until("it stays", async () => (await status()).brokers.every(({ removal }) => removal === null));
  });

  test("refuse what makes no sense, in words", async () => {
    const known = "known are 10.0.0.1:4151 (aaaa0000), 10.0.0.2:4151 (bbbb0000)";
    const answers: Record<string, string> = {
      "/cluster/move?topic=t&partition=0&from=10.0.0.1": "400 MISSING_ARG_TO",
      "/cluster/move?topic=t&partition=x&from=a&to=b": "400 INVALID_ARG_PARTITION",
      "/cluster/move?topic=t&partition=0&from=10.0.0.1&to=nobody": `404 NO_SUCH_BROKER: there is no broker "nobody"; ${known}`,
      "/cluster/move?topic=t&partition=0&from=10.0.0.1&to=10.0.0.2": "400 INVALID: 10.0.0.2:4151 (bbbb0000) has a replica of t/0",
      "/cluster/move?topic=t&partition=7&from=10.0.0.1&to=10.0.0.2": "404 NO_SUCH_PARTITION: topic t has no partition 7",
      "/cluster/lead?topic=u&partition=0": "404 NO_SUCH_PARTITION: topic u has no partition 0",
      "/topic/partition/move?topic=t&partition=0&move_from=10.0.0.1:4152:4150:7&move_to=10.0.0.2:0:4150:7&move_leader=true":
        "400 move from not the topic leader",
      "/topic/partition/move?topic=t&partition=0&move_from=10.0.0.1:0:4150:7&move_to=10.0.0.2:0:4150:7":
        "400 INVALID: 10.0.0.2:4151 (bbbb0000) has a replica of t/0",
      "/cluster/node/remove?remove_node=10.0.0.9:0:4150:7": `404 NO_SUCH_BROKER: there is no broker "10.0.0.9:4150"; ${known}`,
      "/cluster/remove-node?node=": "400 MISSING_ARG_NODE",
      "/cluster/remove-node?node=10.0.0.1&cancel=true": "404 NO_SUCH_BROKER: broker 10.0.0.1:4151 (aaaa0000) is not being removed",
      "/cluster/replicas?topic=t&replicas=3": "400 TOO_FEW_BROKERS: 3 replicas need as many brokers; 2 are alive and not being removed",
      "/cluster/replicas?topic=t&replicas=17": "400 INVALID_ARG_REPLICAS",
      "/cluster/replicas?topic=u&replicas=1": "404 NO_SUCH_TOPIC: there is no topic u in the cluster",
      "/cluster/min-in-sync?topic=t&min_in_sync=3": "400 INVALID: topic t has 2 replicas, so no more than these can be in sync",
      "/cluster/expand?topic=t&partitions=0": "400 INVALID_ARG_PARTITIONS",
    };
    const got = await Promise.all(Object.keys(answers).map(async (path) => [path, await post(path)]));
    expect(Object.fromEntries(got)).toEqual(answers);
    expect(await (await (lookups[0] as Running).http("GET", "/cluster/topics?topic=u")).json()).toEqual({
      message: "NO_SUCH_TOPIC: there is no topic u in the cluster",
    });
  });

  test("replace a controller that is killed", async () => {
    const { controller } = await status();
    const dead = lookups.findIndex(({ httpPort }) => controller.endsWith(`:${httpPort}`));
    await lookups[dead]?.stop("SIGKILL");
    lookups.splice(dead, 1);
    await until("the other one is the controller", async () => {
      const now = await status();
      return now.controller !== "" && now.controller !== controller && now.lookups.length === 1;
    });
  });

  test("say that they do not reach etcd", async () => {
    etcd.signal(0, "SIGKILL");
    await until("it is said", async () => (await status()).risks.some(({ kind }) => kind === "etcd-away"));
    expect(await post("/cluster/remove-node?node=aaaa")).toStartWith("503 UNKNOWN_OUTCOME: ");
    await etcd.restart(0);
    await until("it is well again", async () => !(await status()).risks.some(({ kind }) => kind === "etcd-away"));
  });
});

describe("a lookup server without etcd", () => {
  test("says that it is in no cluster", async () => {
    const lookup = await startLookupServer();
    const answer = await lookup.http("GET", "/cluster/status");
    expect([answer.status, await answer.json()]).toEqual([
      400,
      { message: "NO_CLUSTER: this lookup server was started without -etcd-endpoints" },
    ]);
    await lookup.stop();
  });

  test("waits for one that does not answer, and says so", async () => {
    const lookup = await startLookupServer("bunsq", ["--etcd-endpoints=127.0.0.1:1"]);
    const [status, ready] = await Promise.all(["/cluster/status", "/ready"].map((path) => lookup.http("GET", path)));
    expect([status?.status, await status?.json()]).toEqual([503, { message: "ETCD_AWAY: etcd has not answered yet" }]);
    expect([ready?.status, await ready?.text()]).toEqual([503, "NOK - starting: etcd has not answered yet"]);
    expect(await lookup.stop()).toBe(0);
  });
});
