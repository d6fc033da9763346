import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ActionRequest, Activity, BrokerRow } from "../../../src/admin/console-api.ts";
import { numbers, removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { type Server, startServer, until } from "../../support/server.ts";
import type { WithHttp } from "../../support/with-http.ts";
import { WithAdmin } from "../support/with-admin.ts";

function topicAt(broker: WithHttp | undefined, name: string) {
  return broker?.broker.registry.topics.get(name);
}

function channelAt(broker: WithHttp | undefined, topic = "t", channel = "ch") {
  return topicAt(broker, topic)?.channels.get(channel);
}

/** A topic `t` with a channel `ch` and messages at each broker. */
async function fill({ brokers }: WithAdmin, count = 10): Promise<void> {
  for (const { started, broker } of brokers) {
    broker.registry.topic("t").channel("ch");
    await started.publish("t", ...numbers(count));
  }
}

/** What a topic is at each broker, for the actions that are tested below. */
interface Look {
  topic: boolean;
  channel: boolean;
  topicPaused: boolean;
  channelPaused: boolean;
  depth: number | undefined;
  retention: number | undefined;
  durability: string | undefined;
}

function look(broker: WithHttp | undefined): Look {
  const topic = topicAt(broker, "t");
  const channel = channelAt(broker);
  return {
    topic: topic !== undefined,
    channel: channel !== undefined,
    topicPaused: topic?.paused === true,
    channelPaused: channel?.paused === true,
    depth: channel?.depth,
    retention: topic?.retention.bytes,
    durability: topic?.durability,
  };
}

const CASES: [request: Omit<ActionRequest, "topic">, changed: Partial<Look>][] = [
  [{ action: "pause" }, { topicPaused: true }],
  [{ action: "pause", channel: "ch" }, { channelPaused: true }],
  [{ action: "empty", channel: "ch", confirm: "ch" }, { depth: 0 }],
  [{ action: "seek", channel: "ch", to: "7", confirm: "ch" }, { depth: 3 }],
  [{ action: "retention", value: { bytes: 12345, time: "1h" } }, { retention: 12345 }],
  [{ action: "durability", value: { value: "fsync" } }, { durability: "fsync" }],
  [
    { action: "delete", channel: "ch", confirm: "ch" },
    { channel: false, channelPaused: false, depth: undefined },
  ],
  [
    { action: "delete", confirm: "t" },
    { topic: false, channel: false, depth: undefined, retention: undefined, durability: undefined },
  ],
];

for (const [request, changed] of CASES) {
  const name = `${request.action} of a ${request.channel === undefined ? "topic" : "channel"}`;

  test(`${name} is done at one broker, or at all that have the topic, and noted`, async () => {
    await using site = WithAdmin.start();
    await fill(site);
    const before = look(site.brokers[0]);
    const [first = "", second = ""] = site.addresses;
    const one = await site.post("/actions", { ...request, topic: "t", broker: second });
    expect(one).toEqual({ ok: true, results: [{ server: second, ok: true, message: "" }] });
    expect(site.brokers.map(look)).toEqual([before, { ...before, ...changed }]);
    const all = await site.post("/actions", { ...request, topic: "t" });
    expect(all.ok).toBe(true);
    expect(site.brokers.map(look)).toEqual(Array(2).fill({ ...before, ...changed }));
    const { activity } = await site.get("/activity?limit=10");
    const action = `${request.action}_${request.channel === undefined ? "topic" : "channel"}`;
    expect(activity.at(-1)).toMatchObject({ action, topic: "t", channel: request.channel ?? "", server: second, ok: true });
    const concerned = request.action === "delete" && request.channel === undefined ? [first] : [first, second];
    // A broker that has the topic without the channel is not concerned either.
    const expected = request.action === "delete" ? [first] : concerned;
    expect(
      activity
        .slice(0, -1)
        .map(({ server }: Activity) => server)
        .sort(),
    ).toEqual(expected.toSorted());
  });
}

test("a topic and a channel are created at all brokers without lookup servers, or at one", async () => {
  await using site = WithAdmin.start();
  await site.post("/actions", { action: "create", topic: "t", channel: "ch", broker: site.addresses[1] });
  expect(site.brokers.map((broker) => channelAt(broker) !== undefined)).toEqual([false, true]);
  const all = await site.post("/actions", { action: "create", topic: "t", channel: "ch" });
  expect(all.results.map(({ server, ok }: { server: string; ok: boolean }) => [server, ok])).toEqual(
    site.addresses.map((at) => [at, true]),
  );
  expect(site.brokers.map((broker) => channelAt(broker) !== undefined)).toEqual([true, true]);
});

test("a tombstone deletes the topic at its broker only", async () => {
  await using site = WithAdmin.start();
  await fill(site);
  await site.post("/actions", { action: "tombstone", topic: "t", broker: site.addresses[0], confirm: "t" });
  expect(site.brokers.map((broker) => topicAt(broker, "t") !== undefined)).toEqual([false, true]);
});

test("the preview of a seek says by broker what the seek then does, and is not noted", async () => {
  await using site = WithAdmin.start();
  await fill(site);
  await site.brokers[1]?.started.publish("t", ...numbers(5));
  for (const to of ["beginning", "12", "end"]) {
    const request = { action: "seek", topic: "t", channel: "ch", to };
    const { preview } = await site.post("/actions", { ...request, preview: true });
    expect(preview.map(({ depth }: { depth: number }) => depth)).toEqual(site.brokers.map((broker) => channelAt(broker)?.depth));
    await site.post("/actions", { ...request, confirm: "ch" });
    expect(preview.map((row: { new_depth: number }) => row.new_depth)).toEqual(site.brokers.map((broker) => channelAt(broker)?.depth));
  }
  expect((await site.get("/activity")).activity).toHaveLength(6);
});

test("a request that is incomplete, not confirmed or about nothing is refused, and changes nothing", async () => {
  await using site = WithAdmin.start();
  await fill(site);
  const before = site.brokers.map(look);
  const refused = (body: unknown) => site.refusal(site.send("/actions", body));
  const t = { topic: "t" };
  for (const body of [
    { ...t, action: "delete" },
    { ...t, action: "delete", confirm: "T" },
    { ...t, action: "delete", channel: "ch", confirm: "t" },
    { ...t, action: "empty", confirm: "" },
    { ...t, action: "seek", channel: "ch", to: "end" },
    { action: "drain", broker: site.addresses[0], confirm: "t" },
  ])
    expect(await refused(body)).toBe("400 NOT_CONFIRMED");
  for (const body of [null, [], {}, { action: "toString" }, { action: 1 }].slice(0, 4))
    expect(await refused(body)).toBe("400 INVALID_ACTION");
  expect(await refused({ action: 1 })).toBe("400 INVALID_BODY");
  expect(await refused({ action: "pause", topic: "!" })).toBe("400 INVALID_TOPIC");
  expect(await refused({ action: "pause", topic: 7 })).toBe("400 INVALID_BODY");
  expect(await refused({ ...t, action: "seek", to: "end", confirm: "t" })).toBe("400 INVALID_CHANNEL");
  expect(await refused({ ...t, action: "durability", channel: "ch", value: { value: "write" } })).toBe("400 INVALID_CHANNEL");
  expect(await refused({ ...t, action: "retention", value: { bytes: "1" } })).toBe("400 INVALID_VALUE");
  expect(await refused({ ...t, action: "trace", value: {} })).toBe("400 INVALID_VALUE");
  expect(await refused({ ...t, action: "tombstone" })).toBe("400 MISSING_BROKER");
  expect(await refused({ ...t, action: "pause", broker: "127.0.0.1:1" })).toBe("404 BROKER_NOT_FOUND");
  expect(await refused({ action: "pause", topic: "none" })).toBe("404 TOPIC_NOT_FOUND");
  expect(await refused({ ...t, action: "pause", channel: "none" })).toBe("404 CHANNEL_NOT_FOUND");
  expect(await refused({ action: "delete", topic: "none", confirm: "none" })).toBe("404 TOPIC_NOT_FOUND");
  expect(await site.refusal(site.send("/actions", {}, { "Content-Type": "text/plain" }))).toBe("415 INVALID_CONTENT_TYPE");
  expect(site.brokers.map(look)).toEqual(before);
});

test("who may not change something may not act, and sees previews", async () => {
  await using site = WithAdmin.start({ adminUsers: ["ann"] });
  await fill(site);
  const pause = { action: "pause", topic: "t" };
  expect(await site.refusal(site.send("/actions", pause))).toBe("403 FORBIDDEN");
  const seek = { action: "seek", topic: "t", channel: "ch", to: "end", preview: true };
  expect((await site.send("/actions", seek)).status).toBe(200);
  expect((await site.send("/actions", { ...pause, preview: true })).status).toBe(403);
  expect((await site.send("/actions", pause, { "X-Forwarded-User": "ann" })).status).toBe(200);
  expect((await site.get("/activity")).activity.map(({ user }: Activity) => user)).toEqual(["ann", "ann"]);
});

test("a broker that is down is a part of the result, and of the audit log; the endpoint is told of what was done", async () => {
  const told: { action: string; node?: string }[] = [];
  await using endpoint = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      told.push((await request.json()) as { action: string });
      return new Response();
    },
  });
  const folder = temporaryFolder();
  const auditLog = join(folder, "audit.log");
  const site = WithAdmin.start({ notificationHttpEndpoint: `http://127.0.0.1:${endpoint.port}/`, auditLog }, ["127.0.0.1:1"]);
  await fill(site);
  const result = await site.post("/actions", { action: "pause", topic: "t" });
  expect([result.ok, result.results.map(({ ok }: { ok: boolean }) => ok)]).toEqual([false, [true, true, false]]);
  expect(result.results[2]).toMatchObject({ server: "127.0.0.1:1", message: expect.stringContaining("connection refused") });
  const down = await site.post("/actions", { action: "unpause", topic: "t", broker: "127.0.0.1:1" });
  expect(down.ok).toBe(false);
  // nsqadmin's own API is noted, too.
  const legacy = (path: string, method: string, body: string) => fetch(site.url("").replace("/api/v1", path), { method, body });
  expect((await legacy("/api/topics/t/ch", "POST", '{"action":"pause"}')).status).toBe(200);
  expect((await legacy("/api/topics/none/ch", "POST", '{"action":"pause"}')).status).toBe(404);
  await until("the endpoint was told", () => told.length === 2);
  expect(told.map(({ action }) => action)).toEqual(["pause_topic", "pause_channel"]);
  await site[Symbol.asyncDispose]();
  const lines = readFileSync(auditLog, "utf8").trim().split("\n");
  const noted = lines.map((line) => JSON.parse(line) as Activity).map(({ action, topic, ok }) => `${action} ${topic} ${ok}`);
  expect(noted.slice(0, 4)).toEqual(["pause_topic t true", "pause_topic t true", "pause_topic t false", "unpause_topic t false"]);
  expect(noted.filter((line) => line.startsWith("pause_channel"))).toEqual([
    "pause_channel t true",
    "pause_channel t false",
    "pause_channel none false",
  ]);
  removeFolder(folder);
});

