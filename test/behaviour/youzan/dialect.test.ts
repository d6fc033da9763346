import { expect, test } from "bun:test";
import { expectNothing, InProcess, messages } from "../../support/in-process.ts";
import { type RawClient, sized } from "../../support/raw-client.ts";
import { SteppedClock } from "../../support/stepped-clock.ts";
import { traced, withHeader } from "./support/player.ts";
import { makeTopic } from "./support/site.ts";

const LF_TRACE = 0x0a0a_0a20_0d0a_200dn;

async function youzan(server: InProcess, fields: object = { multiplexing: true }): Promise<RawClient> {
  const client = await server.client();
  await client.call("IDENTIFY", JSON.stringify(fields));
  return client;
}

function answer(verb: string, id: string, rest = ""): Buffer {
  return Buffer.concat([Buffer.from(`${verb} `), Buffer.from(id, "latin1"), Buffer.from(`${rest}\n`)]);
}

test("NSQ's clients get ids of hex digits and messages without headers, make topics, and have their extra words ignored", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "ch", 10);
  const client = await server.client();
  expect(await client.call("PUB new 7 more words", "x")).toBe("OK");
  expect(server.broker.registry.topics.has("new")).toBeTrue();
  const producer = await youzan(server);
  await producer.call("PUB_EXT t", withHeader('{"##trace_id":"9","k":"v"}', "with"));
  await producer.call("PUB_TRACE t", traced(5n, "traced"));
  await client.call("PUB t", "without");
  const frames = await messages(consumer, 3);
  expect(frames.map(({ text }) => text)).toEqual(["with", "traced", "without"]);
  for (const { id } of frames) expect(id).toMatch(/^[0-9a-f]{16}$/);
  for (const { id } of frames) consumer.command(`FIN ${id}`);
  await expectNothing(consumer);
  client.command("PUB_WHAT t", "x");
  expect((await client.next()).text).toBe("E_INVALID invalid command PUB_WHAT");
});

test("a consumer of NSQ's that publishes with one of Youzan's commands keeps its ids of hex digits", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "ch", 10);
  consumer.command("PUB_TRACE t", traced(5n, "own"));
  expect((await consumer.next()).text).toStartWith("OK");
  const { id } = await consumer.message();
  expect(id).toMatch(/^[0-9a-f]{16}$/);
  consumer.command(`FIN ${id}`);
  await expectNothing(consumer);
});

test("a SUB with a partition makes a client one of Youzan's, any other word does not", async () => {
  await using server = InProcess.start();
  const nsq = await server.client();
  await nsq.call("SUB t nsq zero");
  const other = await server.client();
  await other.call("SUB t youzan 0");
  await server.publish("t", "1");
  nsq.command("RDY 1");
  other.command("RDY 1");
  expect((await nsq.message()).id).toMatch(/^[0-9a-f]{16}$/);
  expect(Buffer.from((await other.message()).id, "latin1").toString("hex")).toBe("00000000000000010000000000000000");
});

test("ids with line ends and spaces are read by their length, whatever pieces they come in", async () => {
  await using server = InProcess.start();
  server.broker.registry.topic("t").channel("ch");
  const producer = await youzan(server);
  const count = 40;
  for (let i = 0; i < count; i++) await producer.call("PUB_TRACE t", traced(LF_TRACE, `${i}`));
  const client = await youzan(server);
  await client.call("SUB t ch");
  client.command(`RDY ${count}`);
  const ids = (await messages(client, count)).map(({ id }) => id);
  const connection = [...server.broker.listener.connections.values()].find(({ channel }) => channel !== undefined);
  if (connection === undefined) throw new Error("no consumer");
  const stream = Buffer.concat(ids.flatMap((id) => [answer("TOUCH", id), Buffer.from("NOP\n"), answer("FIN", id), Buffer.from("NOP\r\n")]));
  // Cut at every place once: pieces of all lengths up to a line's.
  for (let at = 0, length = 1; at < stream.length; at += length, length = (length % 23) + 1) {
    connection.receive(Buffer.from(stream.subarray(at, at + length)));
  }
  expect(connection.finishCount).toBe(count);
  client.write(answer("FIN", ids[9] ?? ""));
  expect((await client.next()).text).toBe(
    "E_FIN_FAILED FIN [0 0 0 0 0 0 0 10 10 10 10 32 13 10 32 13] failed ErrType:7 ErrCode:0 : Message ID not in flight",
  );
});

