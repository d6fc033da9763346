import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { createDiskqueue } from "../../src/nsqd-data/diskqueue-writer.ts";
import { type NsqdMetadata, readNsqdMetadata, writeNsqdMetadata } from "../../src/nsqd-data/nsqd-metadata.ts";
import { listQueues } from "../../src/nsqd-data/queue-files.ts";
import { readQueueMetadata } from "../../src/nsqd-data/queue-metadata.ts";
import { removeFolder, temporaryFolder } from "../support/in-process.ts";
import { describeUnless, missing } from "../support/needs.ts";
import { RawClient } from "../support/raw-client.ts";
import { until } from "../support/server.ts";
import { consume, lines, post, publish, readAll, startNsqd, stats, untilStats } from "./support/go-nsqd.ts";
import { type Message, message, messages, payload } from "./support/queue-fixture.ts";

const TIMEOUT_MS = 60_000;
const DELAY_MS = 600_000;

let folder = "";
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => removeFolder(folder));

/** Bodies of many sizes, no two alike. */
function bodies(count: number, name: string): Buffer[] {
  return Array.from({ length: count }, (_, i) => Buffer.alloc(1 + ((i * 37) % 400) + `${name}${i}`.length, `${name}${i} `));
}

describeUnless(missing("nsqd"))("the data path of a stopped nsqd", () => {
  test.each([0, 7, 10_000])(
    "has all messages, with --mem-queue-size=%d",
    async (memory) => {
      const server = await startNsqd(folder, [`--mem-queue-size=${memory}`, "--max-bytes-per-file=4096"]);
      await post(
        server,
        "/topic/create?topic=orders",
        "/channel/create?topic=orders&channel=billing",
        "/channel/create?topic=orders&channel=audit",
        "/channel/create?topic=orders&channel=shown%23ephemeral",
        "/channel/pause?topic=orders&channel=audit",
        "/topic/create?topic=lonely",
        "/topic/create?topic=held",
        "/channel/create?topic=held&channel=x",
        "/topic/pause?topic=held",
        "/topic/create?topic=brief%23ephemeral",
      );
      const orders = bodies(300, "orders");
      const lonely = bodies(50, "lonely");
      const held = bodies(40, "held");
      await publish(server, "orders", orders);
      await publish(server, "lonely", lonely);
      await publish(server, "held", held);
      await untilStats(server, "orders", "billing", ({ depth }) => depth === 300);
      await untilStats(server, "orders", "audit", ({ depth }) => depth === 300);

      // 20 are delivered: 5 finished, 5 deferred, 3 requeued, 7 stay in flight.
      const client = await RawClient.connect(server.tcpPort);
      await client.call("SUB orders billing");
      client.command("RDY 20");
      const taken = [];
      while (taken.length < 20) taken.push(await client.message());
      client.command("RDY 0");
      for (const { id } of taken.slice(0, 5)) client.command(`FIN ${id}`);
      for (const { id } of taken.slice(5, 10)) client.command(`REQ ${id} ${DELAY_MS}`);
      for (const { id } of taken.slice(10, 13)) client.command(`REQ ${id} 0`);
      // Without a memory queue, nsqd may drop the delay of a deferred message and count it in the depth.
      const deferred = bodies(4, "deferred");
      for (const body of deferred) expect(await client.call(`DPUB orders ${DELAY_MS}`, body)).toBe("OK");
      await untilStats(server, "orders", "billing", (found) => {
        return found.in_flight_count === 7 && found.depth + found.deferred_count === 300 - 20 + 5 + 3 + 4;
      });
      await untilStats(server, "orders", "audit", (found) => found.depth + found.deferred_count === 304);
      expect(await server.stop()).toBe(0);

      const { queues, problems } = readAll(folder);
      expect(problems).toEqual([]);
      expect([...queues.keys()]).toEqual(["held", "held:x", "lonely", "orders", "orders:audit", "orders:billing"]);
      const never = (list: Buffer[]) => list.map((body) => ({ body, attempts: 0 }));
      expect(lines(queues.get("held") ?? [])).toEqual(lines(never(held)));
      expect(queues.get("held:x")).toEqual([]);
      expect(lines(queues.get("lonely") ?? [])).toEqual(lines(never(lonely)));
      expect(queues.get("orders")).toEqual([]);
      expect(lines(queues.get("orders:audit") ?? [])).toEqual(lines(never([...orders, ...deferred])));
      const delivered = new Set(taken.map(({ text }) => text));
      expect(lines(queues.get("orders:billing") ?? [])).toEqual(
        lines([
          ...never(orders.filter((body) => !delivered.has(body.toString()))),
          ...taken.slice(5).map(({ data }) => ({ body: Buffer.from(data), attempts: 1 })),
          ...never(deferred),
        ]),
      );
      for (const { id, timestampNs, data } of taken.slice(5)) {
        expect(queues.get("orders:billing")).toContainEqual({ id, timestampNs, attempts: 1, body: Buffer.from(data) });
        expect(queues.get("orders:audit")).toContainEqual({ id, timestampNs, attempts: 0, body: Buffer.from(data) });
      }
      if (memory === 0) expect(queues.get("lonely")?.map(({ body }) => body)).toEqual(lonely);
      for (const queue of listQueues(folder)) {
        expect(readQueueMetadata(folder, queue.prefix)).toMatchObject({ depth: queues.get(queue.prefix)?.length });
      }

      const metadata = readNsqdMetadata(folder) as NsqdMetadata;
      expect(metadata).toMatchObject({ version: "1.3.0", release: "same", leftOut: [] });
      const byName = <Named extends { name: string }>(list: Named[]) => list.toSorted((a, b) => (a.name < b.name ? -1 : 1));
      expect(byName(metadata.topics.map((topic) => ({ ...topic, channels: byName(topic.channels) })))).toEqual([
        { name: "held", paused: true, channels: [{ name: "x", paused: false }] },
        { name: "lonely", paused: false, channels: [] },
        {
          name: "orders",
          paused: false,
          channels: [
            { name: "audit", paused: true },
            { name: "billing", paused: false },
          ],
        },
      ]);
    },
    TIMEOUT_MS,
  );

  test(
    "has the queue of a channel of an ephemeral topic, which nsqd.dat does not list",
    async () => {
      const server = await startNsqd(folder);
      await post(server, "/topic/create?topic=brief%23ephemeral", "/channel/create?topic=brief%23ephemeral&channel=kept");
      await publish(server, "brief#ephemeral", bodies(3, "brief"));
      await untilStats(server, "brief#ephemeral", "kept", ({ depth }) => depth === 3);
      await server.stop();
      expect(readNsqdMetadata(folder)).toMatchObject({ topics: [] });
      expect(lines(readAll(folder).queues.get("brief#ephemeral:kept") ?? [])).toEqual(
        lines(bodies(3, "brief").map((body) => ({ body, attempts: 0 }))),
      );
    },
    TIMEOUT_MS,
  );

  test(
    "is read from where the consumers stopped, in the middle of a file",
    async () => {
      const server = await startNsqd(folder, ["--mem-queue-size=0", "--max-bytes-per-file=3000"]);
      await post(server, "/topic/create?topic=t", "/channel/create?topic=t&channel=c");
      const all = bodies(200, "t");
      await publish(server, "t", all);
      await untilStats(server, "t", "c", ({ depth }) => depth === 200);
      // One at a time: messages in flight at the end would come behind the rest.
      const client = await RawClient.connect(server.tcpPort);
      await client.call("SUB t c");
      client.command("RDY 1");
      for (let i = 0; i < 77; i++) {
        const { id } = await client.message();
        if (i === 76) client.command("RDY 0");
        client.command(`FIN ${id}`);
      }
      await untilStats(server, "t", "c", ({ depth, in_flight_count }) => depth === 123 && in_flight_count === 0);
      await server.stop();
      const { queues, problems } = readAll(folder);
      expect(problems).toEqual([]);
      expect(queues.get("t:c")?.map(({ body }) => body)).toEqual(all.slice(77));
      const metadata = readQueueMetadata(folder, "t:c");
      expect(metadata).toMatchObject({ depth: 123 });
      expect(listQueues(folder).find(({ prefix }) => prefix === "t:c")?.numbers.length).toBeGreaterThan(3);
    },
    TIMEOUT_MS,
  );
});

