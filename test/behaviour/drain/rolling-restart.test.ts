import { expect, test } from "bun:test";
import { BrokerClient, Consumer, type Message, Producer, type PublishOptions } from "../../../src/client/bun.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { startLookupServer } from "../../support/lookup.ts";
import { type Running, type Server, startServer, until } from "../../support/server.ts";
import { availableClients, Follower } from "../discovery/support/follower.ts";

const TOPIC = "orders";
const OURS = "ours";
/** Publishes that each producer has under way. */
const PUBLISHERS = 20;

/** A broker with the ports that it keeps over restarts. */
class Site {
  readonly dataPath = temporaryFolder();
  server!: Server;

  constructor(private readonly lookup: Running) {}

  async start(tcpPort = 0, httpPort = 0): Promise<void> {
    this.server = await startServer({
      dataPath: this.dataPath,
      args: [
        ...[`--tcp-address=127.0.0.1:${tcpPort}`, `--http-address=127.0.0.1:${httpPort}`],
        ...[`--lookupd-tcp-address=127.0.0.1:${this.lookup.tcpPort}`, "--broadcast-address=127.0.0.1"],
      ],
    });
    await until("it is ready", async () => (await this.server.http("GET", "/ready")).status === 200);
  }

  get address(): string {
    return `127.0.0.1:${this.server.tcpPort}`;
  }

  get client(): BrokerClient {
    return new BrokerClient(`127.0.0.1:${this.server.httpPort}`);
  }

  /** Drains the broker, and starts it again once its process has ended. */
  async restart(): Promise<void> {
    const { tcpPort, httpPort, process } = this.server;
    expect((await this.server.http("POST", "/drain?timeout=60s")).status).toBe(200);
    expect(await process.exited).toBe(0);
    expect(this.server.log()).toContain("DRAIN: nothing is in flight");
    await this.start(tcpPort, httpPort);
  }
}

/** Counts what a consumer of ours gets. */
class Deliveries {
  readonly received = new Set<string>();
  readonly repeated = new Set<string>();

  readonly handle = async (message: Message): Promise<void> => {
    // While this waits, others are in flight.
    await Bun.sleep(5);
    const body = message.text();
    if (this.received.has(body) || message.attempts > 1) this.repeated.add(body);
    this.received.add(body);
  };
}

test("a rolling restart by drains loses and repeats no message, and fails no publish", async () => {
  const lookup = await startLookupServer();
  const sites = [0, 1, 2].map(() => new Site(lookup));
  const others = (await availableClients("nsqjs", "go-nsq")).map((client) => ({ client, channel: client.name }));
  for (const site of sites) {
    await site.start();
    await site.client.createTopic(TOPIC);
    for (const channel of [OURS, ...others.map((other) => other.channel)]) await site.client.createChannel(TOPIC, channel);
  }
  const lookups = [`127.0.0.1:${lookup.httpPort}`];
  const producers = [0, 1].map(() => new Producer({ lookups, lookupPollMs: 200 }));
  const deliveries = new Deliveries();
  const consumers = [0, 1].map(() => new Consumer({ lookups, lookupPollMs: 200, topic: TOPIC, channel: OURS, maxInFlight: 60 }));
  for (const consumer of consumers) void consumer.run(deliveries.handle);
  const followers = others.map(({ client, channel }) => new Follower(client, lookups, TOPIC, channel));
  const published: string[] = [];
  const failures: string[] = [];
  let isOver = false;
  const publish = async (producer: Producer, name: string, options: PublishOptions) => {
    for (let number = 0; !isOver; number++) {
      const body = `${name} ${number}`;
      try {
        await producer.publish(TOPIC, body, options);
        published.push(body);
      } catch (error) {
        failures.push(`${body}: ${error}`);
      }
      await Bun.sleep(5);
    }
  };
  const allConnected = async () => {
    if ([...producers, ...consumers].some(({ connected }) => connected.length < sites.length)) return false;
    const clients = consumers.length + followers.length;
    for (const { client } of sites) {
      const { topics } = (await client.stats({ topic: TOPIC })) as { topics: { channels: { client_count: number }[] }[] };
      if (topics[0]?.channels.reduce((sum, { client_count }) => sum + client_count, 0) !== clients) return false;
    }
    return true;
  };
  const publishing = Promise.all(
    producers.flatMap((producer, i) =>
      Array.from({ length: PUBLISHERS }, (_, j) => publish(producer, `${i} ${j}`, i === 0 ? {} : { key: `${j}` })),
    ),
  );
  try {
    await until("all are connected", allConnected, 30_000);
    for (const site of sites) {
      const before = published.length;
      await site.restart();
      await until("all are connected again", allConnected, 30_000);
      await until("messages flow", () => published.length > before + 100);
    }
    isOver = true;
    await publishing;
    expect(failures).toEqual([]);
    for (const counted of [deliveries, ...followers]) {
      await until("all are delivered", () => published.every((body) => counted.received.has(body)), 30_000);
      expect([...counted.repeated]).toEqual([]);
      expect(counted.received.size).toBe(published.length);
    }
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${followers.map(({ complaints }) => complaints).join("\n")}`);
  } finally {
    isOver = true;
    await publishing;
    for (const client of [...producers, ...consumers]) await client.close();
    for (const follower of followers) await follower.stop();
    for (const { server, dataPath } of sites) {
      await server.stop();
      removeFolder(dataPath);
    }
    await lookup.stop();
  }
}, 180_000);
