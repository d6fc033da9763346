import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startLookupServer } from "../../../support/lookup.ts";
import { missing } from "../../../support/needs.ts";
import { RawClient } from "../../../support/raw-client.ts";
import { type Running, type Server, startServer, until } from "../../../support/server.ts";
import { Console } from "../../support/console.ts";

/** Why Go's servers are not among the others; undefined if they are. */
export const noGo = missing("nsqd", "nsqlookupd");

/** Brokers register with their lookup servers within this time. */
const REGISTERED_MS = 15_000;

/** Brokers and lookup servers in processes of their own, bunsq's and, where they are on PATH, Go's, and the console over them. */
export class LiveCluster implements AsyncDisposable {
  readonly lookups: Running[] = [];
  /** The first two are bunsq's. A third is Go's. */
  readonly brokers: Server[] = [];
  readonly clients: RawClient[] = [];
  console!: Console;
  private readonly dataPaths: string[] = [];

  static async start(): Promise<LiveCluster> {
    const cluster = new LiveCluster();
    try {
      await cluster.open();
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  private async open(): Promise<void> {
    this.lookups.push(await startLookupServer("bunsq"));
    if (noGo === undefined) this.lookups.push(await startLookupServer("nsqlookupd"));
    await this.startBroker("bunsq");
    await this.startBroker("bunsq");
    if (noGo === undefined) await this.startBroker("nsqd");
    this.console = new Console({ lookupdHttpAddresses: this.lookups.map(addressOf), pollIntervalMs: 200 });
    await until("all brokers are registered", () => this.areRegistered(), REGISTERED_MS);
  }

  get url(): string {
    return this.console.origin;
  }

  /** `host:port` of a broker's HTTP side, as the page has it. */
  address(at: number): string {
    return addressOf(this.broker(at));
  }

  broker(at: number): Server {
    const broker = this.brokers[at];
    if (broker === undefined) throw new Error(`no broker ${at}`);
    return broker;
  }

  /** Publishes over HTTP. @param query more of it, such as `&defer=60000` */
  async publish(at: number, topic: string, body: string | Uint8Array<ArrayBuffer>, query = ""): Promise<void> {
    await this.call(at, `/pub?topic=${topic}${query}`, body);
  }

  /** A POST to a broker that has to succeed. */
  async call(at: number, path: string, body?: string | Uint8Array<ArrayBuffer>): Promise<void> {
    const response = await this.broker(at).http("POST", path, body);
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    await response.body?.cancel();
  }

  /** A consumer at one broker. @param msgTimeoutMs how long it may take for a message; the broker's if not given */
  async consumer(at: number, topic: string, channel: string, ready: number, clientId: string, msgTimeoutMs?: number): Promise<RawClient> {
    const client = await this.client(at, clientId, msgTimeoutMs === undefined ? {} : { msg_timeout: msgTimeoutMs });
    await client.call(`SUB ${topic} ${channel}`);
    if (ready > 0) client.command(`RDY ${ready}`);
    return client;
  }

  /** A client at one broker that has introduced itself. */
  async client(at: number, clientId: string, more: Record<string, unknown> = {}): Promise<RawClient> {
    const client = await RawClient.connect(this.broker(at).tcpPort);
    this.clients.push(client);
    const identity = { client_id: clientId, hostname: `host-of-${clientId}`, user_agent: "test/1", feature_negotiation: true };
    await client.call("IDENTIFY", JSON.stringify({ ...identity, ...more }));
    return client;
  }

  /** Starts one more of bunsq's brokers, and waits until the console shows it. @returns its place in `brokers` */
  async addBroker(): Promise<number> {
    await this.startBroker("bunsq");
    const at = this.brokers.length - 1;
    await this.console.until("it is watched", `/brokers?filter=${this.address(at)}`, ({ total }: { total: number }) => total === 1);
    return at;
  }

  /** Ends a broker with SIGKILL. */
  async kill(at: number): Promise<void> {
    await this.broker(at).stop("SIGKILL");
  }

  /** Starts a broker again, on the data path and the ports that it had. */
  async revive(at: number): Promise<void> {
    const { program, dataPath, tcpPort, httpPort } = this.broker(at);
    const ports = [`--tcp-address=127.0.0.1:${tcpPort}`, `--http-address=127.0.0.1:${httpPort}`];
    this.brokers[at] = await startServer({ program, dataPath, args: [...this.args(), ...ports] });
  }

  private args(): string[] {
    return [...this.lookups.map(({ tcpPort }) => `--lookupd-tcp-address=127.0.0.1:${tcpPort}`), "--broadcast-address=127.0.0.1"];
  }

  private async startBroker(program: Server["program"]): Promise<void> {
    const dataPath = mkdtempSync(join(tmpdir(), "bunsq-test-"));
    this.dataPaths.push(dataPath);
    this.brokers.push(await startServer({ program, dataPath, args: this.args() }));
  }

  private async areRegistered(): Promise<boolean> {
    for (const lookup of this.lookups) {
      const { producers } = (await (await lookup.http("GET", "/nodes")).json()) as { producers: unknown[] };
      if (producers.length < this.brokers.length) return false;
    }
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.clients) client.terminate();
    await this.console?.[Symbol.asyncDispose]();
    await Promise.all([...this.brokers, ...this.lookups].map((each) => each.stop("SIGKILL")));
    for (const path of this.dataPaths) rmSync(path, { recursive: true, force: true });
  }
}

function addressOf({ httpPort }: Running): string {
  return `127.0.0.1:${httpPort}`;
}
