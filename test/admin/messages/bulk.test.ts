import { expect, test } from "bun:test";
import { numbers } from "../../support/in-process.ts";
import { missing, testUnless } from "../../support/needs.ts";
import { startServer } from "../../support/server.ts";
import { WithAdmin } from "../support/with-admin.ts";

const T = { topic: "t", channel: "ch" };

/** Messages and a channel at each broker. */
async function fill({ brokers }: WithAdmin, count: number): Promise<void> {
  for (const { started, broker } of brokers) {
    broker.registry.topic("t").channel("ch");
    await started.publish("t", ...numbers(count));
  }
}

function depths({ brokers }: WithAdmin): (number | undefined)[] {
  return brokers.map(({ broker }) => broker.registry.topics.get("t")?.channels.get("ch")?.depth);
}

function waiting(q: string, limit = 10_000) {
  return { state: "waiting", match: "regexp", q, limit };
}

test("what a search finds is finished, requeued, copied and moved at all brokers, as many as the preview says", async () => {
  await using site = WithAdmin.start();
  await fill(site, 30);
  const both = async (request: object) => {
    const preview = await site.post("/messages", { ...T, ...request, preview: true });
    const result = await site.post("/messages", { ...T, ...request, preview: false });
    expect([preview.count, preview.done, preview.more, preview.failed]).toEqual([result.count, 0, result.more, []]);
    expect([result.done, result.failed]).toEqual([result.count, []]);
    return result;
  };
  expect(await both({ action: "finish", select: waiting("^1.$") })).toMatchObject({ count: 20, more: false });
  expect(depths(site)).toEqual([20, 20]);
  expect((await both({ action: "finish", select: waiting("^2.$", 5) })).more).toBe(true);
  expect(depths(site).reduce((sum, depth) => (sum ?? 0) + (depth ?? 0), 0)).toBe(35);
  expect((await both({ action: "move", to_topic: "dead", select: waiting("^[0-3]$") })).count).toBe(8);
  expect(depths(site).reduce((sum, depth) => (sum ?? 0) + (depth ?? 0), 0)).toBe(27);
  expect(site.brokers.map((broker) => broker.depth("dead"))).toEqual([4, 4]);
  expect((await both({ action: "copy", to_topic: "dead", select: { state: "log", match: "text", q: "29", limit: 10 } })).count).toBe(2);
  expect(site.brokers.map((broker) => broker.depth("dead"))).toEqual([5, 5]);
  expect((await both({ action: "requeue", delay_ms: 60_000, select: waiting("^[45]$") })).count).toBe(4);
  const { activity } = await site.get("/activity");
  expect(activity.map(({ action, detail }: { action: string; detail: string }) => `${action}: ${detail}`)).toEqual([
    "requeue_messages: 4 of 4 messages",
    "copy_messages: 2 of 2 messages to dead",
    "move_messages: 8 of 8 messages to dead",
    "finish_messages: 5 of 5 messages",
    "finish_messages: 20 of 20 messages",
  ]);
});

test("partitions that are too many to be searched at once are told of, and those of one that is chosen are found", async () => {
  await using site = WithAdmin.start({}, [], 1);
  const [server] = site.brokers;
  server?.broker.registry.topicWith("t", 70).channel("ch");
  for (const partition of [0, 69]) await server?.call("POST", `/pub?topic=t&partition=${partition}`, "x");
  const broker = site.addresses[0];
  const leftOut = { broker, message: "6 of its partitions are left out: choose one" };
  const page = await site.get("/messages?topic=t");
  expect([page.messages.length, page.unavailable]).toEqual([1, [leftOut]]);
  const finish = { ...T, action: "finish", preview: false };
  const some = await site.post("/messages", { ...finish, select: waiting("x") });
  expect(some).toEqual({ count: 1, more: true, done: 1, failed: [{ id: "", ...leftOut }] });
  const rest = await site.post("/messages", { ...finish, select: { ...waiting("x"), partition: 69 } });
  expect(rest).toEqual({ count: 1, more: false, done: 1, failed: [] });
});

test("messages are moved by their ids once, also by a repeated call", async () => {
  await using site = WithAdmin.start();
  await fill(site, 700);
  const [broker] = site.addresses;
  const { messages } = await site.get(`/messages?topic=t&broker=${broker}&limit=1000`);
  const request = { ...T, action: "move", to_topic: "dead", broker, ids: messages.map(({ id }: { id: string }) => id), preview: false };
  expect(await site.post("/messages", request)).toEqual({ count: 700, more: false, done: 700, failed: [] });
  const again = await site.post("/messages", request);
  expect([again.done, again.failed.length, again.failed[0].message]).toEqual([0, 100, "MESSAGE_FINISHED"]);
  expect(site.brokers.map((each) => each.depth("dead"))).toEqual([700, undefined]);
});

test("a message is published, byte by byte as it was sent, at once or later, and to a broker that answers", async () => {
  await using site = WithAdmin.start();
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
  const publish = { action: "publish", topic: "t", body: bytes.toString("base64"), preview: false };
  expect(await site.post("/messages", { ...publish, broker: site.addresses[1] })).toEqual({ count: 1, more: false, done: 1, failed: [] });
  // It goes where the topic is.
  await site.post("/messages", publish);
  expect(site.brokers.map((broker) => broker.depth("t"))).toEqual([undefined, 2]);
  const { messages } = await site.get("/messages?topic=t");
  expect(Buffer.from(messages[1].body, "base64").equals(bytes)).toBe(true);
  expect((await site.get("/activity")).activity[0]).toMatchObject({ action: "publish_message", topic: "t", ok: true });
});

