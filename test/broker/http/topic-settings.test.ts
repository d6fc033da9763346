import { expect, test } from "bun:test";
import { until } from "../../support/server.ts";
import { WithHttp } from "../../support/with-http.ts";

test("a topic is upgraded to headers: Youzan's clients that do not understand them are disconnected and refused, all others stay", async () => {
  await using server = WithHttp.start();
  const { started } = server;
  server.broker.registry.topicWith("t", 2, { extended: false });
  const consumer = async (line: string, identity: object) => {
    const client = await started.client();
    await client.call("IDENTIFY", JSON.stringify(identity));
    client.command(line);
    return { client, answer: (await client.next()).text };
  };
  const older = await consumer("SUB_ADVANCED t c 0", {});
  const plain = await consumer("SUB t c", {});
  const newer = await consumer("SUB t c", { extend_support: true });
  expect([older.answer, plain.answer]).toEqual(["OK", "OK"]);
  expect(newer.answer).toStartWith("E_SUB_EXTEND_FORBIDDON");
  const channel = server.broker.registry.topic("t").channel("c");
  expect(channel.consumers.length).toBe(2);
  expect(await server.call("POST", "/topic/meta/update?topic=t&upgradeext=false")).toBe("200");
  expect(channel.consumers.length).toBe(2);
  expect(await server.call("POST", "/topic/meta/update?topic=t&upgradeext=true")).toBe("200");
  await older.client.untilClosed();
  await until("the channel has the other one alone", () => channel.consumers.length === 1);
  for (let restarted = 0; restarted < 2; restarted++) {
    expect(server.broker.registry.topic("t").settings).toEqual({ partitions: 2, extended: true });
    expect((await consumer("SUB_ADVANCED t c 0", {})).answer).toStartWith("E_SUB_EXTEND_NEED");
    expect((await consumer("SUB t c 0", { extend_support: true })).answer).toBe("OK");
    expect((await consumer("SUB t c", {})).answer).toBe("OK");
    await server.restart();
  }
});

test("what a topic's settings ask of Youzan's clients holds over a restart, and never for NSQ's", async () => {
  await using server = WithHttp.start();
  const arguments_ = "orderedmulti=true&extend=false&disable_channel_auto_create=true&channel_order=key";
  expect(await server.call("POST", `/topic/create?topic=t&partition_num=2&${arguments_}`)).toBe("200");
  await server.restart();
  const answer = async (line: string, identity: object = {}, body?: string) => {
    const client = await server.started.client();
    await client.call("IDENTIFY", JSON.stringify(identity));
    client.command(line, body);
    return (await client.next()).text;
  };
  expect(await answer("SUB_ADVANCED t c 0")).toStartWith("E_SUB_ORDER_IS_MUST");
  expect(await answer("SUB_ORDERED t c 0", { extend_support: true })).toStartWith("E_SUB_EXTEND_FORBIDDON");
  expect(await answer("SUB_ORDERED t c 0")).toStartWith("E_SUB_CHANNEL_NOT_REGISTERED");
  expect(await answer("PUB_EXT t 0", {}, "\0\x02{}x")).toStartWith("E_EXT_NOT_SUPPORT");
  expect(await answer("PUB t", { extend_support: true }, "x")).toStartWith("E_BAD_PARTITION");
  expect(await server.call("POST", "/pub?topic=t&ext=%7B%22a%22%3A%22b%22%7D", "x")).toBe('400 {"message":"E_EXT_NOT_SUPPORT"}');
  expect(await server.call("POST", "/pub?topic=t", "x")).toBe("200 OK");
  expect(await answer("PUB t", {}, "x")).toBe("OK");
  expect(await answer("SUB t c")).toBe("OK");
  expect(server.broker.registry.topic("t").channel("c").settings.order).toBe("key");
  expect(await answer("SUB_ORDERED t c 0")).toBe("OK");
});

test("/topic/create and /topic/meta/update refuse what is none, without partition_num too, and change nothing else", async () => {
  await using server = WithHttp.start();
  const settings = () => server.broker.registry.topic("t").settings;
  expect(await server.call("POST", "/topic/create?topic=t&extend=true")).toBe("200");
  expect(settings()).toEqual({ partitions: 1, extended: true });
  server.broker.registry.topicWith("t", 3);
  expect(await server.call("POST", "/topic/create?topic=t&channel_order=key")).toBe("200");
  expect(await server.call("POST", "/topic/create?topic=t")).toBe("200");
  expect(await server.call("POST", "/topic/meta/update?topic=t")).toBe("200");
  expect(settings()).toEqual({ partitions: 3, extended: true, channelOrder: "key" });
  expect(await server.call("POST", "/topic/meta/update?topic=t&channel_order=none")).toBe("200");
  expect(settings()).toEqual({ partitions: 3, extended: true });
  expect(await server.call("POST", "/topic/create?topic=t&channel_order=x")).toBe('400 {"message":"INVALID_ARG_CHANNEL_ORDER"}');
  expect(await server.call("POST", "/topic/meta/update?topic=t&channel_order=x")).toBe('400 {"message":"INVALID_ARG_CHANNEL_ORDER"}');
  expect(await server.call("POST", "/topic/meta/update?topic=t&upgradeext=1")).toBe('400 {"message":"INVALID_ARG_UPGRADEEXT"}');
  expect(await server.call("POST", "/topic/meta/update?topic=u&upgradeext=true")).toBe('404 {"message":"TOPIC_NOT_FOUND"}');
});