test("a line end of two characters is not part of an id", async () => {
  await using server = InProcess.start();
  const client = await youzan(server);
  await server.publish("t", ..."abc");
  await client.call("SUB t ch");
  client.command("RDY 3");
  const [first, second, third] = await messages(client, 3);
  client.write(answer("FIN", first?.id ?? "", "\r"));
  client.write(answer("REQ", second?.id ?? "", " 0\r"));
  expect((await client.message()).attempts).toBe(2);
  client.write(answer("FIN", third?.id ?? "", "x"));
  expect((await client.next()).text).toBe("E_INVALID Invalid Message ID");
  await client.untilClosed();
});

test("REQ and FIN of a deferred message, of another's and of a bad delay are refused in Youzan's words", async () => {
  await using server = InProcess.start({}, { clock: new SteppedClock() });
  const client = await youzan(server);
  await server.publish("t", "a", "b");
  await client.call("SUB t ch");
  client.command("RDY 1");
  const { id } = await client.message();
  client.write(answer("REQ", id, " 200"));
  const { id: owned } = await client.message();
  const numbers = "[0 0 0 0 0 0 0 1 0 0 0 0 0 0 0 0]";
  const own = [...server.broker.listener.connections.values()].find(({ channel }) => channel !== undefined)?.id;
  client.write(answer("FIN", id));
  expect((await client.next()).text).toBe(
    `E_FIN_FAILED FIN ${numbers} failed ErrType:7 ErrCode:0 : client does not own message : 0 vs ${own}`,
  );
  client.write(answer("TOUCH", id));
  expect((await client.next()).text).toBe(`E_TOUCH_FAILED TOUCH ${numbers} failed client does not own message : 0 vs ${own}`);
  client.write(answer("REQ", id, " 0"));
  expect((await client.next()).text).toBe(`E_REQ_FAILED REQ ${numbers} failed Message is deferred`);
  const other = await youzan(server);
  await other.call("SUB t ch");
  const others = [...server.broker.listener.connections.values()].find(({ channel, id }) => channel !== undefined && id !== own)?.id;
  other.write(answer("FIN", owned));
  expect((await other.next()).text).toEndWith(` : client does not own message : ${own} vs ${others}`);
  other.write(answer("REQ", owned, " -1"));
  expect((await other.next()).text).toBe(`E_INVALID REQ could not parse timeout ${owned}, -1`);
  await other.untilClosed();
});

test("a topic that was not made for one kind of message takes both, and serves both kinds of clients", async () => {
  await using server = InProcess.start();
  server.broker.registry.topic("t").channel("with");
  server.broker.registry.topic("t").channel("without");
  const producer = await youzan(server);
  await producer.call("PUB_EXT t", withHeader('{"k":"v"}', "1"));
  await producer.call("PUB t", "2");
  const extended = await youzan(server, { extend_support: true });
  await extended.call("SUB t with");
  extended.command("RDY 2");
  expect((await messages(extended, 2)).map(({ data }) => data.toString("latin1"))).toEqual(['\x04\x00\x09{"k":"v"}1', "\x002"]);
  const plain = await youzan(server);
  await plain.call("SUB t without");
  plain.command("RDY 2");
  expect((await messages(plain, 2)).map(({ text }) => text)).toEqual(["1", "2"]);
});

