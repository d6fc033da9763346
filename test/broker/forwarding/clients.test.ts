import { expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import type { RoutedTopic } from "../../../src/broker/cluster-routing.ts";
import type { ForwardAnswer, ForwardedPublish } from "../../../src/broker/forwarding/forwarded-publish.ts";
import { Forwarder } from "../../../src/broker/forwarding/forwarder.ts";
import type { LinkAnswer } from "../../../src/broker/forwarding/leader-links.ts";
import { OwnPartitions } from "../../../src/broker/forwarding/own-partitions.ts";
import { encodedHeader } from "../../../src/frame/header.ts";
import { murmur3 } from "../../../src/frame/murmur3.ts";
import { traced, withHeader } from "../../behaviour/youzan/support/player.ts";
import { InProcess, messages, numbers } from "../../support/in-process.ts";
import { type RawClient, sized } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";

const PARTITIONS = 4;
const MIB = 1024 * 1024;

interface Sent {
  readonly uid: string;
  readonly publish: ForwardedPublish;
  readonly answer: (answer: LinkAnswer) => void;
}

/** A broker whose clients publish to topics that other brokers lead: each partition of a topic `t…` is led by one of its own. */
class Front implements AsyncDisposable {
  readonly sent: Sent[] = [];
  readonly forwarder: Forwarder;

  private constructor(readonly server: InProcess) {
    const routed: RoutedTopic = {
      partitions: PARTITIONS,
      keyPartitions: PARTITIONS,
      leader: (partition) => ({ uid: `broker ${partition}`, tcp: `${partition}:4150`, http: "", isOurs: false }),
    };
    const routing = {
      topic: (name: string) => (name.startsWith("t") ? routed : undefined),
      create: () => Promise.resolve(new Error("no topic can be made")),
      listen: () => () => {},
    };
    const links = {
      send: (uid: string, publish: ForwardedPublish, answer: (answer: LinkAnswer) => void) => {
        this.sent.push({ uid, publish, answer });
      },
    };
    const own = new OwnPartitions(server.broker);
    const parts = { routing, links, own, uid: "ours", clock: systemClock, isWaiting: () => false, forwards: true };
    this.forwarder = new Forwarder(parts);
    server.broker.publishing.forwarder = this.forwarder;
  }

  static start(): Front {
    return new Front(InProcess.start());
  }

  async client(identity?: object): Promise<RawClient> {
    const client = await this.server.client();
    if (identity !== undefined) await client.call("IDENTIFY", JSON.stringify({ feature_negotiation: true, ...identity }));
    return client;
  }

  async untilSent(count: number): Promise<void> {
    await until(`${count} publishes to come`, () => this.sent.length >= count);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.forwarder.close();
    await this.server[Symbol.asyncDispose]();
  }
}

async function texts(client: RawClient, count: number): Promise<string[]> {
  const answers: string[] = [];
  while (answers.length < count) answers.push((await client.next()).text);
  return answers;
}

const DONE: ForwardAnswer = { kind: "done", place: undefined };

test("answers come in the order of the client's commands, whoever carries them out, and however late leaders answer", async () => {
  await using front = Front.start();
  const client = await front.client();
  // What comes of the last one tells which answer is which.
  for (const line of ["PUB t", "PUB here#ephemeral", "PUB t", "PUB here#ephemeral", "PUB t"]) client.command(line, "x");
  client.command("PUB t", "last");
  await front.untilSent(4);
  const [first, second, third, last] = front.sent as [Sent, Sent, Sent, Sent];
  last.answer({ kind: "refused", reason: "the disk is full" });
  third.answer(DONE);
  second.answer(DONE);
  client.command("NOP");
  const other = await front.client();
  expect(await other.call("PUB here#ephemeral", "y")).toBe("OK");
  first.answer(DONE);
  expect(await texts(client, 6)).toEqual(["OK", "OK", "OK", "OK", "OK", "E_PUB_FAILED PUB failed the disk is full"]);
  await client.untilClosed();
});

test("one that fails does not make others of its client fail that came before it", async () => {
  await using front = Front.start();
  const client = await front.client();
  for (let i = 0; i < 3; i++) client.command("PUB t", "x");
  await front.untilSent(3);
  front.sent[1]?.answer({ kind: "refused", reason: "no" });
  front.sent[2]?.answer(DONE);
  front.sent[0]?.answer(DONE);
  expect(await texts(client, 2)).toEqual(["OK", "E_PUB_FAILED PUB failed no"]);
  await client.untilClosed();
});

test("Youzan's clients are told in their words, and their connections go on", async () => {
  await using front = Front.start();
  const client = await front.client({ extend_support: true });
  client.command("PUB t 1", "x");
  client.command("PUB t 9", "x");
  await front.untilSent(1);
  front.sent[0]?.answer({ kind: "refused", reason: "too few replicas are in sync" });
  expect(await texts(client, 2)).toEqual(["E_FAILED_ON_NOT_WRITABLE ", "E_TOPIC_NOT_EXIST "]);
});

test("beyond the bound of one leader its clients are not read, and others are", async () => {
  await using front = Front.start();
  const stuck = await front.client();
  const body = Buffer.alloc(MIB / 2, "x");
  // All of them go to the partition of one key.
  await stuck.call("IDENTIFY", JSON.stringify({ feature_negotiation: true, message_headers: true }));
  for (let i = 0; i < 24; i++) stuck.command("PUB_EXT t 2", withHeader("{}", body.toString()));
  await front.untilSent(16);
  const other = await front.client({ message_headers: true });
  other.command("PUB_EXT t 3", withHeader("{}", "small"));
  await until("the other one is served", () => front.sent.some(({ uid }) => uid === "broker 3"));
  const toTwo = () => front.sent.filter(({ uid }) => uid === "broker 2");
  expect([toTwo().length, front.forwarder.heldBytes < 9 * MIB]).toEqual([16, true]);
  for (let answered = 0; answered < 25; ) {
    await until("more to come", () => front.sent.length > 0);
    const some = front.sent.splice(0);
    answered += some.length;
    for (const { answer } of some) answer(DONE);
  }
  expect(await texts(stuck, 24)).toEqual(Array(24).fill("OK"));
  expect(front.forwarder.heldBytes).toBe(0);
});

test("a topic that cannot be made is refused with why, over TCP and in a subscription", async () => {
  await using front = Front.start();
  const client = await front.client();
  client.command("PUB unknown", "x");
  expect(await texts(client, 1)).toEqual(["E_PUB_FAILED PUB failed no topic can be made"]);
});

test("a batch with keys goes to the leaders of its keys, each part with an idempotency key of its own", async () => {
  await using front = Front.start();
  const client = await front.client({ message_headers: true, idempotency: true });
  const keys = numbers(20).map((number) => `key ${number}`);
  const items = keys.map((key) => withHeader(JSON.stringify({ "##key": key }), `of ${key}`));
  const count = Buffer.alloc(4);
  count.writeUInt32BE(items.length);
  client.command("MPUB_EXT t -1 id", Buffer.concat([count, ...items.map(sized)]));
  await front.untilSent(PARTITIONS);
  const got = front.sent.map(({ uid, publish }) => {
    const { partition, key, messages: bytes } = publish;
    const bodies: string[] = [];
    for (let at = 4; at < bytes.length; at += 4 + bytes.readUInt32BE(at)) {
      const header = encodedHeader(bytes, at);
      bodies.push(bytes.toString("latin1", at + 38 + header.length, at + 4 + bytes.readUInt32BE(at)));
    }
    expect([uid, key]).toEqual([`broker ${partition}`, `id/${partition}`]);
    return [partition, bodies] as const;
  });
  const partitionOf = (key: string) => murmur3(Buffer.from(key), 0, key.length, 0) % PARTITIONS;
  for (const [partition, bodies] of got)
    expect(bodies).toEqual(keys.filter((key) => partitionOf(key) === partition).map((key) => `of ${key}`));
  for (const { answer } of front.sent.slice(1)) answer(DONE);
  front.sent[0]?.answer({ kind: "unknown", reason: "gone", knowsKeys: true });
  // With a key it is sent again.
  await front.untilSent(PARTITIONS + 1);
  front.sent[PARTITIONS]?.answer(DONE);
  expect(await texts(client, 1)).toEqual(["OK"]);
});

test("messages of a batch that have no key do not take those that have one along to any partition", async () => {
  await using front = Front.start();
  const client = await front.client({ message_headers: true });
  const partitionOf = (key: string) => murmur3(Buffer.from(key), 0, key.length, 0) % PARTITIONS;
  // They belong to the first partition, as what goes to any leader may seem to.
  const keys = numbers(100).filter((key) => partitionOf(key) === 0);
  const items = ["", ...keys.slice(0, 3), "", ""].map((key) =>
    withHeader(key === "" ? "{}" : JSON.stringify({ "##key": key }), `of ${key}`),
  );
  const count = Buffer.alloc(4);
  count.writeUInt32BE(items.length);
  const body = Buffer.concat([count, ...items.map(sized)]);
  const rounds = PARTITIONS + 1;
  for (let round = 0; round < rounds; round++) client.command("MPUB_EXT t -1", body);
  await front.untilSent(2 * rounds);
  for (const { publish } of front.sent) {
    const bodies = [...publish.messages.toString("latin1").matchAll(/of \d+/g)].map(([text]) => text);
    if (bodies.length > 0) expect([publish.partition, bodies]).toEqual([0, keys.slice(0, 3).map((key) => `of ${key}`)]);
  }
  for (const { answer } of front.sent) answer(DONE);
  expect(await texts(client, rounds)).toEqual(Array(rounds).fill("OK"));
});

test("with an idempotency key and nothing else to go by, a publish always goes to the same partition", async () => {
  await using front = Front.start();
  const client = await front.client({ idempotency: true });
  for (let i = 0; i < 3; i++) client.command("PUB t some-key", "x");
  for (let i = 0; i < 4; i++) client.command("PUB t", "x");
  await front.untilSent(7);
  const partitions = front.sent.map(({ publish }) => publish.partition);
  expect(new Set(partitions.slice(0, 3)).size).toBe(1);
  expect(new Set(partitions.slice(3)).size).toBe(PARTITIONS);
});

test("every kind of publish comes to the leader as it was sent", async () => {
  await using front = Front.start();
  await using leader = InProcess.start();
  leader.broker.registry.topicWith("t", PARTITIONS, {});
  const own = new OwnPartitions(leader.broker);
  const pump = setInterval(() => {
    for (const { publish, answer } of front.sent.splice(0))
      own.publish({ ...publish, messages: Buffer.from(publish.messages) }, (one) =>
        answer(one.kind === "unknown" ? { ...one, knowsKeys: true } : one),
      );
  }, 1);
  try {
    const client = await front.client({ message_headers: true, idempotency: true });
    expect(await client.call("PUB t", "pub")).toBe("OK");
    client.mpub("t", ["mpub 1", "mpub 2"]);
    expect(await client.response()).toBe("OK");
    expect(await client.call("DPUB t 1", "dpub")).toBe("OK");
    expect(await client.call("PUB_EXT t", withHeader('{"##key":"k","a":"b"}', "pub_ext"))).toBe("OK");
    expect(await client.call("DPUB_EXT t 1", withHeader('{"a":"c"}', "dpub_ext"))).toBe("OK");
    for (let i = 0; i < 2; i++) expect(await client.call("PUB_EXT t -1 twice", withHeader("{}", "once"))).toBe("OK");
    const youzan = await front.client();
    youzan.command("PUB_TRACE t 3", traced(0x1122334455667788n, "pub_trace"));
    const { data } = await youzan.next();
    expect([data.toString("latin1", 0, 2), data.readBigUInt64BE(2) >> 50n, data.readBigUInt64BE(10)]).toEqual([
      "OK",
      3n,
      0x1122334455667788n,
    ]);
    const consumer = await leader.consumer("t", "c", 100);
    const got = await messages(consumer, 8);
    expect(got.map(({ data: body }) => body.toString()).sort()).toEqual(
      ["dpub", "dpub_ext", "mpub 1", "mpub 2", "once", "pub", "pub_ext", "pub_trace"].sort(),
    );
    expect(leader.broker.publishing.forwarder).toBeUndefined();
  } finally {
    clearInterval(pump);
  }
});

test("a message that is moved goes to where its topic is led, and is finished when it is there", async () => {
  await using front = Front.start();
  const { broker } = front.server;
  const channel = broker.registry.topic("here").channel("c");
  await front.server.publish("here", "bad");
  const consumer = await front.server.consumer("here", "c", 1);
  const { id } = await consumer.message();
  const [part] = channel.partitions;
  const moved = broker.messageControl.move(part, part.partition.log.next - 1, "t-other");
  await front.untilSent(1);
  const [{ publish, answer }] = front.sent as [Sent];
  expect([publish.topic, publish.command, publish.key, publish.messages.toString("latin1", 8)]).toEqual([
    "t-other",
    "PUB",
    `move here c ${id}`,
    "bad",
  ]);
  answer(DONE);
  await moved;
  expect(channel.depth).toBe(0);
});

test("a leader refuses what is not laid out as it has to be, and what is longer than it allows", async () => {
  await using leader = InProcess.start({ maxMsgSizeBytes: 100 });
  leader.broker.registry.topicWith("t", 1, {});
  const own = new OwnPartitions(leader.broker);
  const plain = { topic: "t", partition: 0, command: "MPUB", key: "", deferMs: 0, origin: "", isRecords: false } as const;
  const bodies: [Partial<ForwardedPublish>, RegExp][] = [
    [{ messages: Buffer.from("00000001000000", "hex") }, /cut off/],
    [{ messages: Buffer.from("000000010000000161ff", "hex") }, /more than its messages/],
    [{ messages: Buffer.concat([Buffer.from("00000001000000c8", "hex"), Buffer.alloc(200)]) }, /too big/],
    [{ messages: Buffer.from("000000010000000161", "hex"), isRecords: true }, /too short/],
    [{ messages: Buffer.from("0000000200000001610000000162", "hex"), command: "PUB" }, /PUB of 2 messages/],
  ];
  for (const [more, reason] of bodies) {
    const answer = await new Promise<ForwardAnswer>((resolve) => own.publish({ ...plain, messages: Buffer.alloc(0), ...more }, resolve));
    expect(answer).toMatchObject({ kind: "refused", reason: expect.stringMatching(reason) });
  }
  const unknown = { ...plain, messages: Buffer.from("000000010000000161", "hex"), partition: 1 };
  expect(await new Promise<ForwardAnswer>((resolve) => own.publish(unknown, resolve))).toEqual({ kind: "not-leader" });
  leader.broker.publishing.startDraining();
  expect(await new Promise<ForwardAnswer>((resolve) => own.publish({ ...unknown, partition: 0 }, resolve))).toEqual({ kind: "not-leader" });
});
