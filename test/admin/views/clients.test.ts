import { describe, expect, test } from "bun:test";
import type { ChannelDetail, ClientRow, Page, ProducerRow, TopicDetail } from "../../../src/admin/console-api.ts";
import type { FakeBroker } from "../support/fake-upstream.ts";
import { Watching } from "../support/watching.ts";

const STATS = "/stats?format=json&include_mem=false";

function consumer(port: number, more: object = {}) {
  const client = {
    client_id: `c${port}`,
    hostname: "h",
    remote_address: `10.0.0.1:${port}`,
    user_agent: "nsqjs/0.13.0",
    connect_ts: 1_000,
  };
  return { ...client, ready_count: 1, in_flight_count: 0, message_count: 0, finish_count: 0, tls: false, ...more };
}

async function watch(brokers: Record<string, FakeBroker>): Promise<Watching> {
  const watching = new Watching(brokers);
  await watching.start();
  return watching;
}

function withClients(clients: object[], more: object = {}): FakeBroker {
  return { topics: { t: { channels: { c: { client_count: clients.length, clients, ...more } } } } };
}

describe("clients", () => {
  test("are asked for only while somebody looks, once for all who do, and where they can be", async () => {
    using watching = await watch({ "a:1": withClients([consumer(1), consumer(2)]), "b:1": { topics: { u: { channels: {} } } } });
    expect(watching.upstream.askedFor("a:1", STATS)).toBe(0);
    const path = "/clients?topic=t&channel=c&sort=-remote_address";
    const [page] = await Promise.all([watching.read<Page<ClientRow>>(path), watching.read(path), watching.read(`${path}&limit=1`)]);
    expect(page).toMatchObject({ total: 2, rows: [{ key: "a:1|10.0.0.1:2|t|c", client_id: "c2" }, { client_id: "c1" }] });
    expect(watching.upstream.askedFor("a:1", STATS)).toBe(1);
    expect(watching.upstream.askedFor("b:1", STATS)).toBe(0);
    await watching.pass(60_000);
    expect(watching.upstream.askedFor("a:1", STATS)).toBe(1);
  });

  test("have rates from two answers, and none if another client has the port", async () => {
    const clients = [consumer(1), consumer(2)];
    using watching = await watch({ "a:1": withClients(clients) });
    const read = async () => (await watching.read<Page<ClientRow>>("/clients?topic=t&sort=client_id")).rows;
    expect((await read()).map(({ out_rate }) => out_rate)).toEqual([null, null]);
    Object.assign(clients[0]!, { message_count: 30, finish_count: 20 });
    Object.assign(clients[1]!, { message_count: 10, connect_ts: 2_000 });
    await watching.pass(2_000);
    expect((await read()).map(({ out_rate, finish_rate }) => [out_rate, finish_rate])).toEqual([
      [15, 10],
      [null, null],
    ]);
    clients.pop();
    await watching.pass(2_000);
    expect((await read()).map(({ client_id }) => client_id)).toEqual(["c1"]);
  });

  test("on a unix socket, which have no addresses, are told apart", async () => {
    using watching = await watch({ "a:1": withClients([consumer(1, { remote_address: "" }), consumer(2, { remote_address: "" })]) });
    const { rows } = await watching.read<Page<ClientRow>>("/clients");
    expect(new Set(rows.map(({ key }) => key)).size).toBe(2);
  });

  test("of a broker that does not answer are left out", async () => {
    const b = withClients([consumer(1)]);
    using watching = await watch({ "a:1": withClients([consumer(2)]), "b:1": b });
    b.down = "refused";
    expect((await watching.read<Page<ClientRow>>("/clients")).rows.map(({ broker }) => broker)).toEqual(["a:1"]);
  });

  test("are shown as they were while a slow broker is asked again", async () => {
    const a = withClients([consumer(1)]);
    using watching = await watch({ "a:1": a });
    await watching.read("/clients?topic=t");
    await watching.pass(2_000);
    a.delay = new Promise<void>(() => {});
    const reading = watching.read<Page<ClientRow>>("/clients?topic=t");
    await watching.settle();
    await watching.pass(1_000);
    expect((await reading).total).toBe(1);
  });

  test("of one look are at most a hundred thousand", async () => {
    const clients = Array.from({ length: 100_010 }, (_, i) => ({ remote_address: String(i) }));
    using watching = await watch({ "a:1": withClients(clients) });
    expect((await watching.read<Page<ClientRow>>("/clients?limit=1")).total).toBe(100_000);
  });

  test("that publish have counts by topic, rates and errors", async () => {
    const producer = { ...consumer(9), pub_counts: [{ topic: "t", count: 10 }], publish_errors: 3 };
    using watching = await watch({ "a:1": { topics: { t: { channels: {} } }, producers: [producer, consumer(10)] } });
    await watching.read("/producers?topic=t");
    producer.pub_counts[0]!.count = 30;
    await watching.pass(2_000);
    const { rows, total } = await watching.read<Page<ProducerRow>>("/producers?topic=t");
    expect(total).toBe(1);
    expect(rows[0]).toMatchObject({ client_id: "c9", count: 30, rate: 10, errors: 3, published: [{ topic: "t", count: 30 }] });
    // A broker is asked for no consumers then.
    expect(watching.upstream.asked.filter((path) => path.includes("channel=*")).length).toBe(2);
  });
});

