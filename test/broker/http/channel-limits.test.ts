import { expect, test } from "bun:test";
import { expectNothing, messages } from "../../support/in-process.ts";
import type { Frame, RawClient } from "../../support/raw-client.ts";
import { WithHttp } from "../../support/with-http.ts";

const AT = "topic=t&channel=c";

interface Shown {
  depth: number;
  in_flight_count: number;
  deferred_count: number;
  paused: boolean;
  clients: { ready_count: number; limited_rdy?: number }[];
  delivery?: object;
}

async function shown(server: WithHttp): Promise<Shown> {
  return (await server.json("GET", "/stats?format=json&topic=t&channel=c")).topics[0].channels[0];
}

async function withChannel(partitions = 1): Promise<WithHttp> {
  const server = WithHttp.start();
  await server.call("POST", `/topic/create?topic=t&partition_num=${partitions}`);
  await server.call("POST", `/channel/create?${AT}`);
  return server;
}

test("a channel that skips drops what it has and what comes, until it no longer does", async () => {
  await using server = await withChannel(2);
  await server.started.publish("t", "a", "b", "c", "d");
  const consumer = await server.started.consumer("t", "c", 1);
  await messages(consumer, 1);
  expect(await server.call("POST", `/channel/skip?${AT}`)).toBe("200");
  expect(await shown(server)).toMatchObject({ depth: 0, in_flight_count: 0, delivery: { skip: true } });
  await server.started.publish("t", "e", "f");
  await expectNothing(consumer);
  expect(await shown(server)).toMatchObject({ depth: 0, in_flight_count: 0 });
  expect(await server.call("POST", `/channel/unskip?${AT}&partition=1`)).toBe("200");
  expect((await shown(server)).delivery).toBeUndefined();
  await server.started.publish("t", "g");
  expect((await messages(consumer, 1)).map(({ text }) => text)).toEqual(["g"]);
});

test("what was deferred before a channel skips does not come later", async () => {
  await using server = await withChannel();
  const consumer = await server.started.consumer("t", "c", 1);
  await server.started.publish("t", "late");
  const [message] = await messages(consumer, 1);
  consumer.command(`REQ ${message?.id} 3600000`);
  await server.settle();
  await server.call("POST", `/channel/skip?${AT}`);
  expect(await shown(server)).toMatchObject({ depth: 0, deferred_count: 0 });
  await server.call("POST", `/channel/unskip?${AT}`);
  await server.call("POST", `/channel/requeuedelayed?${AT}&offset=10`);
  await expectNothing(consumer);
});

test("a client has no more messages in flight than its limit, which a longer prefix overrules", async () => {
  await using server = await withChannel();
  await server.started.publish("t", ..."abcdefgh");
  expect(await server.call("POST", `/channel/setclientlimit?${AT}&ready=2`)).toBe("200");
  const consumer = await server.started.consumer("t", "c", 10, { client_id: "worker-1" });
  await messages(consumer, 2);
  await expectNothing(consumer);
  expect((await shown(server)).clients[0]).toMatchObject({ ready_count: 2, limited_rdy: 2 });
  expect(await server.call("POST", `/channel/setclientlimit?${AT}&ready=5&client_prefix=worker-`)).toBe("200");
  await messages(consumer, 3);
  await expectNothing(consumer);
  expect((await shown(server)).delivery).toMatchObject({
    client_limits: [
      { prefix: "worker-", ready: 5 },
      { prefix: "", ready: 2 },
    ],
  });
  await server.call("POST", `/channel/setclientlimit?${AT}&ready=0&client_prefix=worker-`);
  await server.call("POST", `/channel/setclientlimit?${AT}&ready=0`);
  await messages(consumer, 3);
  const [client] = (await shown(server)).clients;
  expect(client).toMatchObject({ ready_count: 10 });
  expect(client).not.toHaveProperty("limited_rdy");
});

test("a limit by the client's address, and one that is above what it asked for", async () => {
  await using server = await withChannel();
  await server.started.publish("t", ..."abc");
  await server.call("POST", `/channel/setclientlimit?${AT}&ready=1&client_prefix=127.0.0.`);
  const consumer = await server.started.consumer("t", "c", 2);
  await messages(consumer, 1);
  await expectNothing(consumer);
  await server.call("POST", `/channel/setclientlimit?${AT}&ready=500&client_prefix=127.0.0.`);
  await messages(consumer, 1);
  await expectNothing(consumer);
});

