import { InProcessLookup } from "../../../lookup/support/in-process.ts";
import { type Server, startServer, until } from "../../../support/server.ts";

const BARE = { headers: { Accept: "application/vnd.nsq; version=1.0" } };

export interface Places {
  meta: { partition_num: number; ordered: boolean; extend_support: boolean; disable_channel_auto_create: boolean };
  channels: string[];
  partitions: Record<string, { tcp_port: number; http_port: number }>;
}

/** Brokers in processes of their own, registered at lookup servers in this one. */
export class Cluster implements AsyncDisposable {
  brokers: Server[] = [];

  /** @param lookups at which each broker registers; calls go to the first one unless they say otherwise */
  constructor(readonly lookups: InProcessLookup[] = [InProcessLookup.settled({ broadcastAddress: "127.0.0.1" })]) {}

  static async start(count: number, lookups?: InProcessLookup[]): Promise<Cluster> {
    const cluster = new Cluster(lookups);
    for (let id = 1; id <= count; id++) cluster.brokers.push(await cluster.startBroker(id));
    for (let at = 0; at < cluster.lookups.length; at++) await cluster.untilBrokers(count, at);
    return cluster;
  }

  startBroker(id: number, dataPath?: string, args: string[] = []): Promise<Server> {
    const lookups = this.lookups.map(({ server }) => `--lookupd-tcp-address=127.0.0.1:${server.tcpPort}`);
    return startServer({
      args: [...lookups, "--broadcast-address=127.0.0.1", `--node-id=${id}`, ...args],
      ...(dataPath !== undefined && { dataPath }),
    });
  }

  untilBrokers(count: number, at = 0): Promise<void> {
    return until(`${count} brokers are registered`, async () => {
      const { producers } = (await (await fetch(this.url(at, "/nodes"), BARE)).json()) as { producers: object[] };
      return producers.length === count;
    });
  }

  private url(at: number, target: string): string {
    return `http://127.0.0.1:${this.lookups[at]?.server.httpPort}${target}`;
  }

  async post(target: string, at = 0): Promise<string> {
    const response = await fetch(this.url(at, target), { method: "POST", ...BARE });
    return `${response.status} ${await response.text()}`.trimEnd();
  }

  async places(topic: string, more = "access=w&metainfo=true", at = 0): Promise<Places> {
    const response = await fetch(this.url(at, `/lookup?topic=${topic}&${more}`), BARE);
    return (await response.json()) as Places;
  }

  /** How many partitions of a topic each broker has, as the lookup server tells it. */
  async counts(topic: string): Promise<number[]> {
    const { partitions } = await this.places(topic);
    const ports = Object.values(partitions).map(({ tcp_port }) => tcp_port);
    return this.brokers.map(({ tcpPort }) => ports.filter((port) => port === tcpPort).length);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const broker of this.brokers) await broker.stop();
    for (const lookup of this.lookups) await lookup[Symbol.asyncDispose]();
  }
}