test("a tag, a filter and the support of headers are answered; a filter that cannot work is refused", async () => {
  await using server = InProcess.start();
  const ask = async (fields: object) => {
    const client = await server.client();
    client.command("IDENTIFY", JSON.stringify({ feature_negotiation: true, ...fields }));
    const { type, text } = await client.next();
    if (type === "error") await client.untilClosed();
    return type === "error" ? text : JSON.parse(text);
  };
  const filter = { type: 2, inverse: true, filter_ext_key: "n.k", filter_data: "^v[0-9]$" };
  const told = await ask({ extend_support: true, desired_tag: "red", ext_filter: filter });
  expect(Object.keys(told).slice(-3)).toEqual(["desired_tag", "extend_support", "ext_filter"]);
  expect(told).toMatchObject({ desired_tag: "red", extend_support: true, ext_filter: { ...filter, filter_data_list: [] } });
  const [connection] = server.broker.listener.connections.values();
  expect(connection?.identity.extendSupport).toBe(true);
  expect(connection?.wishes.tag?.toString()).toBe("red");
  expect(connection?.wishes.filter?.toJson()).toEqual(filter);
  const list = [{ filter_ext_key: "k", filter_data: "v" }];
  expect(await ask({ ext_filter: { type: 4, filter_ext_key: "any", filter_data_list: list } })).toBeObject();
  for (const none of [null, { type: 0 }, {}]) expect(await ask({ ext_filter: none })).toBeObject();
  for (const [bad, why] of [
    [{ ...filter, filter_data: "(" }, "filter_data: a ) is missing"],
    [{ type: 9, filter_ext_key: "k" }, "type must be 1 (exact), 2 (regular expression), 3 (glob) or 4 (several)"],
    [{ type: 1, filter_ext_key: "" }, "filter_ext_key must have 1 to 1000 characters"],
    [{ type: 3, filter_ext_key: "k", filter_data: "a[b" }, "filter_data: a ] is missing"],
    [{ type: 3, filter_ext_key: "k", filter_data: "a}" }, "filter_data: a } has no {"],
    [{ type: 3, filter_ext_key: "k", filter_data: "a\\" }, "filter_data: a \\ is at the end"],
    [{ type: 4, filter_ext_key: "foo", filter_data_list: list }, "filter_ext_key must be all or any for type 4"],
    [{ type: 4, filter_ext_key: "all" }, "filter_data_list must have 1 to 100 pairs for type 4"],
  ] as const) {
    expect(await ask({ ext_filter: bad })).toBe(`E_BAD_BODY IDENTIFY invalid ext_filter: ${why}`);
  }
  for (const bad of [{ ext_filter: 5 }, { ext_filter: { type: "1" } }, { extend_support: 1 }, { desired_tag: true }]) {
    expect(await ask(bad)).toBe("E_BAD_BODY IDENTIFY failed to decode JSON body");
  }
  expect(await ask({ desired_tag: "t".repeat(101) })).toBe("E_BAD_BODY IDENTIFY invalid tag len 101, exceed limit 100");
});

test("an output buffer timeout that is too short is raised for Youzan's clients, and refused for NSQ's", async () => {
  await using server = InProcess.start();
  const ask = async (fields: object) => {
    const client = await server.client();
    client.command("IDENTIFY", JSON.stringify({ feature_negotiation: true, output_buffer_timeout: 10, ...fields }));
    return (await client.next()).text;
  };
  expect(await ask({})).toBe("E_BAD_BODY IDENTIFY output buffer timeout (10) is invalid");
  expect(await ask({ multiplexing: true })).toContain('"output_buffer_timeout":25');
  expect(await ask({ multiplexing: true, output_buffer_timeout: -2 })).toBe("E_BAD_BODY IDENTIFY output buffer timeout (-2) is invalid");
});

