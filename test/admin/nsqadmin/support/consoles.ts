import { startLookupServer } from "../../../support/lookup.ts";
import { RawClient } from "../../../support/raw-client.ts";
import { MAIN, type Running, type Server, startProcess, startServer, until } from "../../../support/server.ts";

/** Brokers register within this time. Go's programs ask their lookup servers when they start. */
const REGISTERED_MS = 15_000;

/** What a console has answered, as it is compared: without what is different at each request. */
export interface Answer {
  status: number;
  type: string | null;
  nsqType: string | null;
  body: string;
}

export interface Request {
  method?: string;
  path: string;
  body?: string;
  headers?: Record<string, string>;
}

/** Go's nsqadmin and ours over the same servers. */
export interface Twins {
  nsqadmin: Running;
  bunsq: Running;
}

/** Two lookup servers and two brokers, one of each Go's and one ours, and consoles over them. */
export class Cluster implements AsyncDisposable {
  private readonly started: Running[] = [];
  private readonly clients: RawClient[] = [];
  lookups: Running[] = [];
  brokers: Server[] = [];
  /** They ask the lookup servers. */
  overLookups!: Twins;
  /** They have a list of brokers. */
  overBrokers!: Twins;

  static async start(): Promise<Cluster> {
    const cluster = new Cluster();
    cluster.lookups = await Promise.all([startLookupServer("nsqlookupd"), startLookupServer("bunsq")]);
    cluster.started.push(...cluster.lookups);
    const args = [
      ...cluster.lookups.map(({ tcpPort }) => `--lookupd-tcp-address=127.0.0.1:${tcpPort}`),
      "--broadcast-address=127.0.0.1",
      "--e2e-processing-latency-percentile=0.99,0.5",
    ];
    cluster.brokers = await Promise.all([startServer({ program: "nsqd", args }), startServer({ program: "bunsq", args })]);
    cluster.started.push(...cluster.brokers);
    cluster.overLookups = await cluster.twins(cluster.lookups.map((each) => `--lookupd-http-address=${addressOf(each)}`));
    cluster.overBrokers = await cluster.twins(cluster.brokers.map((each) => `--nsqd-http-address=${addressOf(each)}`));
    return cluster;
  }

  /** Starts both consoles with the same flags. */
  async twins(args: string[]): Promise<Twins> {
    const [nsqadmin, bunsq] = await Promise.all([startConsole("nsqadmin", args), startConsole("bunsq", args)]);
    this.started.push(nsqadmin, bunsq);
    return { nsqadmin, bunsq };
  }

  /** Makes the topics, channels, messages and consumers that the consoles show, and waits until the lookup servers know them. */
  async fill(): Promise<void> {
    const [go, ours] = this.brokers as [Server, Server];
    for (const broker of this.brokers) {
      await post(broker, "/topic/create?topic=orders");
      await post(broker, "/channel/create?topic=orders&channel=mail");
    }
    await post(go, "/channel/create?topic=orders&channel=only");
    await post(ours, "/channel/create?topic=orders&channel=tail%23ephemeral");
    await post(ours, "/topic/create?topic=bills");
    await post(ours, "/topic/create?topic=7");
    await post(ours, "/topic/create?topic=12");
    await post(go, "/channel/pause?topic=orders&channel=mail");
    await post(go, "/topic/pause?topic=orders");
    await post(go, "/topic/unpause?topic=orders");
    for (const lookup of this.lookups) {
      for (const topic of ["idle", "3", "20"]) await post(lookup, `/topic/create?topic=${topic}`);
      await post(lookup, "/channel/create?topic=idle&channel=later");
    }
    await Promise.all(this.brokers.map((broker, at) => this.consume(broker, 5 + at)));
    await post(go, "/channel/unpause?topic=orders&channel=mail");
    await until("all is registered", () => this.isRegistered(), REGISTERED_MS);
    for (const lookup of this.lookups) await post(lookup, `/topic/tombstone?topic=bills&node=${addressOf(ours)}`);
  }

  /** Connects a consumer that has finished one message, requeued one, and holds one. */
  private async consume(broker: Server, count: number): Promise<void> {
    const client = await RawClient.connect(broker.tcpPort);
    this.clients.push(client);
    const identify = JSON.stringify({ client_id: "c", hostname: `host${count}`, user_agent: "test/1", feature_negotiation: false });
    const body = Buffer.from(identify);
    const size = Buffer.alloc(4);
    size.writeUInt32BE(body.length);
    client.write(Buffer.concat([Buffer.from("IDENTIFY\n"), size, body]));
    client.write("SUB orders mail\n");
    client.write("RDY 1\n");
    await post(broker, "/channel/unpause?topic=orders&channel=mail");
    for (let at = 0; at < count; at++) await post(broker, "/pub?topic=orders", `message ${at}`);
    const next = async () => {
      const found = () => client.frames.findIndex(({ type }) => type === "message");
      await until("a message comes", () => found() >= 0);
      return client.frames.splice(found(), 1)[0]?.id ?? "";
    };
    client.write(`FIN ${await next()}\n`);
    await next();
  }

