import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MAIN, type Running, startProcess, until } from "../../../support/server.ts";
import { availableClients, Follower } from "./follower.ts";
import { Site } from "./site.ts";

export const TOPIC = "healing";
/** How long a consumer may take to connect again once everything that it needs is back. */
export const HEALED_MS = 5000;
/** How long it may take to get messages. go-nsq waits up to 5 s with its RDY if another broker was to send it all it can take. */
const FLOWS_MS = 15_000;

/** The address of a server, which it keeps over all restarts. */
export interface Place {
  host: string;
  /** 0: chosen at the first start, then kept. */
  tcpPort: number;
  httpPort: number;
  /** A command that runs a program at this place. */
  prefix: string[];
}

/** One server, over all its restarts. */
export class Node {
  private running: Running | undefined;

  constructor(
    readonly name: string,
    readonly place: Place,
    private readonly args: () => string[],
  ) {}

  get http(): string {
    return `${this.place.host}:${this.place.httpPort}`;
  }

  get tcp(): string {
    return `${this.place.host}:${this.place.tcpPort}`;
  }

  get log(): string {
    return this.running?.log() ?? "";
  }

  async start(): Promise<void> {
    const { host, tcpPort, httpPort, prefix } = this.place;
    const addresses = [`--tcp-address=${host}:${tcpPort}`, `--http-address=${host}:${httpPort}`, `--broadcast-address=${host}`];
    this.running = await startProcess(this.name, [...prefix, process.execPath, MAIN, ...this.args(), ...addresses]);
    this.place.tcpPort = this.running.tcpPort;
    this.place.httpPort = this.running.httpPort;
  }

  async kill(): Promise<void> {
    await this.running?.stop("SIGKILL");
  }
}

/**
 * Two lookups, three brokers, a producer for each broker, and consumers that know only the lookups. Each consumer has its
 * own channel, so each must get every message.
 */
export class Cluster implements AsyncDisposable {
  readonly lookups: Node[];
  readonly brokers: Node[];
  readonly followers: Follower[] = [];
  readonly site: Site;
  private readonly dataPaths: string[] = [];

  /**
   * @param places of the lookups first, then of the brokers
   * @param clients a command that runs a program where the clients are
   */
  constructor(
    places: { lookups: Place[]; brokers: Place[] },
    private readonly clients: string[] = [],
  ) {
    this.lookups = places.lookups.map((place, i) => new Node(`lookup ${i}`, place, () => ["--mode=lookup"]));
    this.brokers = places.brokers.map((place, i) => {
      const dataPath = mkdtempSync(join(tmpdir(), "bunsq-healing-"));
      this.dataPaths.push(dataPath);
      const lookups = () => this.lookups.map(({ tcp }) => `--lookupd-tcp-address=${tcp}`);
      return new Node(`broker ${i}`, place, () => ["--mode=broker", `--node-id=${i}`, `--data-path=${dataPath}`, ...lookups()]);
    });
    this.site = new Site(clients);
  }

  /** Starts everything, and returns once each consumer gets messages from each broker. */
  async start(): Promise<void> {
    await Promise.all(this.lookups.map((lookup) => lookup.start()));
    await Promise.all(this.brokers.map((broker) => broker.start()));
    const clients = await availableClients("nsqjs", "go-nsq");
    // The channels are made before the first message, so that each consumer must get all messages.
    for (const { http } of this.brokers) {
      await this.site.request("POST", `http://${http}/topic/create?topic=${TOPIC}`);
      for (const { name } of clients) await this.site.request("POST", `http://${http}/channel/create?topic=${TOPIC}&channel=${name}`);
    }
    const lookups = this.lookups.map(({ http }) => http);
    for (const client of clients) this.followers.push(new Follower(client, lookups, TOPIC, client.name, this.clients));
    this.site.publish(
      this.brokers.map(({ http }) => http),
      TOPIC,
    );
    await this.untilAllFlows("all is at work at the beginning");
  }

