import { afterAll, describe, expect, test } from "bun:test";
import type {
  BrokerRow,
  ChannelDetail,
  ClientRow,
  History,
  LookupRow,
  Overview,
  Page,
  ProducerRow,
  TopicDetail,
  TopicRow,
} from "../../../src/admin/console-api.ts";
import { findNsqlookupd, startLookupServer } from "../../support/lookup.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { RawClient } from "../../support/raw-client.ts";
import { type Program, type Server, startServer, until } from "../../support/server.ts";
import { Console } from "../support/console.ts";

/** Brokers that are shared by the tests below, by program. */
const brokers = new Map<Program, Promise<Server>>();

function sharedBroker(program: Program): Promise<Server> {
  let broker = brokers.get(program);
  if (broker === undefined) {
    broker = startServer({ program, args: ["--broadcast-address=127.0.0.1"] });
    brokers.set(program, broker);
  }
  return broker;
}

afterAll(async () => {
  for (const broker of brokers.values()) await (await broker).stop();
});

function addressOf({ httpPort }: { httpPort: number }): string {
  return `127.0.0.1:${httpPort}`;
}

const PROGRAMS: Program[] = ["bunsq", "nsqd"];

for (const program of PROGRAMS) {
  describeUnless(program === "nsqd" ? missing("nsqd") : undefined)(`a console that watches ${program}`, () => {
    test("shows topics, channels, clients and producers, and rates that are right", async () => {
      const broker = await sharedBroker(program);
      await using console = new Console({ nsqdHttpAddresses: [addressOf(broker)] });
      await broker.http("POST", "/topic/create?topic=orders");
      await broker.http("POST", "/channel/create?topic=orders&channel=bill");
      const consumer = await RawClient.connect(broker.tcpPort);
      await consumer.call("IDENTIFY", JSON.stringify({ client_id: "biller", hostname: "host-1", user_agent: "test/1" }));
      await consumer.call("SUB orders bill");
      // Rates are what has changed since it was seen first.
      await console.until<TopicDetail>("the channel", "/topics/orders", ({ channel_rows }) => channel_rows[0]?.in_rate === 0);
      const producer = await RawClient.connect(broker.tcpPort);
      for (let i = 0; i < 40; i++) {
        producer.command("PUB orders", `message ${i}`);
        await producer.response();
      }

      const topic = await console.until<TopicDetail>("40 messages", "/topics/orders", ({ message_count }) => message_count === 40);
      expect(topic).toMatchObject({ topic: "orders", brokers: 1, depth: 40, clients: 1, channels: 1, paused: 0 });
      expect(topic.by_broker).toMatchObject([{ broker: addressOf(broker), depth: 40, tombstoned: false }]);
      expect(topic.settings?.durability).toBe(program === "bunsq" ? "write" : undefined);
      const channel = await console.until<ChannelDetail>("a consumer", "/topics/orders/bill", ({ findings }) => findings.length > 0);
      expect(channel.findings[0]).toMatchObject({ kind: "ready_0" });
      const clients = await console.read<Page<ClientRow>>("/clients?topic=orders&channel=bill");
      expect(clients.rows).toMatchObject([{ client_id: "biller", hostname: "host-1", user_agent: "test/1", ready: 0, topic: "orders" }]);
      const producers = await console.until<Page<ProducerRow>>("the producer", "/producers?topic=orders", ({ total }) => total === 1);
      expect(producers.rows).toMatchObject([{ count: 40, published: [{ topic: "orders", count: 40 }] }]);
      expect(await console.read<Page<BrokerRow>>("/brokers")).toMatchObject({
        rows: [
          { address: addressOf(broker), product: program === "bunsq" ? "bunsq" : "nsq", topics: 1, channels: 1, tcp_port: broker.tcpPort },
        ],
      });

      consumer.command("RDY 100");
      for (let i = 0; i < 40; i++) consumer.command(`FIN ${(await consumer.message()).id}`);
      await console.until<TopicDetail>("nothing waits", "/topics/orders", ({ depth, in_flight }) => depth + in_flight === 0);
      // What was delivered and finished is seen in the rates of some poll, and in the sums of them.
      await console.until<Page<TopicRow>>("rates of the topic", "/topics", ({ rows }) => {
        const { in_rate: into, out_rate: out } = rows[0]!.spark;
        return Math.max(...into.map(Number)) > 0 && Math.max(...out.map(Number)) > 0;
      });
      const history = await console.read<History>("/history?topic=orders&channel=bill");
      expect(history.series.in_rate.some((rate) => (rate ?? 0) > 0)).toBe(true);
      consumer.terminate();
      producer.terminate();
      await broker.http("POST", "/topic/delete?topic=orders");
      await until("the topic is gone", async () => (await fetch(`${console.origin}/api/v1/topics/orders`)).status === 404);
    }, 30_000);

    test("streams views: what a page makes of the deltas is what the server shows", async () => {
      const broker = await sharedBroker(program);
      await using console = new Console({ nsqdHttpAddresses: [addressOf(broker)] });
      const view = "/topics?sort=-message_count&filter=st-";
      const stream = await console.stream(view, "/overview");
      for (const [i, name] of ["st-a", "st-b", "st-c"].entries()) {
        await broker.http("POST", `/topic/create?topic=${name}`);
        for (let count = 0; count <= i; count++) await broker.http("POST", `/pub?topic=${name}`, "x");
      }
      const names = () => (stream.views.get(view)?.rows as TopicRow[] | undefined)?.map(({ topic }) => topic).join();
      await until("all three in order", () => names() === "st-c,st-b,st-a");
      await broker.http("POST", "/topic/delete?topic=st-b");
      await until("two are left", () => names() === "st-c,st-a");
      await until("the overview", () => stream.views.get("/overview")?.topics === 2);
      expect(stream.events.slice(0, 2)).toEqual(["full", "full"]);
      expect(stream.events.slice(2)).not.toContain("full");
      for (const name of ["st-a", "st-c"]) await broker.http("POST", `/topic/delete?topic=${name}`);
      stream.close();
    }, 30_000);
  });
}

