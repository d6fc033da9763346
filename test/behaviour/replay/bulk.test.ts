import { expect, test } from "bun:test";
import { expectNothing, messages, numbers } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";
import { WithHttp } from "../../support/with-http.ts";

const CHANNEL = "topic=t&channel=ch";

async function idsOf(server: WithHttp): Promise<string[]> {
  return (await server.json("GET", "/topic/messages?topic=t&limit=1000")).messages.map(({ id }: { id: string }) => id);
}

function bulk(server: WithHttp, call: string, ids: readonly string[]) {
  return server.json("POST", call, JSON.stringify({ ids }));
}

test("many messages are finished by their ids, wherever they are, and each that cannot be says why", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", ...numbers(10));
  const consumer = await server.started.consumer("t", "ch", 2);
  const [held, late] = await messages(consumer, 2);
  consumer.command("RDY 0");
  consumer.command(`REQ ${late.id} 60000`);
  const channel = server.broker.registry.topic("t").channel("ch");
  await until("it is deferred", () => channel.partitions[0].deferrals.storedCount === 1);
  const ids = await idsOf(server);
  const some = [held.id, late.id, ids[4], ids[5], ids[4], "0123456789abcdef"];
  expect(await bulk(server, `/messages/finish?${CHANNEL}`, some)).toEqual({
    done: 4,
    failed: [{ id: "0123456789abcdef", message: "INVALID_ARG_ID" }],
  });
  expect(await bulk(server, `/messages/finish?${CHANNEL}`, some.slice(0, 4))).toEqual({
    done: 0,
    failed: some.slice(0, 4).map((id) => ({ id, message: "MESSAGE_FINISHED" })),
  });
  expect([channel.depth, channel.inFlightCount, channel.deferredCount]).toEqual([6, 0, 0]);
});

test("many messages are requeued by their ids, at once or after a delay", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", ...numbers(6));
  const consumer = await server.started.consumer("t", "ch", 3);
  const held = await messages(consumer, 3);
  consumer.command("RDY 0");
  const channel = server.broker.registry.topic("t").channel("ch");
  expect(await bulk(server, `/messages/requeue?${CHANNEL}`, [held[0].id, held[1].id])).toEqual({ done: 2, failed: [] });
  expect([channel.depth, channel.inFlightCount]).toEqual([5, 1]);
  const ids = await idsOf(server);
  expect(await bulk(server, `/messages/requeue?${CHANNEL}&defer=60000`, ids)).toEqual({ done: 6, failed: [] });
  await until("all are deferred", () => channel.deferredCount === 6);
  expect([channel.depth, channel.inFlightCount]).toEqual([0, 0]);
});

test("messages are moved to another topic once, also by a repeated call, after a restart, and without the window of keys", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", ...numbers(5));
  await server.call("POST", `/channel/create?${CHANNEL}`);
  await server.call("POST", "/channel/create?topic=t&channel=other&start=beginning");
  const ids = await idsOf(server);
  const move = (some: string[]) => bulk(server, `/messages/move?${CHANNEL}&to=dead`, some);
  expect(await move(ids.slice(1, 3))).toEqual({ done: 2, failed: [] });
  expect((await move(ids.slice(1, 4))).done).toBe(1);
  await server.restart({ idempotencyWindowMs: 1000 });
  expect(await move(ids.slice(1, 4))).toEqual({ done: 0, failed: ids.slice(1, 4).map((id) => ({ id, message: "MESSAGE_FINISHED" })) });
  expect(await server.bodies("dead", 3)).toEqual(["1", "2", "3"]);
  const consumer = await server.started.consumer("t", "ch", 10);
  expect((await messages(consumer, 2)).map(({ text }) => text)).toEqual(["0", "4"]);
  await expectNothing(consumer);
  expect(server.broker.registry.topic("t").channel("other").depth).toBe(5);
});