test("the settings of a topic are shown as they were set just now", async () => {
  await using site = WithAdmin.start({}, [], 1);
  site.brokers[0]?.broker.registry.topic("t");
  await until("the topic is watched", async () => (await fetch(site.url("/topics/t"))).ok);
  const traced = async () => (await site.get("/topics/t")).settings.traced;
  expect(await traced()).toBe(false);
  await site.post("/actions", { action: "trace", topic: "t", value: { on: true } });
  expect(await traced()).toBe(true);
});

describeUnless(missing("nsqd"))("at Go's nsqd and bunsq's brokers", () => {
  let go: Server;
  let site: WithAdmin;
  let ours = "";
  let theirs = "";

  beforeAll(async () => {
    go = await startServer({ program: "nsqd", args: ["--broadcast-address=127.0.0.1"] });
    theirs = `127.0.0.1:${go.httpPort}`;
    site = WithAdmin.start({}, [theirs], 1);
    ours = site.addresses[0] ?? "";
    await fill(site);
    await go.http("POST", "/topic/create?topic=t");
    await go.http("POST", "/channel/create?topic=t&channel=ch");
    await until("both are watched", async () => (await site.get("/brokers")).rows.every(({ version }: BrokerRow) => version !== ""));
  });

  afterAll(async () => {
    await site[Symbol.asyncDispose]();
    await go.stop("SIGKILL");
  });

  for (const request of [
    { action: "retention", value: { bytes: 12345 } },
    { action: "durability", value: { value: "fsync" } },
    { action: "trace", value: { on: true } },
    { action: "trace", channel: "ch", value: { on: false } },
    { action: "seek", channel: "ch", to: "end", preview: true },
    { action: "seek", channel: "ch", to: "end", confirm: "ch" },
  ]) {
    test(`${JSON.stringify(request)} succeeds if all that can have done it, and says who cannot`, async () => {
      const unsupported = { server: theirs, ok: false, message: "not supported by nsqd 1.3.0", unsupported: true };
      const { ok, results } = await site.post("/actions", { ...request, topic: "t" });
      expect({ ok, results }).toEqual({ ok: true, results: [{ server: ours, ok: true, message: "" }, unsupported] });
      const only = await site.post("/actions", { ...request, topic: "t", broker: theirs });
      expect([only.ok, only.results]).toEqual([false, [unsupported]]);
      if ("preview" in request) return;
      const { activity } = await site.get("/activity?limit=2");
      expect(activity).toMatchObject([
        { server: theirs, ok: false, detail: "not supported by nsqd 1.3.0" },
        { server: ours, ok: true },
      ]);
    });
  }

  for (const [topic, made] of [
    ["split", { value: { partitions: 3 } }],
    ["chosen", { channel: "ch", value: { order: "key" } }],
  ] as const) {
    test(`${JSON.stringify(made)} is not made at Go's, which would ignore it`, async () => {
      const unsupported = { server: theirs, ok: false, message: "not supported by nsqd 1.3.0", unsupported: true };
      const { ok, results } = await site.post("/actions", { action: "create", topic, ...made });
      expect([ok, results.toSorted((a: { ok: boolean }) => (a.ok ? -1 : 1))]).toEqual([
        true,
        [{ server: ours, ok: true, message: "" }, unsupported],
      ]);
      const { topics } = (await (await go.http("GET", `/stats?format=json&topic=${topic}`)).json()) as {
        topics: { channels: object[] }[] | null;
      };
      expect((topics ?? []).flatMap(({ channels }) => channels)).toEqual([]);
      const only = await site.post("/actions", { action: "create", topic, ...made, broker: theirs });
      expect([only.ok, only.results]).toEqual([false, [unsupported]]);
    });
  }

  test("what all can do is done at all", async () => {
    const { ok, results } = await site.post("/actions", { action: "pause", topic: "t" });
    expect([ok, results.map(({ ok: each }: { ok: boolean }) => each)]).toEqual([true, [true, true]]);
  });
});