describe("a console", () => {
  test("shows a broker that was killed, and its new process without rates from the old one's counters", async () => {
    const first = await startServer();
    await using other = await startServer();
    await using console = new Console({ nsqdHttpAddresses: [addressOf(first), addressOf(other)] });
    for (let i = 0; i < 10; i++) await first.http("POST", "/pub?topic=t", "x");
    await console.until<Overview>("ten messages", "/overview", ({ message_count }) => message_count === 10);
    await first.stop("SIGKILL");
    const down = await console.until<Page<BrokerRow>>("it is down", "/brokers", ({ rows }) =>
      rows.some(({ down: why }) => why?.includes("connection refused")),
    );
    expect(down.rows.find(({ address }) => address === addressOf(other))!.down).toBeUndefined();
    await using second = await startServer({ args: [`--http-address=${addressOf(first)}`] });
    await second.http("POST", "/pub?topic=t", "x");
    const up = await console.until<Page<BrokerRow>>("it is back", "/brokers", ({ rows }) => rows.every((row) => row.down === undefined));
    for (const { in_rate } of up.rows) expect(in_rate ?? 0).toBeGreaterThanOrEqual(0);
    await console.until<Overview>("the new process' message", "/overview", ({ message_count }) => message_count === 1);
  }, 30_000);

  test("ends its streams when it stops", async () => {
    const broker = await sharedBroker("bunsq");
    const console = new Console({ nsqdHttpAddresses: [addressOf(broker)] });
    const stream = await console.stream("/overview");
    await until("the first event", () => stream.events.length > 0);
    await console.server.stop();
    await until("the stream has ended", () => stream.isEnded);
  }, 30_000);

  test.each(["bunsq", ...(findNsqlookupd() === undefined ? [] : (["nsqlookupd"] as const))] as const)(
    "finds brokers by %s, and goes on without it",
    async (program) => {
      const lookup = await startLookupServer(program);
      await using broker = await startServer({
        args: [`--lookupd-tcp-address=127.0.0.1:${lookup.tcpPort}`, "--broadcast-address=127.0.0.1"],
      });
      await broker.http("POST", "/topic/create?topic=t");
      await lookup.http("POST", "/topic/create?topic=nobodys");
      await until("the lookup has the topic", async () => (await (await lookup.http("GET", "/topics")).text()).includes('"t"'));
      // It asks its lookups when it starts, and then every 10 s.
      await using console = new Console({ lookupdHttpAddresses: [addressOf(lookup), "127.0.0.1:1"] });
      const { rows } = await console.until<Page<TopicRow>>("both topics", "/topics?sort=topic", ({ rows }) => rows[1]?.brokers === 1);
      expect(rows).toMatchObject([
        { topic: "nobodys", inactive: true },
        { topic: "t", brokers: 1 },
      ]);
      const lookups = await console.until<Page<LookupRow>>("its lookups", "/lookups?sort=down", ({ rows }) => rows[0]?.down === undefined);
      expect(lookups.rows[0]).toMatchObject({ address: addressOf(lookup), brokers: 1, product: program === "bunsq" ? "bunsq" : "nsq" });
      expect(lookups.rows[1]?.down).toContain("refused");
      await lookup.stop("SIGKILL");
      await broker.http("POST", "/pub?topic=t", "x");
      await console.until<TopicDetail>("the new message", "/topics/t", ({ message_count }) => message_count === 1);
    },
    30_000,
  );
});