  private async isRegistered(): Promise<boolean> {
    for (const lookup of this.lookups) {
      const nodes = await (await lookup.http("GET", "/nodes")).text();
      const channels = await (await lookup.http("GET", "/channels?topic=orders")).text();
      if (nodes.split('"hostname"').length !== 3 || !nodes.includes("bills") || !nodes.includes('"12"')) return false;
      if (!["mail", "only", "tail#ephemeral"].every((name) => channels.includes(name))) return false;
    }
    return true;
  }

  /** What brokers and lookup servers have: names, depths and who is paused. */
  async state(): Promise<string[]> {
    const lines: string[] = [];
    for (const [at, broker] of this.brokers.entries()) {
      const { topics } = (await (await broker.http("GET", "/stats?format=json&include_clients=false")).json()) as {
        topics: {
          topic_name: string;
          paused: boolean;
          depth: number;
          channels: { channel_name: string; paused: boolean; depth: number }[];
        }[];
      };
      for (const { topic_name, paused, depth, channels } of topics) {
        lines.push(`broker ${at} ${topic_name} ${paused ? "paused" : ""} ${depth}`);
        for (const each of channels)
          lines.push(`broker ${at} ${topic_name} ${each.channel_name} ${each.paused ? "paused" : ""} ${each.depth}`);
      }
    }
    for (const [at, lookup] of this.lookups.entries()) {
      const { topics } = (await (await lookup.http("GET", "/topics")).json()) as { topics: string[] };
      for (const topic of topics) {
        const { channels } = (await (await lookup.http("GET", `/channels?topic=${topic}`)).json()) as { channels: string[] };
        lines.push(`lookup ${at} ${topic}: ${channels.sort().join()}`);
      }
    }
    return lines.sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.clients) client.close();
    for (const one of this.started.reverse()) await one.stop("SIGKILL");
  }
}

/** Starts a console. @param args beside the address to listen on */
export function startConsole(program: "nsqadmin" | "bunsq", args: string[]): Promise<Running> {
  const command = program === "nsqadmin" ? ["nsqadmin"] : [process.execPath, MAIN, "nsqadmin"];
  return startProcess(program, [...command, "--http-address=127.0.0.1:0", ...args], ["HTTP"]);
}

export function addressOf({ httpPort }: Running): string {
  return `127.0.0.1:${httpPort}`;
}

/** Makes a server do something. */
export async function post(server: Running, path: string, body = ""): Promise<void> {
  const response = await server.http("POST", path, body);
  if (response.status !== 200) throw new Error(`${server.program} ${path}: ${response.status} ${await response.text()}`);
}

/** Asks a console. */
export async function ask(console: Running, { method = "GET", path, body, headers = {} }: Request): Promise<Answer> {
  const response = await fetch(`http://${addressOf(console)}${path}`, {
    method,
    redirect: "manual",
    headers: { "Accept-Encoding": "identity", ...headers },
    ...(body === undefined ? {} : { body }),
  });
  const type = response.headers.get("content-type");
  const text = await response.text();
  return {
    status: response.status,
    type,
    nsqType: response.headers.get("x-nsq-content-type"),
    body: type?.startsWith("application/json") ? JSON.stringify(settled(JSON.parse(text))) : text,
  };
}

/** An answer without what differs from request to request. Members keep their order; lists of what is of brokers are sorted. */
function settled(value: unknown, name = ""): unknown {
  if (Array.isArray(value)) {
    const items = value.map((item) => settled(item));
    return ["nodes", "clients", "remote_addresses"].includes(name)
      ? items.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
      : items;
  }
  // The average of two numbers depends on their order, in its last digits.
  if (typeof value === "number") return name === "connected" ? 0 : Number(value.toPrecision(9));
  if (value === null || typeof value !== "object") return value;
  // A broker's address is as the lookup server sees it that has answered first, at both programs.
  if ("remote_address" in value && "remote_addresses" in value) return settled(withFirstAddress(value));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, settled(item, key)]));
}

/** A node whose address is the first of those that lookup servers see, if it is one of them. */
function withFirstAddress({ remote_address, remote_addresses, ...node }: Record<string, unknown>): object {
  const seen = [...((remote_addresses as string[] | null) ?? [])].sort();
  const isSeen = seen.some((address) => address.endsWith(`/${remote_address}`));
  return { seen_at: seen, seen_as: isSeen ? (seen[0] ?? "").split("/")[1] : remote_address, ...node };
}
