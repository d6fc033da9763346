import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { describeUnless, missing } from "../../support/needs.ts";
import { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { ThreeBrokers, TOPIC } from "./support/three-brokers.ts";

const LIMIT_MS = 60_000;

interface ChannelJson {
  readonly channel_name: string;
  readonly depth: number;
  readonly deferred_count: number;
  readonly in_flight_count: number;
  readonly paused: boolean;
}

async function channelsAt(cluster: ThreeBrokers, index: number): Promise<ChannelJson[]> {
  const answer = await cluster.broker(index).http("GET", `/stats?format=json&topic=${TOPIC}`);
  const { topics } = (await answer.json()) as { topics: { channels: ChannelJson[] }[] };
  return topics.flatMap(({ channels }) => channels);
}

function segmentsAt(cluster: ThreeBrokers, index: number): number {
  return readdirSync(cluster.folder(index)).filter((name) => name.endsWith(".log")).length;
}

async function consumer(port: number, channel: string, ready: number): Promise<RawClient> {
  const client = await RawClient.connect(port);
  expect(await client.call(`SUB ${TOPIC} ${channel}`)).toBe("OK");
  client.command(`RDY ${ready}`);
  return client;
}

function numbered(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

async function publish(port: number, count: number): Promise<void> {
  const client = await RawClient.connect(port);
  for (let i = 0; i < count; i++) expect(await client.call(`PUB ${TOPIC}`, `${i}`)).toBe("OK");
  client.close();
}

describeUnless(missing("etcd"))("what goes along beside messages", () => {
  for (const durability of ["write", "fsync"]) {
    test(
      `${durability}: channels, pauses, settings, cursors and deferred messages are there after the leader was killed`,
      async () => {
        await using cluster = await ThreeBrokers.start([`--durability=${durability}`]);
        const first = await cluster.makeTopic();
        const broker = cluster.broker(first);
        const post = async (call: string, channel: string, more = "") =>
          expect((await broker.http("POST", `/channel/${call}?topic=${TOPIC}&channel=${channel}${more}`)).status).toBe(200);
        for (const name of ["c", "paused", "deleted", "ordered"]) await post("create", name);
        await publish(broker.tcpPort, 100);
        // Half of them is finished, and one is requeued for long.
        const client = await consumer(broker.tcpPort, "c", 100);
        for (let i = 0; i < 100; i++) {
          const { id, data } = await client.message();
          const body = Number(data.toString());
          if (body === 50) client.command(`REQ ${id} 600000`);
          else if (body % 2 === 0) client.command(`FIN ${id}`);
        }
        const producer = await RawClient.connect(broker.tcpPort);
        // Its time counts from when the broker has it, which is before the answer.
        const deferredAtMs = performance.now();
        expect(await producer.call(`DPUB ${TOPIC} 4000`, "deferred")).toBe("OK");
        await until("all was finished", async () =>
          (await channelsAt(cluster, first)).some(({ deferred_count, in_flight_count }) => deferred_count + in_flight_count === 52),
        );
        // Saves its cursor, and is answered when the others have it.
        for (const call of ["pause", "unpause"]) await post(call, "c");
        await post("setorder", "ordered", "&order=key");
        await post("pause", "paused");
        await post("delete", "deleted");
        await broker.stop("SIGKILL");

        const others = [0, 1, 2].filter((index) => index !== first);
        const second = await cluster.leader(others);
        const found = new Map((await channelsAt(cluster, second)).map((channel) => [channel.channel_name, channel]));
        expect([...found.keys()].sort()).toEqual(["c", "ordered", "paused"]);
        expect([found.get("paused")?.paused, found.get("c")?.paused]).toEqual([true, false]);
        // On a slow machine one may be due by now.
        expect((found.get("c")?.depth ?? 0) + (found.get("c")?.deferred_count ?? 0)).toBe(52);
        const settings = await cluster.broker(second).http("GET", `/channel/settings?topic=${TOPIC}&channel=ordered`);
        expect(await settings.json()).toMatchObject({ order: "key" });
        const next = await consumer(cluster.broker(second).tcpPort, "c", 100);
        const got: string[] = [];
        for (let i = 0; i < 51; i++) {
          const { id, data } = await next.message();
          got.push(data.toString());
          if (data.toString() === "deferred") expect(performance.now() - deferredAtMs).toBeGreaterThan(3_900);
          next.command(`FIN ${id}`);
        }
        const odd = Array.from({ length: 50 }, (_, i) => `${2 * i + 1}`);
        expect(got.sort()).toEqual([...odd, "deferred"].sort());
        await until("only the requeued one is left", async () => {
          const channel = (await channelsAt(cluster, second)).find(({ channel_name }) => channel_name === "c");
          return channel?.depth === 0 && channel.deferred_count === 1;
        });
        // The old leader follows, and has no channels.
        await cluster.startBroker(first);
        await cluster.untilInSync(second);
        expect(await channelsAt(cluster, first)).toEqual([]);
      },
      LIMIT_MS,
    );
  }

  test(
    "an ordered channel goes on in order over a change of leader, and repeats no more than its one message in flight",
    async () => {
      await using cluster = await ThreeBrokers.start();
      const first = await cluster.makeTopic();
      const broker = cluster.broker(first);
      const created = await broker.http("POST", `/channel/create?topic=${TOPIC}&channel=c&ordered=partition`);
      expect(created.status).toBe(200);
      await publish(broker.tcpPort, 300);
      const got: number[] = [];
      const last = 299;
      const take = async (port: number) => {
        const client = await consumer(port, "c", 10);
        try {
          while (got.at(-1) !== last) {
            const { id, data } = await client.message();
            got.push(Number(data.toString()));
            client.command(`FIN ${id}`);
          }
        } catch {
          // The broker is gone.
        }
        client.terminate();
      };
      const taking = take(broker.tcpPort);
      await until("some have come", () => got.length > 50);
      await broker.stop("SIGKILL");
      await taking;
      const before = got.length;
      expect(before).toBeLessThan(last);
      const second = await cluster.leader([0, 1, 2].filter((index) => index !== first));
      await take(cluster.broker(second).tcpPort);
      const repeated = got[before] === got[before - 1] ? 1 : 0;
      expect(got.slice(0, before)).toEqual(numbered(0, before));
      expect(got.slice(before)).toEqual(numbered(before - repeated, last + 1));
    },
    LIMIT_MS,
  );

  test(
    "what all channels have finished is removed at each broker",
    async () => {
      await using cluster = await ThreeBrokers.start(["--max-bytes-per-file=1048576"]);
      const leader = await cluster.makeTopic();
      const { tcpPort } = cluster.broker(leader);
      const client = await consumer(tcpPort, "c", 1);
      const producer = await RawClient.connect(tcpPort);
      const body = Buffer.alloc(500_000, "x");
      for (let i = 0; i < 10; i++) expect(await producer.call(`PUB ${TOPIC}`, body)).toBe("OK");
      for (const index of [0, 1, 2]) await until("it has all", () => segmentsAt(cluster, index) > 3);
      for (let i = 0; i < 10; i++) client.command(`FIN ${(await client.message()).id}`);
      for (const index of [0, 1, 2]) await until("finished ones are removed", () => segmentsAt(cluster, index) === 1);
    },
    LIMIT_MS,
  );

  test(
    "a leader that is stopped hands its cursors over",
    async () => {
      await using cluster = await ThreeBrokers.start();
      const first = await cluster.makeTopic();
      const broker = cluster.broker(first);
      const client = await consumer(broker.tcpPort, "c", 300);
      await publish(broker.tcpPort, 300);
      for (let i = 0; i < 300; i++) client.command(`FIN ${(await client.message()).id}`);
      await until("all is finished", async () => (await channelsAt(cluster, first)).every(({ in_flight_count }) => in_flight_count === 0));
      await broker.stop("SIGTERM");
      const second = await cluster.leader([0, 1, 2].filter((index) => index !== first));
      expect(await channelsAt(cluster, second)).toMatchObject([{ channel_name: "c", depth: 0, in_flight_count: 0 }]);
    },
    LIMIT_MS,
  );
});