test("a move that published and was interrupted before it finished the message publishes nothing again", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", "a");
  await server.call("POST", `/channel/create?${CHANNEL}`);
  const [id = ""] = await idsOf(server);
  const published = await server.call("POST", "/pub?topic=dead", "a", { "Idempotency-Key": `move t ch ${id}` });
  expect(published).toBe("200 OK");
  expect(await bulk(server, `/messages/move?${CHANNEL}&to=dead`, [id])).toEqual({ done: 1, failed: [] });
  expect(server.depth("dead")).toBe(1);
  expect(server.broker.registry.topic("t").channel("ch").depth).toBe(0);
});

test("messages are copied to the same or another topic, at once or later", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", ...numbers(100));
  const ids = await idsOf(server);
  expect(await bulk(server, "/messages/copy?topic=t&to=t", ids)).toEqual({ done: 100, failed: [] });
  expect(server.depth("t")).toBe(200);
  const later = server.broker.registry.topic("later").channel("ch");
  expect(await bulk(server, "/messages/copy?topic=t&to=later&defer=60000", ids.slice(0, 2))).toEqual({ done: 2, failed: [] });
  expect([later.depth, later.deferredCount]).toEqual([0, 2]);
  expect((await bulk(server, "/messages/copy?topic=t&to=t", ["nonsense"])).failed).toEqual([{ id: "nonsense", message: "INVALID_ARG_ID" }]);
});

test("calls for many messages refuse what they cannot take", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", "a");
  await server.call("POST", `/channel/create?${CHANNEL}`);
  const answer = (target: string, body: string) => server.call("POST", target, body);
  for (const body of ["", "[]", "{}", '{"ids":"a"}', '{"ids":[1]}', "null"])
    expect(await answer(`/messages/finish?${CHANNEL}`, body)).toBe('400 {"message":"INVALID_BODY"}');
  const many = JSON.stringify({ ids: Array.from({ length: 1001 }, (_, i) => `${i}`) });
  expect(await answer(`/messages/finish?${CHANNEL}`, many)).toBe('413 {"message":"TOO_MANY_IDS"}');
  expect(await answer(`/messages/finish?${CHANNEL}`, "x".repeat(40_000))).toBe('413 {"message":"TOO_MANY_IDS"}');
  const none = '{"ids":[]}';
  expect(await answer("/messages/finish?topic=t&channel=no", none)).toBe('404 {"message":"CHANNEL_NOT_FOUND"}');
  expect(await answer(`/messages/move?${CHANNEL}`, none)).toBe('400 {"message":"MISSING_ARG_TO"}');
  expect(await answer(`/messages/move?${CHANNEL}&to=t`, none)).toBe('400 {"message":"INVALID_ARG_TO"}');
  expect(await answer("/messages/copy?topic=t&to=!", none)).toBe('400 {"message":"INVALID_TOPIC"}');
  expect(await answer(`/messages/requeue?${CHANNEL}&defer=-1`, none)).toBe('400 {"message":"INVALID_DEFER"}');
});

test("the preview of a seek says what the seek then does, and changes nothing", async () => {
  await using server = WithHttp.start();
  await server.started.publish("t", ...numbers(20));
  const consumer = await server.started.consumer("t", "ch", 5);
  const held = await messages(consumer, 5);
  consumer.command("RDY 0");
  consumer.command(`FIN ${held[0].id}`);
  consumer.command(`REQ ${held[1].id} 0`);
  const channel = server.broker.registry.topic("t").channel("ch");
  await until("one is requeued", () => channel.inFlightCount === 3);
  const ids = await idsOf(server);
  await server.call("POST", `/message/finish?${CHANNEL}&id=${ids[12]}`);
  for (const to of ["beginning", "3", "17", "end"]) {
    const before = channel.depth;
    const { sequence, depth, new_depth, discarded } = await server.json("GET", `/channel/seek?${CHANNEL}&to=${to}`);
    expect([depth, channel.depth]).toEqual([before, before]);
    expect(await server.json("POST", `/channel/seek?${CHANNEL}&to=${to}`)).toEqual({ sequence, depth: new_depth, discarded });
  }
  expect(await server.call("GET", `/channel/seek?${CHANNEL}&to=nowhere`)).toBe('400 {"message":"INVALID_ARG_TO"}');
});
