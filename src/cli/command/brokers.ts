import { BrokerClient, ClientError, type HttpOptions, LookupClient, type LookupNode } from "../../client/bun.ts";
import { environmentName } from "../environment.ts";
import type { ListFlag } from "../flag.ts";
import { UsageError } from "../flags.ts";
import { readText } from "../values.ts";
import type { Call } from "./command.ts";
import { httpOptions, TLS_FLAGS, type TlsFlags } from "./credentials.ts";

/** The port of a broker's and of a lookup server's HTTP listener. */
const BROKER_PORT = 4151;
export const LOOKUP_PORT = 4161;

const URL_START = /^https?:\/\//;

/** Where a command finds brokers: at addresses of theirs, or of lookup servers. */
export interface BrokerAddresses {
  brokers: string[];
  lookups: string[];
}

/** The flags that say where to connect to, and how if that is an HTTPS listener. */
export interface BrokerFlags extends BrokerAddresses, TlsFlags {}

const brokerFlag: ListFlag = {
  name: "broker",
  kind: "list",
  own: true,
  default: [],
  defaultDoc: "127.0.0.1:4151",
  doc: "<addr>[:<port>] of a broker's HTTP listener, the path of its unix socket, or a URL, as https://host:4152; several with commas (BUNSQ_BROKER, else 127.0.0.1:4151)",
};

export const lookupFlag: ListFlag = {
  name: "lookup",
  kind: "list",
  own: true,
  default: [],
  doc: "<addr>[:<port>] of a lookup server's HTTP listener, or its URL, to use all brokers that it knows; several with commas (BUNSQ_LOOKUP)",
};

export const BROKER_FLAGS = { brokers: brokerFlag, lookups: lookupFlag, ...TLS_FLAGS } as const;

/** A broker that a command talks to. */
export interface Broker {
  /** The address of its HTTP listener: `host:port`, a URL, or the path of a unix socket. */
  address: string;
  client: BrokerClient;
}

/** The addresses that the flags, or else the environment, or else the defaults say: brokers, or lookup servers. @throws UsageError */
export function sourceOf({ options, environment }: Call<BrokerFlags>): BrokerAddresses {
  if (options.brokers.length > 0 && options.lookups.length > 0) throw new UsageError("give either --broker or --lookup");
  const isGiven = options.brokers.length > 0 || options.lookups.length > 0;
  const from = (flag: ListFlag) => readText(flag, environment[environmentName(flag)] ?? "") as string[];
  const chosen = isGiven ? options : { brokers: from(brokerFlag), lookups: from(lookupFlag) };
  // If both variables are set, the one that names a broker counts.
  if (chosen.brokers.length > 0) {
    return { brokers: chosen.brokers.map((text) => (isPath(text) ? text : withPort(text, BROKER_PORT))), lookups: [] };
  }
  if (chosen.lookups.length > 0) return { brokers: [], lookups: chosen.lookups.map((text) => withPort(text, LOOKUP_PORT)) };
  return { brokers: [`127.0.0.1:${BROKER_PORT}`], lookups: [] };
}

/**
 * The brokers that a command is for.
 *
 * @param topic given: of those that lookup servers know, only the ones that have the topic
 * @throws UsageError; ClientError if no lookup server answers, or none knows such a broker
 */
export async function findBrokers(call: Call<BrokerFlags>, topic?: string): Promise<Broker[]> {
  const { brokers, lookups } = sourceOf(call);
  if (lookups.length === 0) {
    const http = httpOptions(call, brokers);
    return brokers.map((address) => ({ address, client: new BrokerClient(address, isPath(address) ? throughSocket(address) : http) }));
  }
  const nodes = await askLookups(call, lookups, topic);
  const addresses = [...new Set(nodes.map(httpAddress))].sort();
  if (addresses.length === 0) {
    const what = topic === undefined ? "no broker is registered" : `no broker has the topic ${topic}`;
    throw new ClientError("NO_BROKER", `${what} with ${lookups.join(", ")}`);
  }
  return addresses.map((address) => ({ address, client: new BrokerClient(address) }));
}

/** Asks all lookup servers. One that is down is reported; if all are, its error is thrown. */
async function askLookups(call: Call<BrokerFlags>, lookups: readonly string[], topic: string | undefined): Promise<LookupNode[]> {
  const http = httpOptions(call, lookups);
  const clients = lookups.map((address) => new LookupClient(address, http));
  const ask = async (client: LookupClient) => (topic === undefined ? client.nodes() : (await client.lookup(topic)).producers);
  const answers = await Promise.allSettled(clients.map(ask));
  const nodes: LookupNode[] = [];
  let failure: unknown;
  let failures = 0;
  for (const answer of answers) {
    if (answer.status === "fulfilled") nodes.push(...answer.value);
    else {
      failure = answer.reason;
      failures++;
    }
  }
  if (failures === answers.length) throw failure;
  if (failure instanceof Error) call.terminal.warn(`warning: ${failure.message}`);
  return nodes;
}

/** The TCP address of a broker, which it says itself. That of one on a unix socket is on this machine. @throws ClientError */
export async function tcpAddress({ address, client }: Broker): Promise<string> {
  const { tcp_port: port } = await client.info();
  const host = isPath(address) ? "127.0.0.1" : URL_START.test(address) ? new URL(address).host : address;
  if (typeof port !== "number" || port <= 0) {
    throw new ClientError("NO_BROKER", `${address} does not listen for TCP clients on a port`);
  }
  return `${host.replace(/:\d+$/, "")}:${port}`;
}

function httpAddress({ broadcast_address: host, http_port: port }: LookupNode): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Whether an address is the path of a unix socket. Unlike a broker's own flags, a name without a port is a host here. */
function isPath(address: string): boolean {
  return address.startsWith("@") || (address.includes("/") && !URL_START.test(address));
}

/** How HTTP calls are made to the unix socket at a path, or of an abstract name behind an @. */
function throughSocket(path: string): HttpOptions {
  const unix = path.startsWith("@") ? `\0${path.slice(1)}` : path;
  const start = `http://${path}`.length;
  // The option is Bun's. The client has put the path in front, in place of a host.
  return { fetch: (url, init) => fetch(`http://localhost${url.slice(start)}`, { ...init, unix } as BunFetchRequestInit) };
}

/** An address with a port, if it has none. */
export function withPort(text: string, port: number): string {
  if (URL_START.test(text) || /:\d+$/.test(text.replace(/^\[.*\]/, ""))) return text;
  // An IPv6 address has colons of its own.
  return text.includes(":") && !text.startsWith("[") ? `[${text}]:${port}` : `${text}:${port}`;
}
