import { expect, test } from "bun:test";
import { InProcessLookup } from "../../lookup/support/in-process.ts";
import { identityOf } from "../../lookup/support/lookup-client.ts";
import { startServer, until } from "../../support/server.ts";
import type { WithHttp } from "../../support/with-http.ts";
import { WithAdmin } from "../support/with-admin.ts";

function indexesAt(broker: WithHttp | undefined, topic = "t"): number[] | undefined {
  return broker?.broker.registry.topics.get(topic)?.partitions.map(({ index }) => index);
}

function settingsAt(broker: WithHttp | undefined): object | undefined {
  return broker?.broker.registry.topics.get("t")?.channels.get("c")?.settings.toJson();
}

const FILTER = { type: 1, inverse: false, filter_ext_key: "k", filter_data: "v" };
const SETTINGS = { order: "key", filter: JSON.stringify(FILTER), max_attempts: 3, dead_letter_topic: "dead" };
const SET = { order: "key", filter: FILTER, max_attempts: 3, dead_letter_topic: "dead" };

test("a topic is made with partitions and gets more, at one broker or at all, and both is noted", async () => {
  await using site = WithAdmin.start();
  const [first = ""] = site.addresses;
  expect((await site.post("/actions", { action: "create", topic: "t", broker: first, value: { partitions: 3 } })).ok).toBe(true);
  expect(site.brokers.map((broker) => indexesAt(broker))).toEqual([[0, 1, 2], undefined]);
  await site.post("/actions", { action: "create", topic: "t", value: { partitions: 3 } });
  await site.post("/actions", { action: "expand", topic: "t", confirm: "t", value: { partitions: 4 } });
  expect(site.brokers.map((broker) => indexesAt(broker))).toEqual([
    [0, 1, 2, 3],
    [0, 1, 2, 3],
  ]);
  // It never gets fewer again.
  const { ok, results } = await site.post("/actions", { action: "expand", topic: "t", confirm: "t", value: { partitions: 2 } });
  expect([ok, results[0]?.message]).toEqual([false, "TOO_FEW_PARTITIONS"]);
  const { activity } = await site.get("/activity");
  expect(activity.slice(0, 2).map(({ action, ok: done }: { action: string; ok: boolean }) => [action, done])).toEqual([
    ["expand_topic", false],
    ["expand_topic", false],
  ]);
});

test("what is no count is refused, and so are more partitions without the name", async () => {
  await using site = WithAdmin.start({}, [], 1);
  const refusal = (request: object) => site.refusal(site.send("/actions", { topic: "t", ...request }));
  for (const partitions of [0, 1.5, 1025, "3"]) {
    expect(await refusal({ action: "create", value: { partitions } })).toBe("400 INVALID_VALUE");
    expect(await refusal({ action: "expand", confirm: "t", value: { partitions } })).toBe("400 INVALID_VALUE");
  }
  expect(await refusal({ action: "expand", value: { partitions: 3 } })).toBe("400 NOT_CONFIRMED");
  expect(await refusal({ action: "expand", confirm: "t", value: { partitions: 3 } })).toBe("404 TOPIC_NOT_FOUND");
  expect(await refusal({ action: "delivery", value: { order: "key" } })).toBe("400 INVALID_CHANNEL");
  expect(await refusal({ action: "delivery", channel: "c", value: { order: 3 } })).toBe("400 INVALID_VALUE");
  expect(site.brokers[0]?.broker.registry.topics.size).toBe(0);
});

test("a channel is made with settings, and they are changed where it is and nowhere else", async () => {
  await using site = WithAdmin.start();
  const [, second = ""] = site.addresses;
  await site.post("/actions", { action: "create", topic: "t", channel: "c", broker: second, value: SETTINGS });
  expect(site.brokers.map(settingsAt)).toEqual([undefined, SET]);
  site.brokers[0]?.broker.registry.topic("t");
  const { results } = await site.post("/actions", { action: "delivery", topic: "t", channel: "c", value: { order: "none", filter: "" } });
  expect(results).toEqual([{ server: second, ok: true, message: "" }]);
  expect(site.brokers.map(settingsAt)).toEqual([undefined, { max_attempts: 3, dead_letter_topic: "dead" }]);
  const wrong = await site.post("/actions", { action: "delivery", topic: "t", channel: "c", value: { max_attempts: 0 } });
  expect([wrong.ok, wrong.results[0]?.message]).toEqual([false, "INVALID_ARG_MAX_ATTEMPTS"]);
});

test("with a lookup server a topic is spread over the brokers, and gets more partitions by way of it", async () => {
  await using lookup = new InProcessLookup();
  const { tcpPort, httpPort } = lookup.server;
  const args = [`--lookupd-tcp-address=127.0.0.1:${tcpPort}`, "--broadcast-address=127.0.0.1"];
  const brokers = await Promise.all([1, 2].map(() => startServer({ program: "bunsq", args })));
  try {
    await using site = WithAdmin.start({ nsqdHttpAddresses: [], lookupdHttpAddresses: [`127.0.0.1:${httpPort}`] }, [], 0);
    await until("both are registered", async () => (await site.get("/brokers")).total === 2);
    await until("the lookup server is known", async () => (await site.get("/lookups")).rows[0]?.product === "bunsq");
    expect((await site.post("/actions", { action: "create", topic: "t", value: { partitions: 4 } })).ok).toBe(true);
    const indexes = async () => {
      const { rows } = await site.get("/partitions?topic=t").catch(() => ({ rows: [] }));
      return rows.map(({ partition, broker }: { partition: number; broker: string }) => (broker === "" ? "missing" : partition));
    };
    await until("they are shown", async () => `${await indexes()}` === "0,1,2,3");
    const { results } = await site.post("/actions", { action: "expand", topic: "t", confirm: "t", value: { partitions: 6 } });
    expect(results).toEqual([{ server: `127.0.0.1:${httpPort}`, ok: true, message: "" }]);
    await until("the new ones are shown", async () => `${await indexes()}` === "0,1,2,3,4,5");
    // A lookup server would forget how the channel is to deliver.
    const channel = { action: "create", channel: "c", value: SETTINGS };
    expect(await site.refusal(site.send("/actions", { ...channel, topic: "none" }))).toBe("404 TOPIC_NOT_FOUND");
    expect((await site.post("/actions", { ...channel, topic: "t" })).ok).toBe(true);
    for (const broker of brokers) {
      const answer = await broker.http("GET", "/channel/settings?topic=t&channel=c");
      expect(await answer.json()).toMatchObject(SET);
    }
    // A broker of Go's that has the topic, too, can have no more partitions, and keeps nobody from it.
    using other = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => Response.json({ message: "NOT_FOUND" }, { status: 404 }) });
    const nsqd = await lookup.client();
    await nsqd.identify(identityOf("127.0.0.1", { http_port: other.port ?? 0 }));
    await nsqd.call("REGISTER t");
    const mixed = await site.post("/actions", { action: "expand", topic: "t", confirm: "t", value: { partitions: 8 } });
    expect(mixed).toEqual({
      ok: true,
      results: [
        { server: `127.0.0.1:${other.port}`, ok: false, message: "not supported by this server", unsupported: true },
        { server: `127.0.0.1:${httpPort}`, ok: true, message: "" },
      ],
    });
  } finally {
    await Promise.all(brokers.map((broker) => broker.stop("SIGKILL")));
  }
}, 60_000);