test("a rate is shown, changed in its parts and taken back", async () => {
  await using server = await withChannel();
  expect(await server.call("POST", `/channel/ratelimit?${AT}&ratekilobytes=100`)).toBe("200");
  expect(await server.call("POST", `/channel/ratelimit?${AT}&ratemessages=7`)).toBe("200");
  expect((await shown(server)).delivery).toMatchObject({ rate_limit: 7, rate_limit_kb: 100 });
  await server.call("POST", `/channel/ratelimit?${AT}&ratekilobytes=0&ratemessages=0`);
  expect((await shown(server)).delivery).toBeUndefined();
});

test("deferred messages are finished, or delivered, in all partitions or in one", async () => {
  await using server = await withChannel(2);
  const consumer = await server.started.consumer("t", "c", 10);
  await server.started.publish("t", "a", "b", "c", "d");
  for (const { id } of await messages(consumer, 4)) consumer.command(`REQ ${id} 3600000`);
  await server.settle();
  expect(await shown(server)).toMatchObject({ deferred_count: 4 });
  expect(await server.call("POST", `/channel/requeuedelayed?${AT}&offset=0`)).toBe("200");
  await expectNothing(consumer);
  expect(await server.call("POST", `/channel/requeuedelayed?${AT}&offset=3&partition=1`)).toBe("200");
  const again = await messages(consumer, 2);
  expect(again.map(({ attempts }) => attempts)).toEqual([2, 2]);
  expect(await shown(server)).toMatchObject({ deferred_count: 2, in_flight_count: 2 });
  for (const { id } of again) consumer.command(`REQ ${id} 3600000`);
  await server.settle();
  expect(await server.call("POST", `/channel/emptydelayed?${AT}&partition=0`)).toBe("200");
  expect(await shown(server)).toMatchObject({ deferred_count: 2, depth: 0 });
  expect(await server.call("POST", `/channel/emptydelayed?${AT}`)).toBe("200");
  expect(await shown(server)).toMatchObject({ deferred_count: 0, depth: 0, in_flight_count: 0 });
  await server.restart();
  expect(await shown(server)).toMatchObject({ deferred_count: 0, depth: 0 });
});

test("what an ordered channel holds back in memory is deferred, too", async () => {
  await using server = await withChannel();
  await server.call("POST", `/channel/setorder?${AT}&order=partition`);
  const consumer = await server.started.consumer("t", "c", 10);
  await server.started.publish("t", "a", "b");
  const [first] = await messages(consumer, 1);
  consumer.command(`REQ ${first?.id} 1800000`);
  await server.settle();
  expect(await server.call("POST", `/channel/requeuedelayed?${AT}&offset=1`)).toBe("200");
  expect((await messages(consumer, 1)).map(({ text, attempts }) => [text, attempts])).toEqual([["a", 2]]);
  consumer.command(`REQ ${first?.id} 1800000`);
  await server.settle();
  expect(await server.call("POST", `/channel/emptydelayed?${AT}`)).toBe("200");
  expect((await messages(consumer, 1)).map(({ text }) => text)).toEqual(["b"]);
});

test("thousands of messages in the deferred store are delivered, each once", async () => {
  await using server = await withChannel();
  const consumer = await server.started.consumer("t", "c", 2500);
  const bodies = Array.from({ length: 2500 }, (_, i) => `m${i}`);
  await server.started.publish("t", ...bodies);
  for (const { id } of await messages(consumer, bodies.length)) consumer.command(`REQ ${id} 3000000`);
  await server.settle();
  expect(await server.call("POST", `/channel/requeuedelayed?${AT}`)).toBe("200");
  const again = (await messages(consumer, bodies.length)).map(({ text }) => text);
  expect(again.sort()).toEqual(bodies.sort());
  expect(await shown(server)).toMatchObject({ deferred_count: 0, in_flight_count: bodies.length, depth: 0 });
});

test("pause and empty may be for one partition", async () => {
  await using server = await withChannel(2);
  expect(await server.call("POST", `/channel/pause?${AT}&partition=1`)).toBe("200");
  await server.started.publish("t", "a", "b", "c", "d");
  const consumer = await server.started.consumer("t", "c", 10);
  await messages(consumer, 2);
  await expectNothing(consumer);
  expect(await shown(server)).toMatchObject({ depth: 2, paused: true });
  expect(await server.call("POST", `/channel/empty?${AT}&partition=1`)).toBe("200");
  expect(await shown(server)).toMatchObject({ depth: 0, in_flight_count: 2 });
  expect(await server.call("POST", `/channel/unpause?${AT}`)).toBe("200");
  expect(await shown(server)).toMatchObject({ paused: false });
});