test("a channel that a lookup server has created, and then does not say where its topic is, is created with a failure", async () => {
  using lookup = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: ({ method }) => (method === "POST" ? new Response("") : Response.json({ message: "BROKEN" }, { status: 500 })),
  });
  const at = `127.0.0.1:${lookup.port}`;
  await using site = WithAdmin.start({ nsqdHttpAddresses: [], lookupdHttpAddresses: [at] }, [], 0);
  const { ok, results } = await site.post("/actions", { action: "create", topic: "t", channel: "ch" });
  expect([ok, results]).toEqual([
    false,
    [
      { server: at, ok: true, message: "" },
      { server: at, ok: false, message: "BROKEN" },
    ],
  ]);
  const { activity } = await site.get("/activity?limit=2");
  expect(activity.map((line: Activity) => line.ok)).toEqual([false, true]);
  const init = { method: "POST", body: '{"topic":"t","channel":"ch"}' };
  const legacy = await fetch(site.url("").replace("/api/v1", "/api/topics"), init);
  expect([legacy.status, await legacy.text()]).toEqual([200, expect.stringContaining("WARNING: ")]);
});

test("a real failure beside a broker that does not know the action fails the action", async () => {
  await using site = WithAdmin.start({}, [], 1);
  const stats = { topics: [{ topic_name: "t", channels: [] }] };
  using fake = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: ({ method, url }) => {
      if (method === "GET")
        return Response.json(
          url.includes("/info") ? { broadcast_address: "127.0.0.1", http_port: Number(new URL(url).port), hostname: "h" } : stats,
        );
      return Response.json({ message: "INTERNAL_ERROR" }, { status: 500 });
    },
  });
  await fill(site);
  await using other = WithAdmin.start({}, [site.addresses[0] ?? "", `127.0.0.1:${fake.port}`], 0);
  const { ok, results } = await other.post("/actions", { action: "trace", topic: "t", value: { on: true } });
  expect(ok).toBe(false);
  expect(results).toMatchObject([{ ok: true }, { ok: false, message: "INTERNAL_ERROR" }]);
});

test("a channel is traced by itself or with its topic, and it is said at how many brokers", async () => {
  await using site = WithAdmin.start();
  for (const { broker } of site.brokers) broker.registry.topic("t").channel("ch");
  await until("both have it", async () => {
    const answer = await fetch(site.url("/topics/t/ch"));
    return answer.ok && ((await answer.json()) as { brokers: number }).brokers === 2;
  });
  const trace = async () => (await site.get("/topics/t/ch")).trace;
  const set = (on: boolean, more: object) => site.post("/actions", { action: "trace", topic: "t", value: { on }, ...more });
  expect(await trace()).toEqual({ brokers: 2, own: 0, with_topic: 0 });
  await set(true, { channel: "ch", broker: site.addresses[1] });
  expect(await trace()).toEqual({ brokers: 2, own: 1, with_topic: 0 });
  expect((await site.get("/topics/t")).settings).toMatchObject({ traced: false, traced_channels: ["ch"] });
  await set(true, {});
  expect(await trace()).toEqual({ brokers: 2, own: 1, with_topic: 2 });
  await set(false, { channel: "ch" });
  expect(await trace()).toEqual({ brokers: 2, own: 0, with_topic: 2 });
});
