import { expect, test } from "bun:test";
import { InProcessLookup } from "../../lookup/support/in-process.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";
import { Cluster } from "./support/cluster.ts";

// Topics that are made while others make them, too, or while brokers are away or come back.

/** The indexes that each broker has of a topic, by what the broker says. */
async function held({ brokers }: Cluster, topic: string): Promise<number[][]> {
  const answers = brokers.map(async (broker) => {
    const stats = await (await broker.http("GET", `/stats?format=json&topic=${topic}`)).json();
    const { topics } = stats as { topics: { partitions?: { partition: number }[] }[] };
    return topics[0]?.partitions?.map(({ partition }) => partition) ?? [];
  });
  return Promise.all(answers);
}

test("two lookup servers that are asked for the same topics at once make each partition once", async () => {
  const lookups = [1, 2].map(() => InProcessLookup.settled({ broadcastAddress: "127.0.0.1" }));
  await using cluster = await Cluster.start(2, lookups);
  const names = Array.from({ length: 10 }, (_, i) => `t${i}`);
  const calls = names.flatMap((name) => [0, 1, 0].map((at) => cluster.post(`/topic/create?topic=${name}&partition_num=6`, at)));
  expect(new Set(await Promise.all(calls))).toEqual(new Set(["200"]));
  const expands = names.flatMap((name) => [1, 0].map((at) => cluster.post(`/topic/partition/expand?topic=${name}&partition_num=9`, at)));
  expect(new Set(await Promise.all(expands))).toEqual(new Set(["200"]));
  for (const name of names) {
    expect((await held(cluster, name)).flat().sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    const [one, other] = await Promise.all([0, 1].map(async (at) => (await cluster.places(name, undefined, at)).partitions));
    const ports = (places: typeof one) => Object.entries(places ?? {}).map(([index, { tcp_port }]) => `${index} ${tcp_port}`);
    expect(ports(other)).toEqual(ports(one));
  }
}, 60_000);

test("a lookup server that was started lately makes no topic a second time whose broker is on its way back", async () => {
  const first = InProcessLookup.settled({ broadcastAddress: "127.0.0.1" });
  const dataPath = temporaryFolder();
  await using cluster = new Cluster([first]);
  cluster.brokers.push(await cluster.startBroker(1), await cluster.startBroker(2, dataPath));
  await cluster.untilBrokers(2);
  expect(await cluster.post("/topic/create?topic=t&partition_num=4")).toBe("200");
  const before = await held(cluster, "t");
  await cluster.brokers[1]?.stop();
  // The next one knows the first broker when it is asked, and the second one later.
  const restarted = new InProcessLookup({ broadcastAddress: "127.0.0.1" });
  cluster.lookups[0] = restarted;
  await cluster.brokers[0]?.http("PUT", "/config/nsqlookupd_tcp_addresses", JSON.stringify([`127.0.0.1:${restarted.server.tcpPort}`]));
  await cluster.untilBrokers(1);
  const made = ["t", "other"].map((name) => cluster.post(`/topic/create?topic=${name}&partition_num=4`));
  cluster.brokers[1] = await cluster.startBroker(2, dataPath);
  expect(await Promise.all(made)).toEqual(["200", "200"]);
  expect(await held(cluster, "t")).toEqual(before);
  expect((await held(cluster, "other")).flat().sort()).toEqual([0, 1, 2, 3]);
  await first[Symbol.asyncDispose]();
  await cluster.brokers[1]?.stop();
  removeFolder(dataPath);
}, 30_000);

test("a topic of a lookup server that was started lately is found at once if it is complete", async () => {
  await using cluster = await Cluster.start(1, [new InProcessLookup({ broadcastAddress: "127.0.0.1" })]);
  const [broker] = cluster.brokers;
  expect((await broker?.http("POST", "/topic/create?topic=t&partition_num=2"))?.status).toBe(200);
  await until("it is registered", async () => Object.keys((await cluster.places("t")).partitions ?? {}).length === 2);
  const { status } = await fetch(`http://127.0.0.1:${cluster.lookups[0]?.server.httpPort}/ready`);
  expect([await cluster.post("/topic/create?topic=t&partition_num=2"), status]).toEqual(["200", 503]);
});