describeUnless(missing("nsqd"))("the data path of a killed nsqd", () => {
  test(
    "is read with old metadata, and without any",
    async () => {
      for (const [every, problems] of [
        [10, ["unsynced t.diskqueue.000000.dat", "depth t.diskqueue.meta.dat"]],
        [1_000_000, ["noMetadata t.diskqueue.meta.dat"]],
      ] as const) {
        const server = await startNsqd(folder, ["--mem-queue-size=0", `--sync-every=${every}`, "--sync-timeout=1h"]);
        await post(server, "/topic/create?topic=t");
        await publish(server, "t", bodies(25, "t"));
        await server.stop("SIGKILL");
        const read = readAll(folder);
        expect(read.problems).toEqual([...problems]);
        expect(read.queues.get("t")?.map(({ body }) => body)).toEqual(bodies(25, "t"));
        removeFolder(folder);
        folder = temporaryFolder();
      }
    },
    TIMEOUT_MS,
  );
});

describeUnless(missing("nsqd"))("a data path written here", () => {
  test(
    "is shown and delivered by nsqd",
    async () => {
      const billing = [...messages(500, 300), message(500, 1024 * 1024), message(501, 0)];
      const waiting = messages(40, 50, 1000);
      const held = messages(30, 50, 2000);
      const write = (list: Message[], topic: string, channel?: string) => {
        const writer = createDiskqueue(folder, topic, channel, { maxBytesPerFile: 20_000 });
        for (const one of list) writer.append(payload(one), 0, 26 + one.body.length, one.attempts);
        writer.close();
      };
      write(waiting, "orders");
      write(billing, "orders", "billing");
      write([], "orders", "audit");
      write(held, "held");
      writeNsqdMetadata(folder, [
        {
          name: "orders",
          paused: false,
          channels: [
            { name: "billing", paused: false },
            { name: "audit", paused: true },
          ],
        },
        { name: "held", paused: true, channels: [{ name: "x", paused: false }] },
        { name: "empty", paused: false, channels: [] },
      ]);
      const server = await startNsqd(folder, ["--mem-queue-size=0"]);
      // nsqd passes the messages of the topic's own queue to both channels.
      await untilStats(server, "orders", "billing", ({ depth }) => depth === billing.length + waiting.length);
      await untilStats(server, "orders", "audit", ({ depth }) => depth === waiting.length);
      const shown = (await stats(server)).map(({ topic_name, depth, paused, channels }) => {
        return [topic_name, depth, paused, ...channels.map((channel) => [channel.channel_name, channel.depth, channel.paused]).sort()];
      });
      expect(shown).toEqual([
        ["empty", 0, false],
        ["held", 30, true, ["x", 0, false]],
        ["orders", 0, false, ["audit", 40, true], ["billing", 542, false]],
      ]);
      expect(server.log()).not.toMatch(/WARNING|ERROR/);

      await post(server, "/channel/unpause?topic=orders&channel=audit", "/topic/unpause?topic=held");
      const sent = (list: Message[]) => list.map((one) => ({ ...one, attempts: one.attempts + 1 })).sort(byId);
      // nsqd keeps the attempts of a message in the topic's queue for one of the channels, and starts at 0 in the others.
      const uncounted = (list: Message[]) => list.map((one) => ({ ...one, attempts: 0 })).sort(byId);
      const drained = (await consume(server, "orders", "billing", billing.length + waiting.length)).sort(byId);
      expect(drained.filter(({ id }) => billing.some((one) => one.id === id))).toEqual(sent(billing));
      expect(uncounted(drained.filter(({ id }) => waiting.some((one) => one.id === id)))).toEqual(uncounted(waiting));
      expect(uncounted(await consume(server, "orders", "audit", waiting.length))).toEqual(uncounted(waiting));
      expect((await consume(server, "held", "x", held.length)).sort(byId)).toEqual(sent(held));
      await until("all is delivered", async () =>
        (await stats(server)).every(({ depth, channels }) => depth === 0 && channels.every((channel) => channel.depth === 0)),
      );
      expect(await server.stop()).toBe(0);
      const { queues, problems } = readAll(folder);
      expect(problems).toEqual([]);
      expect([...queues.values()].flat()).toEqual([]);
      expect(readdirSync(folder).filter((name) => name.endsWith(".bad"))).toEqual([]);
    },
    TIMEOUT_MS,
  );
});

function byId(a: { id: string }, b: { id: string }): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}