test("what cannot be is refused in valid JSON", async () => {
  await using server = await withChannel();
  const calls = ["skip", "unskip", "setclientlimit", "ratelimit", "emptydelayed", "requeuedelayed", "setorder", "pause", "empty"];
  for (const call of calls) {
    expect(await server.call("POST", `/channel/${call}?topic=t`)).toBe('400 {"message":"MISSING_ARG_CHANNEL"}');
    expect(await server.call("POST", `/channel/${call}?topic=nope&channel=c`)).toBe('404 {"message":"TOPIC_NOT_FOUND"}');
    expect(await server.call("POST", `/channel/${call}?topic=t&channel=nope`)).toBe('404 {"message":"CHANNEL_NOT_FOUND"}');
    expect(await server.call("POST", `/channel/${call}?${AT}&partition=7`)).toBe('404 {"message":"PARTITION_NOT_FOUND"}');
    expect(await server.call("POST", `/channel/${call}?${AT}&partition=%22`)).toBe('400 {"message":"INVALID_ARG_PARTITION"}');
    expect(await server.call("GET", `/channel/${call}?${AT}`)).toBe('405 {"message":"METHOD_NOT_ALLOWED"}');
  }
  for (const [target, code] of [
    ["setclientlimit", "MISSING_ARG_READY"],
    ["setclientlimit&ready=-1", "INVALID_ARG_READY"],
    [`setclientlimit&ready=1&client_prefix=${"x".repeat(256)}`, "INVALID_ARG_CLIENT_LIMITS"],
    ["ratelimit", "MISSING_ARG_RATEKILOBYTES"],
    ["ratelimit&ratekilobytes=x", "INVALID_ARG_RATEKILOBYTES"],
    ["ratelimit&ratemessages=1.5", "INVALID_ARG_RATEMESSAGES"],
    ["requeuedelayed&offset=-1", "INVALID_ARG_OFFSET"],
  ]) {
    const [call, ...query] = (target ?? "").split("&");
    expect(await server.call("POST", `/channel/${call}?${AT}&${query.join("&")}`), target).toBe(`400 {"message":"${code}"}`);
  }
  for (let i = 0; i < 64; i++) await server.call("POST", `/channel/setclientlimit?${AT}&ready=1&client_prefix=p${i}`);
  expect(await server.call("POST", `/channel/setclientlimit?${AT}&ready=1`)).toBe('400 {"message":"INVALID_ARG_CLIENT_LIMITS"}');
});

for (const channel of ["ordered", "eph%23ephemeral"]) {
  test(`a channel skips, has a rate and a limit whatever it is: ${channel}`, async () => {
    await using server = WithHttp.start();
    const at = `topic=t&channel=${channel}`;
    const name = decodeURIComponent(channel);
    await server.call("POST", "/topic/create?topic=t");
    const consumer = await server.started.consumer("t", name, 10);
    if (channel === "ordered") await server.call("POST", `/channel/setorder?${at}&order=partition`);
    await server.started.publish("t", "a", "b");
    const [first] = await messages(consumer, 1);
    consumer.command(`REQ ${first?.id} 1800000`);
    await server.settle();
    expect(await server.call("POST", `/channel/skip?${at}`)).toBe("200");
    await server.started.publish("t", "c");
    expect(await server.call("POST", `/channel/emptydelayed?${at}`)).toBe("200");
    const stats = async () => (await server.json("GET", `/stats?format=json&${at}`)).topics[0].channels[0];
    expect(await stats()).toMatchObject({ depth: 0, in_flight_count: 0, deferred_count: 0 });
    await server.call("POST", `/channel/unskip?${at}`);
    await server.call("POST", `/channel/setclientlimit?${at}&ready=1`);
    await server.call("POST", `/channel/ratelimit?${at}&ratemessages=1000&ratekilobytes=1000`);
    await server.started.publish("t", "d", "e");
    for (const body of ["d", "e"]) {
      const message = await nextMessage(consumer);
      expect(message.text).toBe(body);
      await expectNothing(consumer);
      consumer.command(`FIN ${message.id}`);
    }
  });
}

/** The next message; those of before, and the failures of what was asked of them, are left out. */
async function nextMessage(consumer: RawClient): Promise<Frame> {
  for (;;) {
    const frame = await consumer.next();
    if (frame.type === "message" && frame.text !== "b") return frame;
  }
}
