import { expect, test } from "bun:test";
import { NodeLists } from "../../src/lookup/http/node-lists.ts";
import { RegisteredNode } from "../../src/lookup/registered-node.ts";
import { InProcessLookup } from "./support/in-process.ts";

function nodes(count: number): RegisteredNode[] {
  return Array.from({ length: count }, (_, i) => {
    const name = `host${i}`;
    return new RegisteredNode(i, {
      remoteAddress: `10.0.0.1:${i}`,
      hostname: name,
      broadcastAddress: name,
      tcpPort: i,
      httpPort: 2n ** 60n,
      version: "1",
      distributedId: "",
      makesPartitions: false,
    });
  });
}

test("a list is encoded once for the same nodes", () => {
  const lists = new NodeLists();
  const [a, b, c] = nodes(3);
  const bytes = lists.jsonOf([a, b]);
  expect(bytes.toString()).toBe(
    '{"remote_address":"10.0.0.1:0","hostname":"host0","broadcast_address":"host0","tcp_port":0,"http_port":1152921504606846976,"version":"1"},' +
      '{"remote_address":"10.0.0.1:1","hostname":"host1","broadcast_address":"host1","tcp_port":1,"http_port":1152921504606846976,"version":"1"}',
  );
  expect(lists.jsonOf([a, b])).toBe(bytes);
  expect(lists.jsonOf([a, c]).toString()).toContain("host2");
  expect(lists.jsonOf([a]).toString()).not.toContain("host1");
  expect(lists.jsonOf([]).toString()).toBe("");
  expect(lists.jsonOf([a, b])).toBe(bytes);
});

test("lists of nodes with the same key are told apart", () => {
  const lists = new NodeLists();
  const [a, b] = nodes(2);
  Object.defineProperty(b, "mark", { value: a.mark });
  expect(lists.jsonOf([a]).toString()).toContain("host0");
  expect(lists.jsonOf([b]).toString()).toContain("host1");
  expect(lists.jsonOf([a, b]).toString()).toContain("host1");
  expect(lists.jsonOf([]).toString()).toBe("");
});

test("the list that has not been used for longest makes room for others", () => {
  const all = nodes(4);
  const budget = new NodeLists().jsonOf(all.slice(0, 1)).length * 3;
  const lists = new NodeLists(budget);
  const before = all.map((node) => lists.jsonOf([node]));
  // The fourth list has displaced the first. The second is used now, so the third becomes the oldest.
  expect(lists.jsonOf([all[1]])).toBe(before[1]);
  expect(lists.jsonOf([all[0]])).not.toBe(before[0]);
  expect(lists.jsonOf([all[1]])).toBe(before[1]);
  expect(lists.jsonOf([all[2]])).not.toBe(before[2]);
  // A list that exceeds the whole budget is still returned.
  expect(lists.jsonOf(all).toString()).toContain("host3");
});

test("many long answers at once are all complete", async () => {
  await using lookup = new InProcessLookup();
  const brokers = await Promise.all(Array.from({ length: 100 }, (_, i) => lookup.broker(`broker-with-a-long-name-${i}.example.org`)));
  for (const broker of brokers) {
    expect(await broker.call("REGISTER topic ch")).toBe("OK");
    expect(await broker.call("REGISTER other")).toBe("OK");
  }
  const told = async (topic: string) => (await fetch(`http://127.0.0.1:${lookup.server.httpPort}/lookup?topic=${topic}`)).text();
  const first = JSON.parse(await told("topic")) as { channels: string[]; producers: object[] };
  expect(first.channels).toEqual(["ch"]);
  expect(first.producers).toHaveLength(100);
  const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => told(i % 2 === 0 ? "topic" : "other")));
  for (const [i, answer] of answers.entries()) expect(JSON.parse(answer)).toEqual({ ...first, channels: i % 2 === 0 ? ["ch"] : [] });
});
