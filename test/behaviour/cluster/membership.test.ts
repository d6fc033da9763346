import { expect, test } from "bun:test";
import { cpSync } from "node:fs";
import { openBroker } from "../../../src/broker/broker.ts";
import { checkDataPath } from "../../../src/broker/check/check.ts";
import { EtcdHttp } from "../../../src/cluster/etcd/etcd-http.ts";
import { ClusterKeys } from "../../../src/cluster/state/keys.ts";
import { type PartitionRecord, SHAPES } from "../../../src/cluster/state/records.ts";
import { defaultOptions, MemoryLogger, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { RawClient } from "../../support/raw-client.ts";
import { type Server, until } from "../../support/server.ts";
import { ThreeBrokers, TOPIC } from "./support/three-brokers.ts";

const LIMIT_MS = 60_000;
const KEY = new ClusterKeys("bunsq").partition(TOPIC, 0);

async function makeTopic(cluster: ThreeBrokers): Promise<number> {
  const leader = await cluster.makeTopic();
  return leader;
}

async function publish(server: Server, body: string): Promise<string> {
  const client = await RawClient.connect(server.tcpPort);
  const answer = await client.call(`PUB ${TOPIC}`, body).catch(String);
  client.terminate();
  return answer;
}

async function uidOf(server: Server): Promise<string> {
  const { uid } = (await (await server.http("GET", "/cluster/replicas")).json()) as { uid: string };
  return uid;
}

/** The partition's record, read and written around the brokers. */
async function changeRecord(endpoints: readonly string[], changes: (record: PartitionRecord) => PartitionRecord): Promise<void> {
  const etcd = new EtcdHttp({ endpoints, callLimitMs: 5_000 });
  const read = await etcd.get(KEY);
  if (read instanceof Error || read.entry === undefined) throw new Error("no record");
  const record = SHAPES.partitions.read(read.entry.value);
  if (record instanceof Error) throw record;
  const put = { put: KEY, value: SHAPES.partitions.write(changes(record)) };
  const done = await etcd.txn([{ key: KEY, modRevision: read.entry.modRevision }], [put]);
  if (done instanceof Error || !done.succeeded) throw new Error("the record has changed meanwhile");
}

describeUnless(missing("etcd"))("a broker of a cluster", () => {
  test(
    "hands over what it leads when it stops, and loses no publish that goes to another broker meanwhile",
    async () => {
      await using cluster = await ThreeBrokers.start();
      const leader = await makeTopic(cluster);
      const [other] = [0, 1, 2].filter((index) => index !== leader) as [number];
      const client = await RawClient.connect(cluster.broker(other).tcpPort);
      let isStopped = false;
      const publishing = (async () => {
        let count = 0;
        for (; !isStopped; count++) expect(await client.call(`PUB ${TOPIC}`, `message ${count}`)).toBe("OK");
        return count;
      })();
      await until("it publishes", async () => ((await cluster.replicaAt(other))?.end ?? 0) > 5);
      expect(await cluster.broker(leader).stop()).toBe(0);
      expect(cluster.broker(leader).log()).not.toContain("not handed over");
      isStopped = true;
      expect(await publishing).toBeGreaterThan(5);
      client.terminate();
    },
    LIMIT_MS,
  );

  test(
    "hands over to the replica that the record names",
    async () => {
      await using cluster = await ThreeBrokers.start();
      const leader = await makeTopic(cluster);
      let successor = "";
      await changeRecord(cluster.endpoints, (record) => {
        successor = record.replicas.find((uid) => uid !== record.leader) as string;
        return { ...record, successor };
      });
      const others = [0, 1, 2].filter((index) => index !== leader);
      const next = await cluster.leader(others);
      expect(await uidOf(cluster.broker(next))).toBe(successor);
      expect(await publish(cluster.broker(next), "to the successor")).toBe("OK");
    },
    LIMIT_MS,
  );

  test(
    "starts and stops without etcd, takes part when it is there, and goes on while it is away",
    async () => {
      await using cluster = await ThreeBrokers.start();
      const leader = await makeTopic(cluster);
      await cluster.broker(leader).stop();
      cluster.etcd.signal(0, "SIGKILL");
      await cluster.startBroker(leader);
      expect((await cluster.broker(leader).http("GET", "/ready")).status).toBe(503);
      expect(await (await cluster.broker(leader).http("GET", "/ping")).text()).toBe("OK");
      const others = [0, 1, 2].filter((index) => index !== leader);
      const next = await cluster.leader(others);
      expect(await publish(cluster.broker(next), "etcd is away")).toBe("OK");
      await cluster.etcd.restart(0);
      await until("it is ready", async () => (await cluster.broker(leader).http("GET", "/ready")).status === 200);
      await cluster.untilInSync(await cluster.leader());
      cluster.etcd.signal(0, "SIGKILL");
      expect(await cluster.broker(leader).stop()).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    "whose data path is an older copy of one that is in use is no member, and catches up when it is the only one",
    async () => {
      await using cluster = await ThreeBrokers.start();
      const leader = await makeTopic(cluster);
      const [other] = [0, 1, 2].filter((index) => index !== leader) as [number];
      await cluster.broker(other).stop();
      const copy = temporaryFolder();
      cpSync(cluster.dataPath(other), copy, { recursive: true });
      await cluster.startBroker(other);
      await cluster.untilInSync(leader);
      expect(await publish(cluster.broker(leader), "later")).toBe("OK");
      const twin = await cluster.startAt(copy);
      try {
        await until("it is refused", async () => (await (await twin.http("GET", "/ready")).text()).includes("is an older copy of it"));
        const earlier = cluster.broker(other);
        expect((await earlier.http("GET", "/ready")).status).toBe(200);
        await earlier.stop();
        await twin.stop();
        cluster.brokers[other] = await cluster.startAt(copy);
        await until("it is in sync with all that was acknowledged", async () => {
          const { in_sync = [], end } = (await cluster.replicaAt(other)) ?? {};
          return in_sync.length === 3 && end === 1;
        });
        expect(cluster.broker(other).log()).toContain("an older copy of itself");
      } finally {
        await twin.stop("SIGKILL");
        removeFolder(copy);
      }
    },
    LIMIT_MS,
  );

  test(
    "has its operators' changes of a topic in etcd, for all brokers",
    async () => {
      await using cluster = await ThreeBrokers.start();
      await makeTopic(cluster);
      const broker = cluster.broker(1);
      const post = async (path: string) => expect((await broker.http("POST", path)).status).toBe(200);
      const everywhere = async (what: string, path: string, text: string) => {
        for (const one of cluster.brokers) await until(what, async () => (await (await one.http("GET", path)).text()).includes(text));
      };
      await post(`/topic/durability?topic=${TOPIC}&level=fsync`);
      await everywhere("it waits for the disk", `/topic/durability?topic=${TOPIC}`, '"durability":"fsync"');
      await post(`/topic/retention?topic=${TOPIC}&time=1h`);
      await everywhere("it keeps messages", `/topic/retention?topic=${TOPIC}`, '"time":"1h0m0s"');
      await post(`/topic/pause?topic=${TOPIC}`);
      await everywhere("it is paused", "/stats?format=json", '"paused":true');
      await post(`/topic/unpause?topic=${TOPIC}`);
      await post(`/topic/partition/expand?topic=${TOPIC}&partition_num=3`);
      await until("all three are led", async () => (await cluster.replicasLed()) === 3);
      const refused = async (path: string) => {
        const answer = await broker.http("POST", path);
        expect([answer.status, await answer.text()]).toEqual([400, expect.stringMatching(/_OF_CLUSTER: .* lookup server/)]);
      };
      // What would be ignored, and what NSQ's tools mean for one broker.
      for (const argument of ["channel_order=key", "orderedmulti=true", "replicator=2", "partitions=0"])
        await refused(`/topic/create?topic=new&${argument}`);
      await refused(`/topic/create?topic=${TOPIC}&extend=true`);
      await refused(`/topic/meta/update?topic=${TOPIC}&upgradeext=true`);
      await refused(`/topic/delete?topic=${TOPIC}`);
      expect(await cluster.replicasLed()).toBe(3);
      await post(`/topic/delete?topic=${TOPIC}&partition=**`);
      for (const one of cluster.brokers)
        await until("it is gone", async () => !(await (await one.http("GET", "/stats?format=json")).text()).includes(TOPIC));
      // A lookup server may have deleted it before brokers are asked.
      await post(`/topic/delete?topic=${TOPIC}`);
      await post(`/topic/delete?topic=${TOPIC}&partition=**`);
    },
    LIMIT_MS,
  );

  test(
    "leaves a data path that can be checked and repaired, and that no broker serves on its own",
    async () => {
      await using cluster = await ThreeBrokers.start();
      const leader = await makeTopic(cluster);
      for (let i = 0; i < 20; i++) expect(await publish(cluster.broker(leader), `message ${i}`)).toBe("OK");
      await cluster.untilInSync(leader);
      for (const signal of ["SIGKILL", "SIGTERM"] as const) {
        await cluster.broker(leader).stop(signal);
        const options = defaultOptions({ dataPath: cluster.dataPath(leader) });
        for (const repairs of [false, true]) {
          const lines: string[] = [];
          expect([await checkDataPath(options, repairs, (line) => lines.push(line)), lines.join("\n")]).toEqual([
            true,
            expect.stringContaining("20 messages, sequences 0 to 19"),
          ]);
        }
        expect(() => openBroker(options, new MemoryLogger())).toThrow("has partitions of a cluster");
        await cluster.startBroker(leader);
        await cluster.untilInSync(await cluster.leader());
      }
      expect((await cluster.replicaAt(leader))?.end).toBe(20);
    },
    LIMIT_MS,
  );

  test(
    "does not lead with what is left when its files were lost, and gets everything again",
    async () => {
      await using cluster = await ThreeBrokers.start();
      const leader = await makeTopic(cluster);
      for (let i = 0; i < 20; i++) expect(await publish(cluster.broker(leader), `message ${i}`)).toBe("OK");
      await cluster.untilInSync(leader);
      const uid = await uidOf(cluster.broker(leader));
      await Promise.all(cluster.brokers.map(({ stop }) => stop("SIGKILL")));
      removeFolder(cluster.folder(leader));
      await cluster.startBroker(leader);
      // It says so in etcd, while the others are away.
      await until("it left the in-sync set", async () => (await cluster.replicaAt(leader))?.in_sync.includes(uid) === false);
      expect((await cluster.replicaAt(leader))?.role).not.toBe("leader");
      const others = [0, 1, 2].filter((index) => index !== leader);
      for (const index of others) await cluster.startBroker(index);
      const next = await cluster.leader(others);
      await cluster.untilInSync(next);
      for (const index of [0, 1, 2]) await until("it has all", async () => (await cluster.replicaAt(index))?.end === 20);
    },
    LIMIT_MS,
  );
});