describe("findings", () => {
  const find = async (broker: FakeBroker, change?: () => void) => {
    using watching = await watch({ "a:1": broker });
    await watching.read("/topics/t/c");
    change?.();
    await watching.pass(2_000);
    return (await watching.read<ChannelDetail>("/topics/t/c")).findings.map(({ kind, text }) => `${kind}: ${text}`);
  };

  test("are none for a channel that is well", async () => {
    expect(await find(withClients([consumer(1)]))).toEqual([]);
  });

  test("name missing consumers, pauses and files that cannot be read, the gravest first", async () => {
    expect(await find(withClients([], { depth: 1_234, paused: true, read_failure: "EIO" }))).toEqual([
      "read_failure: a:1 cannot read its messages: EIO",
      "paused: The channel is paused at its broker: nothing is delivered there, and 1,234 messages wait.",
      "no_consumers: No consumer is connected, and 1,234 messages wait.",
    ]);
  });

  test("name consumers with RDY 0", async () => {
    expect(await find(withClients([consumer(1, { ready_count: 0 }), consumer(2)]))).toEqual([
      "ready_0: 1 of 2 consumers has RDY 0 and gets no messages: it backs off after errors, or is about to stop.",
    ]);
    expect(await find(withClients([consumer(1, { ready_count: 0 }), consumer(2, { ready_count: 0 })]))).toEqual([
      "ready_0: All 2 consumers have RDY 0 and get no messages: they back off after errors, or are about to stop.",
    ]);
  });

  test("name consumers that have all in flight that they may, and the slow one among them", async () => {
    const clients = [1, 2, 3].map((port) => consumer(port, { ready_count: 10, in_flight_count: 10 }));
    const broker = withClients(clients, { depth: 5 });
    const found = await find(broker, () => {
      for (const [i, client] of clients.entries()) client.finish_count = i === 0 ? 2 : 200;
    });
    expect(found).toEqual([
      "in_flight_full: All 3 consumers with RDY have as many messages in flight as RDY allows (30 of 30), while 5 messages wait: " +
        "more consumers, or a larger RDY, would empty the channel faster.",
      "slow_consumer: c1 finishes 1 messages a second, while half of the consumers finish 100 or more; it has 10 in flight.",
    ]);
  });

  test("name time-outs, attempts and requeues with their shares", async () => {
    const broker = withClients([consumer(1)], { message_count: 0 });
    const found = await find(broker, () => {
      Object.assign(broker.topics.t!.channels.c!, { message_count: 100, depth: 80, requeue_count: 60, timeout_count: 20 });
    });
    expect(found).toEqual([
      "timeouts: 10 messages a second time out (20 % of those delivered): consumers need longer than the message timeout, or end without finishing.",
      "attempts: Each finished message was delivered 5.0 times on average.",
      "requeues: 30 messages a second are requeued by consumers (60 % of those delivered).",
    ]);
  });

  test("name a broker without consumers while there are some elsewhere", async () => {
    using watching = await watch({ "a:1": withClients([consumer(1)]), "b:1": withClients([], { depth: 9 }) });
    const { findings } = await watching.read<ChannelDetail>("/topics/t/c");
    expect(findings).toEqual([
      {
        kind: "no_consumers",
        text: "No consumer is connected to b:1, where 9 messages wait; there are consumers at other brokers only.",
        broker: "b:1",
      },
    ]);
  });

  test("of one client say why it gets nothing", async () => {
    const clients = [consumer(1, { ready_count: 0 }), consumer(2, { ready_count: 5, in_flight_count: 5 }), consumer(3)];
    using watching = await watch({ "a:1": withClients(clients, { depth: 1 }) });
    const { rows } = await watching.read<Page<ClientRow>>("/clients?sort=client_id");
    expect(rows.map(({ findings }) => findings.map(({ kind }) => kind))).toEqual([["ready_0"], ["in_flight_full"], []]);
  });
});

describe("latencies", () => {
  const histogram = (counts: number[]) => ({ name: "publish_to_delivery", unit: "ms", bounds: [1, 10], counts });

  test("of bunsq's brokers are added up, and those of a broker with other steps are left out", async () => {
    const at = (latency: object[]): FakeBroker => ({ bunsq_version: "0.1.0", topics: { t: { latency, channels: { c: { latency } } } } });
    using watching = await watch({
      "a:1": at([histogram([2, 2, 0]), { name: "fsync", unit: "ms", bounds: [], counts: [1] }]),
      "b:1": at([histogram([0, 4, 1])]),
      "c:1": at([
        { name: "publish_to_delivery", unit: "ms", bounds: [1], counts: [5, 5] },
        { ...histogram([1]), bounds: [1, 2, 3] },
      ]),
    });
    const { latency } = await watching.read<TopicDetail>("/topics/t");
    const row = { name: "publish_to_delivery", unit: "ms", bounds: [1, 10], counts: [2, 6, 1], count: 9, p50: 4.75, p99: 10 };
    expect(latency).toEqual([row] as typeof latency);
    expect((await watching.read<ChannelDetail>("/topics/t/c")).latency).toEqual([row] as typeof latency);
  });

  test("end to end are the largest percentiles that a broker has measured", async () => {
    const e2e = (p50: number, p99: number) => ({
      count: 4,
      percentiles: [
        { quantile: 0.5, value: p50 * 1e6 },
        { quantile: 0.99, value: p99 * 1e6 },
      ],
    });
    const at = (p50: number, p99: number): FakeBroker => {
      return { topics: { t: { e2e_processing_latency: e2e(p50, p99), channels: { c: { e2e_processing_latency: e2e(p50, p99) } } } } };
    };
    using watching = await watch({ "a:1": at(3, 50), "b:1": at(4, 20) });
    const row = { name: "end_to_end", unit: "ms", count: 8, bounds: [], counts: [8], p50: 4, p99: 50 };
    expect((await watching.read<ChannelDetail>("/topics/t/c")).latency).toEqual([row] as ChannelDetail["latency"]);
    expect((await watching.read<TopicDetail>("/topics/t")).latency).toEqual([row] as ChannelDetail["latency"]);
  });
});
