import { expect, test } from "bun:test";
import { InProcessLookup } from "../../lookup/support/in-process.ts";
import type { LookupClient } from "../../lookup/support/lookup-client.ts";
import { identityOf } from "../../lookup/support/lookup-client.ts";
import { until } from "../../support/server.ts";

// The TCP protocol of Youzan's lookup server, and what bunsq's adds to it.

async function identified(lookup: InProcessLookup, more: object): Promise<[client: LookupClient, answer: Record<string, unknown>]> {
  const client = await lookup.client();
  const answer = JSON.parse(await client.call("IDENTIFY", JSON.stringify({ ...identityOf("fake"), ...more })));
  return [client, answer];
}

const YOUZAN = { id: "x", distributed_id: "127.0.0.9:24997:24999:7" };
const OURS = { registers_partitions: true, node_id: 7 };

async function partitions(lookup: InProcessLookup, topic: string): Promise<string[]> {
  const { data } = (await lookup.get(`/lookup?topic=${topic}&access=r`)) as { data: { partitions: object } };
  return Object.keys(data.partitions);
}

test("REGISTER and UNREGISTER of a broker with a distributed id name partitions", async () => {
  await using lookup = new InProcessLookup();
  const [client, answer] = await identified(lookup, YOUZAN);
  expect(Object.keys(answer)).toEqual(["broadcast_address", "hostname", "http_port", "tcp_port", "version"]);
  for (const line of ["PING", "REGISTER faket 2 fch", "REGISTER faket 1", "REGISTER faket 1"]) expect(await client.call(line)).toBe("OK");
  expect(await partitions(lookup, "faket")).toEqual(["1", "2"]);
  for (const line of ["UNREGISTER faket 2 fch", "UNREGISTER faket 2", "UNREGISTER faket 9"]) expect(await client.call(line)).toBe("OK");
  expect(await partitions(lookup, "faket")).toEqual(["1"]);
  expect(await client.call("UNREGISTER faket 1")).toBe("OK");
  expect(await partitions(lookup, "faket")).toEqual([]);
  expect(await client.call("NOPE")).toBe("E_INVALID invalid command NOPE");
  expect(await client.next()).toBeUndefined();
});

test.each([
  ["REGISTER faket2", "E_INVALID REGISTER insufficient number of params"],
  ["UNREGISTER faket2", "E_INVALID UNREGISTER insufficient number of params"],
  // Theirs: the connection ends without an answer.
  ["REGISTER faket zz", "E_BAD_PARTITIONID REGISTER partition 'zz' is not valid"],
  ["REGISTER old ochan", "E_BAD_PARTITIONID REGISTER partition 'ochan' is not valid"],
  ["REGISTER faket 1024", "E_BAD_PARTITIONID REGISTER partition '1024' is not valid"],
  ["REGISTER faket -1", "E_BAD_PARTITIONID REGISTER partition '-1' is not valid"],
  ["REGISTER s!5 0", "E_BAD_TOPIC REGISTER topic name 's!5' is not valid"],
  ["REGISTER faket 0 s!5", "E_BAD_CHANNEL REGISTER channel name 's!5' is not valid"],
  // bunsq's brokers alone have this command.
  ['SETTINGS faket {"partition_num":2}', "E_INVALID invalid command SETTINGS"],
])("%s is refused, and ends the connection", async (line, error) => {
  await using lookup = new InProcessLookup();
  const [client] = await identified(lookup, YOUZAN);
  expect(await client.call(line)).toBe(error);
  expect(await client.next()).toBeUndefined();
});

test("a command before IDENTIFY is refused", async () => {
  await using lookup = new InProcessLookup();
  const client = await lookup.client();
  expect(await client.call("REGISTER faket 2")).toBe("E_INVALID client must IDENTIFY");
});

