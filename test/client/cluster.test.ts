import { expect, test } from "bun:test";
import { Consumer, Producer, type ProducerEvent } from "../../src/client/bun.ts";
import { encodeFrame, FRAME_TYPE_ERROR } from "../../src/frame/frame.ts";
import { until } from "../support/server.ts";
import { RecordingBroker, type RecordingOptions } from "./support/recording-broker.ts";

const FEATURES = { idempotency: true, message_headers: true, cluster: "c", cluster_keys: true };

type OnPublish = NonNullable<RecordingOptions["onPublish"]>;

/** Refuses a publish as brokers of a cluster do, which then end the connection. */
function refuse(socket: Parameters<OnPublish>[3], text: string): void {
  socket.write(encodeFrame(FRAME_TYPE_ERROR, text));
  socket.end();
}

/** Two brokers of one cluster, and a producer of both. The first one answers as a test says. */
async function stage(onPublish: OnPublish, options: Partial<ConstructorParameters<typeof Producer>[0]> = {}, features = FEATURES) {
  const one = new RecordingBroker([], { features, onPublish });
  const other = new RecordingBroker([], { features });
  const events: ProducerEvent[] = [];
  const producer = new Producer({ brokers: [one.address, other.address], onEvent: (event) => void events.push(event), ...options });
  await producer.ready();
  const end = async () => {
    await producer.close({ drainMs: 0 });
    one[Symbol.dispose]();
    other[Symbol.dispose]();
  };
  return { one, other, producer, events, end };
}

/** Publishes two messages one after the other, of which one goes to each broker. */
function publishTwo(producer: Producer) {
  return Promise.all(["a", "b"].map(async (body) => producer.publish("t", body, { idempotencyKey: `key-${body}` })));
}

test("what was under way to a broker of a cluster that is lost goes to another one with the same key, and is no duplicate", async () => {
  const { one, other, producer, events, end } = await stage(() => one.cut());
  const receipts = await publishTwo(producer);
  expect(receipts.map(({ broker, mayBeDuplicate }) => [broker, mayBeDuplicate])).toEqual([
    [other.address, false],
    [other.address, false],
  ]);
  expect(one.commands.length).toBe(1);
  // It has the line that the lost one had, with its key.
  expect(other.commands).toContain(one.commands[0] as string);
  expect(events.filter(({ type }) => type === "maybe-duplicated")).toEqual([]);
  await end();
});

test("brokers of different clusters know nothing of each other's keys", async () => {
  const one = new RecordingBroker([], { features: FEATURES, onPublish: () => one.cut() });
  const other = new RecordingBroker([], { features: { ...FEATURES, cluster: "d" } });
  await using producer = new Producer({ brokers: [one.address, other.address], sameBrokerMs: 0, maxReconnectMs: 100_000 });
  await producer.ready();
  const receipts = await publishTwo(producer);
  expect(receipts.map(({ mayBeDuplicate }) => mayBeDuplicate).sort()).toEqual([false, true]);
  one[Symbol.dispose]();
  other[Symbol.dispose]();
});

test("a publish of which the broker does not know whether it was carried out is repeated with its key", async () => {
  const reason =
    "PUB failed the broker that leads partition 0 of topic t went away before it answered: whether the messages were published is not known";
  const { one, other, producer, end } = await stage((_line, _body, _reply, socket) => refuse(socket, `E_PUB_FAILED ${reason}`));
  const receipts = await publishTwo(producer);
  expect(receipts.map(({ broker, mayBeDuplicate }) => [broker, mayBeDuplicate])).toEqual([
    [other.address, false],
    [other.address, false],
  ]);
  expect(other.commands).toContain(one.commands[0] as string);
  await end();
});

test("without a key it is rejected, and says that the message may be there", async () => {
  const reason = "PUB failed whether the messages were published is not known";
  const onPublish: OnPublish = (_line, _body, _reply, socket) => refuse(socket, `E_PUB_FAILED ${reason}`);
  const { producer, end } = await stage(onPublish, { idempotency: false, retry: "always" });
  const results = await Promise.allSettled(["a", "b"].map(async (body) => producer.publish("t", body, { deferMs: 0 })));
  const reasons = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
  expect(reasons).toMatchObject([{ code: "OUTCOME_UNKNOWN", mayBeDuplicate: true }]);
  await end();
});

test("a deferred publish whose connection is lost is not repeated: the next leader does not know its key", async () => {
  const { one, producer, end } = await stage(() => one.cut());
  const results = await Promise.allSettled(["a", "b"].map(async (body) => producer.publish("t", body, { deferMs: 60_000 })));
  const reasons = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
  expect(reasons).toMatchObject([{ code: "CONNECTION_LOST", mayBeDuplicate: true }]);
  await end();
});