  /** Waits until every consumer is connected to every broker. @returns ms */
  async untilConnected(what: string, timeoutMs = HEALED_MS): Promise<number> {
    const began = performance.now();
    await this.hold(what, timeoutMs, async () => {
      const connected = await Promise.all(this.brokers.map((broker) => this.consumersOf(broker)));
      return connected.every((channels) => this.followers.every(({ channel }) => channels.includes(channel)));
    });
    return performance.now() - began;
  }

  /** Waits until every consumer has got, from every broker, a message that was sent from now on. */
  async untilAllFlows(what: string, timeoutMs = FLOWS_MS): Promise<void> {
    const sent = this.site.acknowledged.map((bodies) => bodies.length);
    const hasNew = (bodies: string[], from: number, { received }: Follower) => bodies.slice(from).some((body) => received.has(body));
    await this.hold(`${what}: consumers get messages of all brokers`, timeoutMs, () =>
      this.site.acknowledged.every((bodies, i) => this.followers.every((follower) => hasNew(bodies, sent[i], follower))),
    );
  }

  /** The brokers that a lookup knows for the topic, by their indexes; undefined if it does not answer. */
  async toldBy(lookup: Node): Promise<number[] | undefined> {
    const { status, text } = await this.site.get(`http://${lookup.http}/lookup?topic=${TOPIC}`);
    if (status !== 200) return undefined;
    const { producers } = JSON.parse(text) as { producers: { broadcast_address: string; http_port: number }[] };
    const told = producers.map(({ broadcast_address, http_port }) => `${broadcast_address}:${http_port}`);
    return this.brokers.flatMap(({ http }, i) => (told.includes(http) ? [i] : []));
  }

  /** Waits until both lookups know exactly these brokers. @returns ms */
  async untilTold(what: string, brokers: number[], timeoutMs = HEALED_MS): Promise<number> {
    const began = performance.now();
    await this.hold(what, timeoutMs, async () => {
      for (const lookup of this.lookups) if ((await this.toldBy(lookup))?.join() !== brokers.join()) return false;
      return true;
    });
    return performance.now() - began;
  }

  /** Stops the producers and waits until each consumer has each acknowledged message. @returns how many there were */
  async settle(): Promise<number> {
    await this.site.stopPublishing();
    const bodies = this.site.acknowledged.flat();
    for (const follower of this.followers) {
      const missing = () => bodies.filter((body) => !follower.received.has(body));
      await this.hold(`${follower.channel} has got everything`, 20_000, () => missing().length === 0).catch((error: Error) => {
        throw new Error(`${error.message}; ${missing().length} of ${bodies.length} missing, such as ${missing().slice(0, 5).join(", ")}`);
      });
    }
    return bodies.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.site.end(), ...this.followers.map((follower) => follower.stop())]);
    await Promise.all([...this.brokers, ...this.lookups].map((node) => node.kill()));
    for (const path of this.dataPaths) rmSync(path, { recursive: true, force: true });
  }

  /** The channels that have a consumer on a broker. */
  private async consumersOf(broker: Node): Promise<string[]> {
    const { status, text } = await this.site.get(`http://${broker.http}/stats?format=json&topic=${TOPIC}`);
    if (status !== 200) return [];
    const { topics } = JSON.parse(text) as { topics: { channels: { channel_name: string; client_count: number }[] }[] };
    return topics.flatMap(({ channels }) =>
      channels.filter(({ client_count }) => client_count > 0).map(({ channel_name }) => channel_name),
    );
  }

  /** until(), which on failure also shows the output of the clients. */
  private async hold(what: string, timeoutMs: number, condition: () => boolean | Promise<boolean>): Promise<void> {
    try {
      await until(what, condition, timeoutMs);
    } catch (error) {
      const complaints = this.followers.map(({ channel, complaints }) => `${channel}: ${complaints.slice(-2000)}`);
      throw new Error(`${(error as Error).message}\n${complaints.join("\n")}`);
    }
  }
}