test("a failed publish is answered in its turn, and the connection goes on", async () => {
  await using server = InProcess.start();
  const client = await youzan(server);
  await server.publish("t", "before");
  const [partition] = server.broker.registry.topic("t").partitions;
  const files = partition?.log.files;
  if (files === undefined) throw new Error("no files");
  const { commit } = files;
  files.commit = () => {
    throw new Error("ENOSPC");
  };
  client.write(
    Buffer.concat([
      Buffer.from("PUB_TRACE t\n"),
      sized(traced(1n, "a")),
      Buffer.from("PUB t\n"),
      sized("b"),
      Buffer.from("PUB_EXT t\n"),
      sized(withHeader("[", "c")),
      Buffer.from("MPUB_TRACE t\n"),
      sized(Buffer.concat([Buffer.from([0, 0, 0, 1]), sized(traced(2n, "d"))])),
    ]),
  );
  const texts = [];
  for (let i = 0; i < 4; i++) texts.push((await client.next()).text);
  expect(texts).toEqual([
    "E_PUB_FAILED ENOSPC",
    "E_PUB_FAILED ENOSPC",
    "E_INVALID_JSON_HEADER fail to parse json header:cannot parse JSON: it is not valid",
    "E_MPUB_FAILED ENOSPC",
  ]);
  files.commit = commit;
  client.command("PUB_TRACE t", traced(3n, "e"));
  // The ids of the refused ones are given again.
  expect((await client.next()).data.toString("hex", 2, 10)).toBe("0000000000000002");
});

test("publishes and SUBs to a broker that is drained, or whose disk is full, are sent to another one", async () => {
  await using server = InProcess.start();
  await server.publish("t", "before");
  const client = await youzan(server);
  server.broker.publishing.refuseOnDisk(new Error("full"));
  client.command("PUB t", "x");
  expect((await client.next()).text).toBe("E_FAILED_ON_NOT_WRITABLE ");
  server.broker.publishing.refuseOnDisk(undefined);
  expect(await client.call("PUB t", "x")).toBe("OK");
  server.broker.publishing.startDraining();
  client.command("PUB_TRACE t", traced(1n, "x"));
  expect((await client.next()).text).toBe("E_FAILED_ON_NOT_WRITABLE ");
  client.command("SUB t ch");
  expect((await client.next()).text).toBe("E_FAILED_ON_NOT_LEADER ");
  await client.untilClosed();
});

test("a client that negotiated idempotency sends keys in place of partitions", async () => {
  await using server = InProcess.start();
  makeTopic(server.broker, "t", {}, 2);
  const client = await youzan(server, { multiplexing: true, idempotency: true });
  for (let i = 0; i < 2; i++) expect(await client.call("PUB t 1", "once")).toBe("OK");
  expect(server.broker.registry.topic("t").partitions.map(({ log }) => log.next)).toEqual([1, 0]);
});

test("a publish with a trace id that is repeated is not said to be where it is not", async () => {
  await using server = InProcess.start();
  const client = await youzan(server, { message_headers: true, idempotency: true });
  const body = withHeader('{"##trace_id":"7"}', "x");
  client.command("PUB_EXT t -1 once", body);
  expect((await client.next()).data.toString("hex", 2, 18)).toBe("00000000000000010000000000000007");
  expect(await client.call("PUB_EXT t -1 once", body)).toBe("OK");
  client.command("PUB_EXT t", body);
  expect((await client.next()).data.toString("hex", 2, 18)).toBe("00000000000000020000000000000007");
});

test("the key of a publish that failed is not the next one's", async () => {
  await using server = InProcess.start();
  makeTopic(server.broker, "t", {}, 1);
  const client = await youzan(server, { multiplexing: true, idempotency: true });
  server.broker.publishing.refuseOnDisk(new Error("full"));
  client.command("PUB t once", "first");
  expect((await client.next()).text).toBe("E_FAILED_ON_NOT_WRITABLE ");
  server.broker.publishing.refuseOnDisk(undefined);
  expect(await client.call("PUB_EXT t", withHeader("{}", "second"))).toBe("OK");
  expect(await client.call("PUB t once", "first")).toBe("OK");
  expect(server.broker.registry.topic("t").messageCount).toBe(2);
});