test("what brokers of a cluster refuse during a fail-over is tried again until one takes it", async () => {
  let refusals = 0;
  const answers = [
    "E_PUB_FAILED PUB failed nobody leads partition 0 of topic t now",
    "E_FAILED_ON_NOT_LEADER ",
    "E_FAILED_ON_NOT_WRITABLE ",
    "E_PUB_FAILED PUB failed this broker does not lead the partition",
  ];
  const broker = new RecordingBroker([], {
    features: FEATURES,
    onPublish: (_line, _body, reply, socket) => {
      const answer = answers[refusals++];
      if (answer === undefined) reply("OK");
      else if (answer.startsWith("E_PUB")) refuse(socket, answer);
      else socket.write(encodeFrame(FRAME_TYPE_ERROR, answer));
    },
  });
  await using producer = new Producer({ brokers: [broker.address] });
  const receipt = await producer.publish("t", "x");
  expect([receipt.mayBeDuplicate, refusals]).toEqual([false, answers.length + 1]);
  expect(new Set(broker.commands).size).toBe(1);
  broker[Symbol.dispose]();
});

test("what may have been published before a broker refuses it keeps its key, and its messages stay together", async () => {
  let attempts = 0;
  const broker = new RecordingBroker([], {
    features: FEATURES,
    onPublish: (_line, _body, reply, socket) => {
      attempts++;
      if (attempts === 1) broker.cut();
      else if (attempts === 2) refuse(socket, "E_MPUB_FAILED MPUB failed 1 of 2 replicas are in sync");
      else reply("OK");
    },
  });
  await using producer = new Producer({ brokers: [broker.address], maxReconnectMs: 10 });
  await producer.ready();
  const receipts = await Promise.all(["a", "b", "c"].map((key) => producer.publish("t", `of ${key}`, { key })));
  expect(receipts.map(({ mayBeDuplicate }) => mayBeDuplicate)).toEqual([false, false, false]);
  expect([attempts, new Set(broker.commands).size]).toEqual([3, 1]);
  broker[Symbol.dispose]();
});

test("what is refused after it may have been published is rejected with that it may be there", async () => {
  let attempts = 0;
  const broker = new RecordingBroker([], {
    features: FEATURES,
    onPublish: (_line, _body, _reply, socket) => {
      if (attempts++ === 0) broker.cut();
      else refuse(socket, "E_PUB_FAILED PUB failed 1 of 2 replicas are in sync");
    },
  });
  await using producer = new Producer({ brokers: [broker.address], maxReconnectMs: 10, failOverMs: 300 });
  await producer.ready();
  await expect(producer.publish("t", "x")).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN", mayBeDuplicate: true });
  broker[Symbol.dispose]();
});

test("refusals do not count among the connections that a batch may break", async () => {
  let attempts = 0;
  const broker = new RecordingBroker([], {
    features: FEATURES,
    onPublish: (_line, _body, reply, socket) => {
      attempts++;
      if (attempts === 1 || attempts === 13) broker.cut();
      else if (attempts < 13) refuse(socket, "E_PUB_FAILED PUB failed 1 of 2 replicas are in sync");
      else reply("OK");
    },
  });
  await using producer = new Producer({ brokers: [broker.address], maxReconnectMs: 10 });
  await producer.ready();
  expect(await producer.publish("t", "x")).toMatchObject({ mayBeDuplicate: false });
  broker[Symbol.dispose]();
});

test("that ends after failOverMs, with what the broker said last", async () => {
  const broker = new RecordingBroker([], {
    features: FEATURES,
    onPublish: (_line, _body, _reply, socket) => refuse(socket, "E_PUB_FAILED PUB failed nobody leads partition 0 of topic t now"),
  });
  await using producer = new Producer({ brokers: [broker.address], failOverMs: 300, maxReconnectMs: 10 });
  await expect(producer.publish("t", "x")).rejects.toMatchObject({
    code: "E_PUB_FAILED",
    text: "E_PUB_FAILED PUB failed nobody leads partition 0 of topic t now",
  });
  expect(broker.commands.length).toBeGreaterThan(1);
  broker[Symbol.dispose]();
});

test("a consumer whose broker hangs up tries the others at once", async () => {
  const leader = new RecordingBroker([], { features: FEATURES });
  const refusal = "E_SUB_FAILED SUB failed this broker leads no partition of topic t";
  const follower = new RecordingBroker([], { features: FEATURES, refusal });
  const tried: string[] = [];
  const consumer = new Consumer({
    brokers: [leader.address, follower.address],
    topic: "t",
    channel: "c",
    // The second attempt would come after a minute.
    maxReconnectMs: 3_600_000,
    onEvent: (event) => {
      if (event.type === "connected") tried.push(event.broker);
    },
  });
  void consumer.run(() => {});
  const triesOf = (address: string) => tried.filter((broker) => broker === address).length;
  await until("the follower has refused often enough", () => consumer.connected.length === 1 && triesOf(follower.address) >= 4);
  const before = triesOf(follower.address);
  leader.cut();
  await until("it is tried again", () => triesOf(follower.address) > before);
  await consumer.close({ drainMs: 0 });
  leader[Symbol.dispose]();
  follower[Symbol.dispose]();
});