test("a broker of bunsq is told that it may name partitions, and says how topics are", async () => {
  await using lookup = new InProcessLookup();
  const [client, answer] = await identified(lookup, OURS);
  expect(answer.registers_partitions).toBe(true);
  for (const line of ["REGISTER t 1", "REGISTER t 3 c", 'SETTINGS t {"partition_num":4,"ordered":true,"unknown":[1]}']) {
    expect(await client.call(line)).toBe("OK");
  }
  const { data } = (await lookup.get("/lookup?topic=t&access=w&metainfo=true")) as {
    data: { meta: object; partitions: Record<string, { distributed_id: string }> };
  };
  expect(data.meta).toMatchObject({ partition_num: 4, ordered: true, extend_support: true });
  expect(data.partitions["1"].distributed_id).toBe("fake:0:4150:7");
  expect(Object.keys(data.partitions)).toEqual(["1", "3"]);
});

test.each([
  ["SETTINGS t", "E_INVALID SETTINGS insufficient number of params"],
  ["SETTINGS t {", "E_INVALID SETTINGS are not valid"],
  ["SETTINGS t []", "E_INVALID SETTINGS are not valid"],
  ['SETTINGS t {"partition_num":0}', "E_INVALID SETTINGS are not valid"],
  ['SETTINGS t {"partition_num":1025}', "E_INVALID SETTINGS are not valid"],
  ['SETTINGS t {"ordered":1}', "E_INVALID SETTINGS are not valid"],
])("%s is refused", async (line, error) => {
  await using lookup = new InProcessLookup();
  const [client] = await identified(lookup, OURS);
  expect(await client.call("REGISTER t 0")).toBe("OK");
  expect(await client.call(line)).toBe(error);
});

test("settings go with the broker that said them, and the widest of several count", async () => {
  await using lookup = new InProcessLookup();
  const [one] = await identified(lookup, { ...OURS, node_id: 1 });
  const [two] = await identified(lookup, { ...OURS, node_id: 2, broadcast_address: "b" });
  for (const [client, count] of [
    [one, 4],
    [two, 8],
  ] as const) {
    expect(await client.call("REGISTER t 0")).toBe("OK");
    expect(await client.call(`SETTINGS t {"partition_num":${count}}`)).toBe("OK");
  }
  const count = async () => {
    const { data } = (await lookup.get("/lookup?topic=t&access=r&metainfo=true")) as { data: { meta: { partition_num: number } } };
    return data.meta.partition_num;
  };
  expect(await count()).toBe(8);
  two.close();
  await until("the other one's count is left", async () => (await count()) === 4);
});

test("a topic that several brokers have as a whole is written to at the same one by all producers, and read at all", async () => {
  await using lookup = new InProcessLookup();
  for (const name of ["b", "a", "c"]) {
    const [client] = await identified(lookup, { ...OURS, broadcast_address: name });
    expect(await client.call("REGISTER t 0")).toBe("OK");
  }
  const { data } = (await lookup.get("/lookup?topic=t&access=r")) as {
    data: { partitions: Record<string, { broadcast_address: string }>; producers: { broadcast_address: string }[] };
  };
  expect(data.partitions["0"].broadcast_address).toBe("a");
  expect(data.producers.map(({ broadcast_address }) => broadcast_address)).toEqual(["b", "a", "c"]);
});

test("a broker that makes a spread topic for itself does not take the keys of one that has a part of it", async () => {
  await using lookup = new InProcessLookup();
  for (const [name, index] of [
    ["b", 0],
    ["c", 1],
  ] as const) {
    const [client] = await identified(lookup, { ...OURS, broadcast_address: name });
    expect(await client.call(`REGISTER t ${index}`)).toBe("OK");
    expect(await client.call('SETTINGS t {"partition_num":2}')).toBe("OK");
  }
  const [stray] = await identified(lookup, { ...OURS, broadcast_address: "a" });
  expect(await stray.call("REGISTER t 0")).toBe("OK");
  const { data } = (await lookup.get("/lookup?topic=t&access=w")) as {
    data: { partitions: Record<string, { broadcast_address: string }> };
  };
  expect(Object.entries(data.partitions).map(([index, peer]) => `${index} ${peer.broadcast_address}`)).toEqual(["0 b", "1 c"]);
});