test("a channel without consumers begins where the first one says, and others' words do not count", async () => {
  await using server = InProcess.start();
  await server.publish("t", ..."abcde");
  const first = async (offset: string, channel = offset.replace(/\W/g, "_")) => {
    const client = await youzan(server);
    await client.call(`SUB_ADVANCED t ${channel} 0 ${offset}`);
    client.command("RDY 1");
    return client;
  };
  const body = async (client: RawClient) => (await client.message()).data.toString("latin1", 12);
  expect(await body(await first("msgcount:3"))).toBe("c");
  expect(await body(await first("msgcount:0"))).toBe("a");
  expect(await body(await first("virtual_queue:70"))).toBe("c");
  expect(await body(await first("timestamp:0"))).toBe("a");
  const used = await first("msgcount:4", "used");
  expect(await body(used)).toBe("d");
  const second = await first("msgcount:1", "used");
  expect(await body(second)).toBe("e");
  used.close();
  second.close();
  const atEnd = await first("special:-1", "end");
  await server.publish("t", "f");
  expect(await body(atEnd)).toBe("f");
});

test("a batch with an error in it publishes nothing, and the connection goes on", async () => {
  await using server = InProcess.start();
  makeTopic(server.broker, "t", {});
  const client = await youzan(server);
  const items = [withHeader("{}", "1"), withHeader("{", "2"), withHeader("{}", "3")].map((item) => sized(item));
  client.command("MPUB_EXT t", Buffer.concat([Buffer.from([0, 0, 0, 3]), ...items]));
  expect((await client.next()).text).toStartWith("E_INVALID_JSON_HEADER fail to parse json header:");
  expect(await client.call("PUB t", "x")).toBe("OK");
  expect(server.broker.registry.topic("t").partitions[0]?.log.next).toBe(1);
});

test("a client that negotiated message_headers stays one of NSQ's, and its publishes with headers make topics and have keys", async () => {
  await using server = InProcess.start();
  const client = await server.client();
  const answer = await client.call("IDENTIFY", '{"feature_negotiation":true,"message_headers":true,"idempotency":true}');
  expect(JSON.parse(answer)).toMatchObject({ message_headers: true, idempotency: true });
  expect(await client.call("PUB_EXT new", withHeader('{"a":"1"}', "one"))).toBe("OK");
  expect(await client.call("PUB_EXT new -1 key", withHeader('{"a":"2"}', "two"))).toBe("OK");
  expect(await client.call("PUB_EXT new -1 key", withHeader('{"a":"2"}', "two"))).toBe("OK");
  const pair = Buffer.concat([Buffer.from([0, 0, 0, 2]), sized(withHeader('{"a":"3"}', "three")), sized(withHeader("", "four"))]);
  for (let i = 0; i < 2; i++) expect(await client.call("MPUB_EXT new -1 pair", pair)).toBe("OK");
  // The third word of PUB is a key still, no partition.
  for (let i = 0; i < 2; i++) expect(await client.call("PUB new 7", "five")).toBe("OK");
  expect(await client.call("SUB new ch")).toBe("OK");
  client.command("RDY 10");
  const frames = await messages(client, 5);
  expect(frames.map(({ text }) => text)).toEqual(["one", "two", "three", "four", "five"]);
  for (const { id } of frames) expect(id).toMatch(/^[0-9a-f]{16}$/);

  // A partition can only be named where there are some.
  const early = await youzan(server, { message_headers: true });
  early.command("PUB_EXT other 5", withHeader("{}", "x"));
  expect((await early.next()).text).toBe("E_TOPIC_NOT_EXIST ");
  expect(server.broker.registry.topics.has("other")).toBeFalse();
  const bad = await server.client();
  await bad.call("IDENTIFY", '{"message_headers":true}');
  bad.command("PUB_EXT no!topic", withHeader("{}", "x"));
  expect((await bad.next()).text).toBe('E_BAD_TOPIC PUB_EXT topic name "no!topic" is not valid');
});

