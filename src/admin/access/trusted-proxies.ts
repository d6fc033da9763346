import { lazy } from "../../base/lazy.ts";
import { StartError } from "../../base/start-error.ts";
import { formatHost, withoutBrackets } from "../../net/address.ts";
import { parseNetwork } from "../nsqadmin/network.ts";

/** Longer headers are not believed. */
const MOST_LENGTH = 8_192;
const MOST_HOPS = 32;
/** One pair of Forwarded (RFC 7239), and what ends it: a semicolon, or a comma after the last one of a hop. */
const PAIR = /\s*([\w!#$%&'*+.^`|~-]+)=("(?:[^"\\]|\\.)*"|[^\s",;]+)\s*([;,]|$)/y;
const MAPPED_IPV4 = /^::ffff:(?=\d+\.)/i;

/**
 * The proxies in front of the console whose headers are believed: what they say of where a request comes from. Each proxy appends the
 * address that it has the request from, and the client may have sent anything in front of that. So the client is the last address of the
 * list that is no trusted proxy's.
 */
export class TrustedProxies {
  private readonly networks: readonly ((address: string) => boolean)[];

  /** @param values addresses, and networks as `10.0.0.0/8` @throws StartError */
  constructor(flag: string, values: readonly string[]) {
    this.networks = values.map((value) => {
      const version = lazy.net.isIP(value);
      const network = version === 0 ? value : `${value}/${version === 4 ? 32 : 128}`;
      const contains = network.includes("/") ? parseNetwork(flag, network) : undefined;
      if (contains === undefined) throw new StartError(`failed to parse --${flag} (${value}) - it must be an address or a CIDR network`);
      return contains;
    });
  }

  get isEmpty(): boolean {
    return this.networks.length === 0;
  }

  /** Whether a request's headers are those of a trusted proxy. @param peer `host:port` that has sent it */
  includes(peer: string | undefined): boolean {
    const host = hostIn(peer ?? "");
    return host !== undefined && this.has(host);
  }

  /**
   * The address of a request's client: `host:port`, or the host alone where a proxy does not tell the port. It is the peer's unless that is a
   * trusted proxy which names another. If it has both X-Forwarded-For and Forwarded, and they differ, one is the client's own invention, and
   * neither is believed.
   */
  clientOf(peer: string | undefined, headers: Headers): string | undefined {
    if (this.isEmpty || !this.includes(peer)) return peer;
    const listed = headers.get("x-forwarded-for");
    const standard = headers.get("forwarded");
    const byList = listed === null ? undefined : this.clientIn(listed.length > MOST_LENGTH ? [] : listed.split(","));
    const byStandard = standard === null ? undefined : this.clientIn(forwardedFor(standard));
    if (listed !== null && standard !== null && hostIn(byList ?? "") !== hostIn(byStandard ?? "")) return peer;
    return byList ?? byStandard ?? peer;
  }

  /** Whether a trusted proxy says that the client has spoken TLS to it. */
  saysHttps(peer: string | undefined, headers: Headers): boolean {
    if (this.isEmpty || !this.includes(peer)) return false;
    const last = (headers.get("x-forwarded-proto") ?? headers.get("x-scheme") ?? "").split(",").at(-1) ?? "";
    return last.trim().toLowerCase() === "https";
  }

  /** @returns undefined if the last hop is no address: then nobody knows */
  private clientIn(nodes: readonly string[]): string | undefined {
    let client: string | undefined;
    for (const node of nodes.slice(-MOST_HOPS).reverse()) {
      const text = node.trim();
      const host = hostIn(text);
      if (host === undefined) return client;
      const [, port] = /(?:^[\d.]+|\]):(\d{1,5})$/.exec(text) ?? [];
      client = port === undefined ? formatHost(host) : `${formatHost(host)}:${port}`;
      if (!this.has(host)) return client;
    }
    return client;
  }

  private has(host: string): boolean {
    return this.networks.some((contains) => contains(host));
  }
}

/** The values of `for` in Forwarded, one for each hop; none if it is not well-formed: then one hop could hide in the text of another. */
function forwardedFor(header: string): string[] {
  if (header.length > MOST_LENGTH) return [];
  const hops: string[] = [];
  let node = "";
  PAIR.lastIndex = 0;
  for (let end = ";"; end !== ""; ) {
    const [, name = "", value = "", ending] = PAIR.exec(header) ?? [];
    if (ending === undefined) return [];
    if (name.toLowerCase() === "for") node = value.startsWith('"') ? value.slice(1, -1) : value;
    if (ending !== ";") {
      hops.push(node);
      node = "";
    }
    end = ending;
  }
  return hops;
}

/** The IP address in `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:5`; undefined if there is none. */
function hostIn(text: string): string | undefined {
  const isBare = lazy.net.isIP(text) !== 0;
  const host = (isBare ? text : withoutBrackets(text.replace(/:\d{1,5}$/, ""))).replace(MAPPED_IPV4, "");
  return lazy.net.isIP(host) === 0 ? undefined : host;
}
