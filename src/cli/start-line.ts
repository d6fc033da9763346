import { resolve } from "node:path";
import type { AdminOptions } from "../admin/options.ts";
import type { BrokerOptions } from "../broker/options.ts";
import type { LookupOptions } from "../lookup/options.ts";

/** The log line that says what is about to run, for the operator who has to find out: which mode, which data, where. */
export function startLine(servers: { broker?: BrokerOptions; lookup?: LookupOptions; admin?: AdminOptions | undefined }): string {
  const { broker, lookup, admin } = servers;
  const alone = lookup !== undefined ? "lookup" : "admin";
  const mode = broker === undefined ? alone : lookup === undefined ? "broker" : "all";
  const parts: string[] = [];
  if (broker !== undefined) {
    parts.push(`data path ${resolve(broker.dataPath)}`, `durability ${broker.durability}`, addresses("broker", brokerAddresses(broker)));
  }
  if (lookup !== undefined) parts.push(addresses("lookup server", { TCP: lookup.tcpAddress, HTTP: lookup.httpAddress }));
  if (admin !== undefined) parts.push(addresses("console", httpAddresses(admin)));
  return `mode ${mode}: ${parts.join("; ")}`;
}

function brokerAddresses(options: BrokerOptions): Record<string, string> {
  return { TCP: options.tcpAddress, ...httpAddresses(options) };
}

function httpAddresses({ httpAddress, httpsAddress, tlsCert }: BrokerOptions | AdminOptions): Record<string, string> {
  return { HTTP: httpAddress, HTTPS: tlsCert === "" ? "" : httpsAddress };
}

/** A server's addresses as they were asked for. Port 0 is one that the system chooses; the listeners log which. */
function addresses(server: string, byListener: Record<string, string>): string {
  const given = Object.entries(byListener).filter(([, address]) => address !== "");
  return `${server} on ${given.map(([listener, address]) => `${listener} ${address}`).join(", ")}`;
}
