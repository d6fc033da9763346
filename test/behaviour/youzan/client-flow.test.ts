import { expect, test } from "bun:test";
import { InProcessLookup } from "../../lookup/support/in-process.ts";
import { identityOf } from "../../lookup/support/lookup-client.ts";
import { findNsqlookupd, startLookupServer } from "../../support/lookup.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { type Running, type Server, startServer, until } from "../../support/server.ts";
import { type Peer, YouzanLookup } from "./support/youzan-lookup.ts";

// What Youzan's Go client does with lookup servers: it asks each for the others, then for a topic's partitions, to read or to write. It goes
// by what the answers say alone.

/** Publishes to the partition of a key. @returns the partition */
async function publishOrdered(client: YouzanLookup, topic: string, key: string, body: string): Promise<number> {
  const { index, peer } = await client.partitionOf(topic, key);
  const url = `http://${peer.broadcast_address}:${peer.http_port}/pub?topic=${topic}&partition=${index}`;
  expect(await (await fetch(url, { method: "POST", body })).text()).toBe("OK");
  return index;
}

function startBroker(id: number, ...lookupPorts: number[]): Promise<Server> {
  const addresses = lookupPorts.map((port) => `--lookupd-tcp-address=127.0.0.1:${port}`);
  return startServer({ args: ["--broadcast-address=127.0.0.1", `--node-id=${id}`, ...addresses] });
}

/** The depth of each partition of a topic that a broker has, by its index. */
async function depths(broker: Running, topic: string): Promise<Record<number, number>> {
  const { topics } = (await (await broker.http("GET", `/stats?format=json&topic=${topic}`)).json()) as {
    topics: { depth: number; partitions?: { partition: number; depth: number }[] }[];
  };
  return Object.fromEntries((topics[0]?.partitions ?? []).map(({ partition, depth }) => [partition, depth]));
}

test("a producer finds the partition of each key, and a consumer all partitions, at two brokers", async () => {
  await using lookup = InProcessLookup.settled({ broadcastAddress: "127.0.0.1" });
  const { tcpPort, httpPort } = lookup.server;
  await using one = await startBroker(1, tcpPort);
  await using two = await startBroker(2, tcpPort);
  await until("both brokers are registered", async () => ((await lookup.get("/nodes")) as { producers: object[] }).producers.length === 2);
  const url = `http://127.0.0.1:${httpPort}/topic/create?topic=t&partition_num=8&replicator=1&extend=true`;
  expect((await fetch(url, { method: "POST" })).status).toBe(200);
  const client = new YouzanLookup(`127.0.0.1:${httpPort}`);
  expect(await client.discover()).toEqual([`127.0.0.1:${httpPort}`]);
  const connections = await client.connections("t");
  expect(connections.map((connection) => connection.split(" ")[1]).sort()).toEqual([..."01234567"]);
  for (const { tcpPort: port } of [one, two]) expect(connections.filter((each) => each.startsWith(`${port} `))).toHaveLength(4);
  const expected: Record<number, number> = {};
  for (let i = 0; i < 40; i++) {
    const index = await publishOrdered(client, "t", `key ${i}`, `${i}`);
    expected[index] = (expected[index] ?? 0) + 1;
  }
  const stored = { ...(await depths(one, "t")), ...(await depths(two, "t")) };
  expect(Object.keys(stored)).toHaveLength(8);
  for (const [index, depth] of Object.entries(stored)) expect(depth).toBe(expected[Number(index)] ?? 0);
}, 60_000);

test("a broker of NSQ beside ours is read by its consumers without partitions", async () => {
  await using lookup = InProcessLookup.settled({ broadcastAddress: "127.0.0.1" });
  await using ours = await startBroker(1, lookup.server.tcpPort);
  const nsqd = await lookup.client();
  await nsqd.identify(identityOf("127.0.0.1", { tcp_port: 9 }));
  await nsqd.call("REGISTER t c");
  expect((await ours.http("POST", "/pub?topic=t", "x")).status).toBe(200);
  const client = new YouzanLookup(`127.0.0.1:${lookup.server.httpPort}`);
  await until("our broker has registered", async () => (await client.connections("t")).length === 2);
  expect(await client.connections("t")).toEqual([`${ours.tcpPort} 0`, "9 -1"].sort());
  expect(await publishOrdered(client, "t", "key", "y")).toBe(0);
});

describeUnless(missing("nsqlookupd"))("a broker that registers at ours and at Go's lookup server", () => {
  test("tells partitions to ours alone, and the topic and its channels to both", async () => {
    expect(findNsqlookupd()).toBeDefined();
    await using lookup = InProcessLookup.settled({ broadcastAddress: "127.0.0.1" });
    const theirs = await startLookupServer("nsqlookupd", ["--broadcast-address=127.0.0.1"]);
    await using broker = await startBroker(1, lookup.server.tcpPort, theirs.tcpPort);
    const plain = async (): Promise<[channels: string[], ports: number[]]> => {
      const response = await theirs.http("GET", "/lookup?topic=t");
      if (response.status !== 200) return [[], []];
      const { channels, producers } = (await response.json()) as { channels: string[]; producers: Peer[] };
      return [channels, producers.map(({ tcp_port }) => tcp_port)];
    };
    const client = new YouzanLookup(`127.0.0.1:${lookup.server.httpPort}`);
    expect((await broker.http("POST", "/topic/create?topic=t&partition_num=3")).status).toBe(200);
    expect((await broker.http("POST", "/channel/create?topic=t&channel=c")).status).toBe(200);
    await until("Go's has the channel", async () => Bun.deepEquals(await plain(), [["c"], [broker.tcpPort]]));
    await until("ours has all partitions", async () => (await client.connections("t")).length === 3);
    // The connection has lasted: a line that it does not understand would have ended it.
    expect(theirs.log()).not.toContain("E_INVALID");
    expect(theirs.log()).not.toContain("E_BAD");
    expect((await broker.http("POST", "/topic/partition/expand?topic=t&partition_num=5")).status).toBe(200);
    await until("ours has the new partitions", async () => (await client.connections("t")).length === 5);
    expect((await broker.http("POST", "/channel/delete?topic=t&channel=c")).status).toBe(200);
    expect((await broker.http("POST", "/topic/delete?topic=t")).status).toBe(200);
    await until("ours has forgotten the topic's broker", async () => (await client.connections("t")).length === 0);
    await until("Go's has, too", async () => Bun.deepEquals((await plain())[1], []));
    await theirs.stop();
  });
});