test("a message is published with a key and a header, at the broker that has the key's partition", async () => {
  await using site = WithAdmin.start();
  for (const partition of [0, 1]) {
    const path = `/topic/create?topic=spread&partition_num=2&partitions=${partition}`;
    expect((await fetch(`http://${site.addresses[partition]}${path}`, { method: "POST" })).status).toBe(200);
  }
  const publish = { action: "publish", topic: "spread", body: "YQ==", preview: false };
  // The partition of this key is 1.
  const keyed = { ...publish, key: "hedy", headers: { region: "eu", tries: 2 } };
  expect(await site.post("/messages", keyed)).toEqual({ count: 1, more: false, done: 1, failed: [] });
  const { messages } = await site.get("/messages?topic=spread");
  const headers = { region: "eu", tries: 2, "##key": "hedy" };
  expect(messages).toMatchObject([{ broker: site.addresses[1], key: "hedy", headers, partition: 1 }]);
  expect((await site.post("/messages", { ...keyed, broker: site.addresses[0] })).failed).toEqual([
    { id: "", broker: site.addresses[0], message: "PARTITION_NOT_HERE" },
  ]);
  expect((await site.post("/messages", { ...publish, key: "k".repeat(1_025) })).failed).toMatchObject([{ message: "INVALID_MESSAGE_KEY" }]);
});

test("requests that are incomplete or not allowed are refused", async () => {
  await using site = WithAdmin.start({ adminUsers: ["ann"] });
  await fill(site, 3);
  const ann = { "X-Forwarded-User": "ann" };
  const refused = (request: object) => site.refusal(site.send("/messages", { ...T, preview: false, ...request }, ann));
  const id = "0123456789abcdef";
  expect(await refused({ action: "x" })).toBe("400 INVALID_ACTION");
  expect(await refused({ action: "finish", channel: "", ids: [id] })).toBe("400 INVALID_CHANNEL");
  expect(await refused({ action: "finish" })).toBe("400 INVALID_SELECT");
  expect(await refused({ action: "finish", select: waiting("", 10_001) })).toBe("400 INVALID_SELECT");
  expect(await refused({ action: "finish", select: waiting("(") })).toBe("400 INVALID_ARG_Q");
  for (const ids of [[], ["x"], [1], "a", Array(10_001).fill(id)]) expect(await refused({ action: "finish", ids })).toBe("400 INVALID_IDS");
  expect(await refused({ action: "finish", ids: [id] })).toBe("400 MISSING_BROKER");
  for (const to_topic of ["", "t", "!"]) expect(await refused({ action: "move", ids: [id], to_topic })).toBe("400 INVALID_TO_TOPIC");
  expect(await refused({ action: "requeue", ids: [id], delay_ms: -1 })).toBe("400 INVALID_DELAY");
  for (const body of ["", "!", 5]) expect(await refused({ action: "publish", body })).toMatch(/^400 INVALID_(MESSAGE|BODY)$/);
  for (const key of ["", 5, null]) expect(await refused({ action: "publish", body: "YQ==", key })).toBe("400 INVALID_KEY");
  for (const headers of [[], "{}", null]) expect(await refused({ action: "publish", body: "YQ==", headers })).toBe("400 INVALID_HEADERS");
  expect(await refused({ action: "publish", body: "YQ==", broker: "127.0.0.1:1" })).toBe("404 BROKER_NOT_FOUND");
  const finish = { ...T, action: "finish", select: waiting("") };
  expect(await site.refusal(site.send("/messages", { ...finish, preview: false }))).toBe("403 FORBIDDEN");
  expect((await site.send("/messages", { ...finish, preview: true })).status).toBe(200);
  expect(depths(site)).toEqual([3, 3]);
});

testUnless(missing("nsqd"))("what Go's nsqd cannot do fails there alone", async () => {
  await using nsqd = await startServer({ program: "nsqd", args: ["--broadcast-address=127.0.0.1"] });
  const go = `127.0.0.1:${nsqd.httpPort}`;
  await using site = WithAdmin.start({}, [go], 1);
  await nsqd.http("POST", "/pub?topic=t", "theirs");
  await fill(site, 3);
  const result = await site.post("/messages", { ...T, action: "finish", select: waiting(""), preview: false });
  expect([result.count, result.done]).toEqual([3, 3]);
  expect(result.failed).toEqual([{ id: "", broker: go, message: expect.stringContaining("cannot do that") }]);
  // It would drop a key without a word.
  const keyed = { ...T, action: "publish", body: "YQ==", key: "k", preview: false };
  expect((await site.post("/messages", { ...keyed, broker: go })).failed).toEqual([
    { id: "", broker: go, message: "this server knows no keys and headers, as Go's nsqd" },
  ]);
  expect(await site.post("/messages", keyed)).toMatchObject({ done: 1, failed: [] });
});
