import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InProcessLookup } from "../../lookup/support/in-process.ts";
import { type Server, startServer, until } from "../../support/server.ts";
import { OrderedConsumer, OrderedProducer, type Place, type Received } from "./support/ordered-clients.ts";
import { YouzanLookup } from "./support/youzan-lookup.ts";

// Ordered messages through a topic with eight partitions at two brokers that a lookup server made: what Youzan's Go client does, which is not
// at hand where tests run.

const PARTITIONS = 8;
const MESSAGES = 10_000;
const KEYS = 250;
const PER_KEY = MESSAGES / KEYS;
const WRITERS = 50;

/** Two brokers, their lookup server, and a topic. */
class Site implements AsyncDisposable {
  readonly lookup = InProcessLookup.settled({ broadcastAddress: "127.0.0.1" });
  readonly client = new YouzanLookup(`127.0.0.1:${this.lookup.server.httpPort}`);
  readonly brokers: Server[] = [];
  private readonly folder = mkdtempSync(join(tmpdir(), "bunsq-flow-"));

  static async start(): Promise<Site> {
    const site = new Site();
    for (const id of [1, 2]) site.brokers.push(await site.startBroker(id));
    await until("both brokers are registered", async () => {
      const { producers } = (await site.lookup.get("/nodes")) as { producers: object[] };
      return producers.length === 2;
    });
    const url = `http://127.0.0.1:${site.lookup.server.httpPort}/topic/create`;
    const more = `partition_num=${PARTITIONS}&replicator=1&extend=true&orderedmulti=true`;
    expect((await fetch(`${url}?topic=t&${more}`, { method: "POST" })).status).toBe(200);
    return site;
  }

  /** Starts a broker, also one that was killed. It has other ports then. */
  startBroker(id: number): Promise<Server> {
    const address = `--lookupd-tcp-address=127.0.0.1:${this.lookup.server.tcpPort}`;
    const dataPath = join(this.folder, `${id}`);
    mkdirSync(dataPath, { recursive: true });
    return startServer({ dataPath, args: ["--broadcast-address=127.0.0.1", `--node-id=${id}`, address] });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const broker of this.brokers) await broker.stop();
    await this.lookup[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** What was published, and what came. */
class Ledger {
  readonly places = new Map<string, Place>();
  readonly faults: string[] = [];
  received = 0;
  /** Messages that came again. */
  again = 0;
  private readonly last = new Map<string, number>();
  private sent = 0n;
  private got = 0n;

  /** Publishes the messages of all keys, by several writers at a time, each of which waits for its answers. */
  async publish(producer: OrderedProducer, onPublished: (count: number) => void = () => {}): Promise<void> {
    let count = 0;
    const writers = Array.from({ length: WRITERS }, async (_, writer) => {
      for (let number = 0; number < PER_KEY; number++) {
        for (let k = writer; k < KEYS; k += WRITERS) {
          const body = `key ${k}|${number}|${"x".repeat((k * number) % 300)}`;
          const header = number % 2 === 0 ? { k: `key ${k}` } : undefined;
          const place = await producer.publish(`key ${k}`, body, BigInt(number + 1), header);
          this.places.set(`key ${k}|${number}`, place);
          this.sent ^= Bun.hash(body);
          onPublished(++count);
        }
      }
    });
    await Promise.all(writers);
  }

  receive({ partition, id, traceId, header, body }: Received): void {
    const [key = "", text = ""] = body.split("|");
    const number = Number(text);
    const expected = Bun.hash.murmur32v3(key, 0) % PARTITIONS;
    if (partition !== expected || Number(id >> 50n) !== expected) this.faults.push(`${key} came from partition ${partition}, id ${id}`);
    if (traceId !== BigInt(number + 1)) this.faults.push(`${key}|${number} has trace id ${traceId}`);
    const wanted = number % 2 === 0 ? { "##trace_id": `${number + 1}`, k: key } : undefined;
    if (!Bun.deepEquals(header, wanted)) this.faults.push(`${key}|${number} has header ${JSON.stringify(header)}`);
    const last = this.last.get(key) ?? -1;
    if (number <= last) this.again++;
    else if (number > last + 1) this.faults.push(`${key}|${number} came after ${last}`);
    else {
      this.last.set(key, number);
      this.received++;
      this.got ^= Bun.hash(body);
    }
  }

  async settle(consumer: OrderedConsumer): Promise<void> {
    await until(
      "all messages have come",
      () => this.received === MESSAGES || this.faults.length > 0 || consumer.faults.length > 0,
      120_000,
    );
    expect(consumer.faults).toEqual([]);
    expect(this.faults.slice(0, 20)).toEqual([]);
    expect(this.got).toBe(this.sent);
  }
}

test("messages of each key come in order from the partitions of two brokers, each once", async () => {
  await using site = await Site.start();
  const ledger = new Ledger();
  const placed: [string, Place][] = [];
  await using consumer = new OrderedConsumer(site.client, "t", "ch", (message) => {
    const [key, number] = message.body.split("|");
    placed.push([`${key}|${number}`, { id: message.id, offset: message.offset, rawSize: message.rawSize }]);
    ledger.receive(message);
  });
  await consumer.start();
  using producer = new OrderedProducer(site.client, "t");
  await ledger.publish(producer);
  await ledger.settle(consumer);
  expect({ again: ledger.again, repeated: producer.repeated, mostInFlight: consumer.mostInFlight }).toEqual({
    again: 0,
    repeated: 0,
    mostInFlight: 1,
  });
  // A consumer is told the same place of a message as its producer.
  expect(placed.filter(([name, place]) => !Bun.deepEquals(ledger.places.get(name), place))).toEqual([]);
}, 180_000);

test("the order is kept and nothing is lost when one of the brokers is killed in between", async () => {
  await using site = await Site.start();
  const ledger = new Ledger();
  await using consumer = new OrderedConsumer(site.client, "t", "ch", (message) => ledger.receive(message));
  await consumer.start();
  using producer = new OrderedProducer(site.client, "t");
  let restart: Promise<void> | undefined;
  await ledger.publish(producer, (count) => {
    if (count === MESSAGES / 2) restart = killAndRestart(site);
  });
  await restart;
  await ledger.settle(consumer);
  expect(producer.repeated).toBeGreaterThan(0);
  expect(consumer.mostInFlight).toBe(1);
}, 180_000);

async function killAndRestart(site: Site): Promise<void> {
  const [, second] = site.brokers;
  await second?.stop("SIGKILL");
  site.brokers[1] = await site.startBroker(2);
}