test("a consumer that negotiated message_headers makes its topic, and gets messages with headers from any", async () => {
  await using server = InProcess.start();
  const producer = await youzan(server, { message_headers: true });
  for (const topic of ["new", "plain"]) {
    if (topic === "plain") server.broker.registry.topicWith(topic, 1, { extended: false });
    const client = await youzan(server, { message_headers: true, extend_support: true });
    expect(await client.call(`SUB ${topic} ch`)).toBe("OK");
    expect(await producer.call(`PUB ${topic}`, "x")).toBe("OK");
    client.command("RDY 1");
    const { text } = await client.message();
    expect(text).toBe("\0x");
  }
});

test("a batch for several partitions that is repeated with its idempotency key is published once, and what was missing of it is", async () => {
  await using server = InProcess.start();
  server.broker.registry.topicWith("t", 8);
  const client = await youzan(server, { message_headers: true, idempotency: true });
  const items = ["a", "b", "", "c", "d", ""].map((key, i) => sized(withHeader(key === "" ? "" : `{"##key":"${key}"}`, `${i}`)));
  const batch = Buffer.concat([Buffer.from([0, 0, 0, items.length]), ...items]);
  for (let i = 0; i < 3; i++) expect(await client.call("MPUB_EXT t -1 again", batch)).toBe("OK");
  const topic = server.broker.registry.topic("t");
  expect(topic.messageCount).toBe(items.length);
  expect(topic.partitions.filter(({ messageCount }) => messageCount > 0).length).toBeGreaterThan(2);
  client.command(`MPUB_EXT t -1 ${"k".repeat(255)}`, batch);
  expect((await client.next()).text).toBe("E_INVALID MPUB_EXT idempotency key longer than 250 bytes");
});

test("DPUB_EXT defers a message with its header and key, for clients that negotiated message_headers", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  server.broker.registry.topicWith("t", 8);
  const client = await youzan(server, { message_headers: true, idempotency: true });
  for (let i = 0; i < 2; i++) expect(await client.call("DPUB_EXT t 5000 -1 once", withHeader('{"##key":"a"}', "later"))).toBe("OK");
  expect(await client.call("PUB_EXT t", withHeader('{"##key":"a"}', "now"))).toBe("OK");
  const consumer = await youzan(server, { extend_support: true });
  await consumer.call("SUB t ch");
  consumer.command("RDY 10");
  const now = await consumer.message();
  await clock.pass(5_000);
  const later = await consumer.message();
  expect(later.text).toBe('\x04\0\r{"##key":"a"}later');
  // Both are in the partition of the key.
  expect(later.id.slice(0, 2)).toBe(now.id.slice(0, 2));
  await expectNothing(consumer);
  for (const [line, error] of [
    ["DPUB_EXT t", "E_INVALID DPUB_EXT insufficient number of parameters"],
    ["DPUB_EXT t x", "E_INVALID DPUB_EXT could not parse timeout x"],
    ["DPUB_EXT t 5 zz", 'E_BAD_PARTITION topic partition is not valid: strconv.Atoi: parsing "zz": invalid syntax'],
  ] as const) {
    const bad = await youzan(server, { message_headers: true });
    bad.command(line);
    expect((await bad.next()).text).toBe(error);
  }
  const other = await server.client();
  other.command("DPUB_EXT t 5", withHeader("{}", "x"));
  expect((await other.next()).text).toBe("E_INVALID invalid command DPUB_EXT");
});

test("a topic that Youzan's clients must use in order takes keys from clients that negotiated message_headers, and serves them", async () => {
  await using server = InProcess.start();
  makeTopic(server.broker, "t", { ordered: true }, 4);
  const client = await youzan(server, { message_headers: true });
  expect(await client.call("PUB_EXT t", withHeader('{"##key":"a"}', "x"))).toBe("OK");
  const consumer = await youzan(server, { message_headers: true, extend_support: true, channel_order: "key" });
  expect(await consumer.call("SUB t ch")).toBe("OK");
  consumer.command("RDY 1");
  expect((await consumer.message()).text).toEndWith("x");
  const other = await youzan(server);
  other.command("PUB_EXT t", withHeader('{"##key":"a"}', "x"));
  expect((await other.next()).text).toStartWith("E_BAD_PARTITION");
});
