import { expect, test } from "bun:test";
import { expectNothing, messages, numbers } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";
import { SteppedClock } from "../../support/stepped-clock.ts";
import { WithHttp } from "../../support/with-http.ts";

/** Fails unless the broker took every command before. */
async function channelIsDone(server: WithHttp, topic: string, channel: string): Promise<void> {
  const found = server.broker.registry.topic(topic).channel(channel);
  await until("everything is finished", () => found.depth + found.inFlightCount + found.deferredCount === 0);
}

test("a backlog of before a change of the node id is finished, requeued and touched", async () => {
  await using server = WithHttp.start({ nodeId: 1 });
  await server.started.publish("t", ...numbers(100));
  await server.restart({ nodeId: 2 });
  await server.started.publish("t", ...numbers(100, 100));
  const consumer = await server.started.consumer("t", "c", 300);
  const found = await messages(consumer, 200);
  expect(new Set(found.map(({ id }) => id.slice(0, 6))).size).toBe(1);
  expect(new Set(found.map(({ id }) => id)).size).toBe(200);
  for (const { id } of found.slice(0, 10)) consumer.command(`TOUCH ${id}`);
  for (const { id } of found.slice(0, 10)) consumer.command(`REQ ${id} 0`);
  const again = await messages(consumer, 10);
  expect(again.map(({ attempts }) => attempts)).toEqual(again.map(() => 2));
  for (const { id } of [...found.slice(10), ...again]) consumer.command(`FIN ${id}`);
  await expectNothing(consumer);
  await channelIsDone(server, "t", "c");
});

test("messages that were requeued with a delay come back under another node id, and are finished there", async () => {
  const clock = new SteppedClock();
  await using server = WithHttp.start({ nodeId: 1 }, {}, { clock });
  await server.started.publish("t", "requeued", "waits");
  const before = await server.started.consumer("t", "c", 2);
  const [first] = await messages(before, 2);
  before.command(`REQ ${first?.id} 400`);
  await until("it is stored", () => server.broker.registry.topic("t").channel("c").partitions[0].deferrals.storedCount === 1);
  await server.restart({ nodeId: 1000 });
  const consumer = await server.started.consumer("t", "c", 2);
  await clock.pass(410);
  const found = await messages(consumer, 2);
  expect(found.map(({ text }) => text).toSorted()).toEqual(["requeued", "waits"]);
  expect(found.map(({ id }) => id)).toContain(first?.id as string);
  for (const { id } of found) consumer.command(`FIN ${id}`);
  await expectNothing(consumer);
  await channelIsDone(server, "t", "c");
});

test("the HTTP API finds messages by ids of before a change of the node id, and refuses ids of other topics", async () => {
  await using server = WithHttp.start({ nodeId: 1 });
  await server.started.publish("other", "x");
  await server.started.publish("t", "0", "1", "2", "3");
  server.broker.registry.topic("t").channel("c");
  const before = (await server.json("GET", "/topic/messages?topic=t")).messages as { id: string; body: string }[];
  const other = (await server.json("GET", "/topic/messages?topic=other")).messages[0].id;
  await server.restart({ nodeId: 2 });
  const [, second, third, fourth] = before.map(({ id }) => id);
  expect((await server.json("GET", `/message?topic=t&id=${third}`)).body).toBe("2");
  expect((await server.json("GET", `/topic/messages?topic=t&from=id:${third}`)).messages.map(({ id }: { id: string }) => id)).toEqual([
    third,
    fourth,
  ]);
  expect(await server.call("POST", `/message/finish?topic=t&channel=c&id=${second}`)).toBe("200");
  expect(await server.call("POST", `/message/requeue?topic=t&channel=c&id=${third}&defer=3600000`)).toBe("200");
  expect(await server.call("POST", `/message/finish?topic=t&channel=c&id=${third}`)).toBe("200");
  expect(await server.call("POST", `/channel/seek?topic=t&channel=c&to=id:${fourth}`)).toStartWith("200");
  expect(server.broker.registry.topic("t").channel("c").depth).toBe(1);
  for (const id of [other, `fff${other.slice(3)}`, `0080${third?.slice(4)}`]) {
    expect(await server.call("GET", `/message?topic=t&id=${id}`)).toContain("INVALID_ARG_ID");
    expect(await server.call("POST", `/message/finish?topic=t&channel=c&id=${id}`)).toContain("INVALID_ARG_ID");
    expect(await server.call("GET", `/topic/messages?topic=t&from=id:${id}`)).toContain("INVALID_ARG_FROM");
  }
});

test("a topic that is made under another node id has its ids, also where it gets the number of a deleted topic", async () => {
  await using server = WithHttp.start({ nodeId: 1 });
  await server.started.publish("kept", "x");
  await server.started.publish("deleted", "x");
  const [deleted] = await messages(await server.started.consumer("deleted", "c", 1), 1);
  await server.restart({ nodeId: 2 });
  expect(await server.call("POST", "/topic/delete?topic=deleted")).toBe("200");
  await server.started.publish("made", "y");
  await server.started.publish("kept", "y");
  const consumer = await server.started.consumer("made", "c", 1);
  const [made] = await messages(consumer, 1);
  const kept = await messages(await server.started.consumer("kept", "c", 2), 2);
  expect(deleted?.id.slice(0, 6)).toBe("004001");
  expect(made?.id.slice(0, 6)).toBe("008001");
  expect(kept.map(({ id }) => id.slice(0, 6))).toEqual(["004000", "004000"]);
  // The number is the same, and the sequence too.
  const forged = `004001${made?.id.slice(6)}`;
  consumer.command(`FIN ${forged}`);
  expect((await consumer.next()).text).toBe(`E_FIN_FAILED FIN ${forged} failed ID not in flight`);
});
