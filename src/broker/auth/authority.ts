import { escapeQuery } from "../../base/go/query.ts";
import { StartError } from "../../base/start-error.ts";
import { exchange, type HttpPeer, type HttpRequest, type HttpResponse, type RequestLimits } from "../../http/client/exchange.ts";
import { formatAddress, withoutBrackets } from "../../net/address.ts";
import type { AuthRequestMethod, BrokerOptions } from "../options.ts";
import { buildClientTls } from "../tls-options.ts";
import { Permissions } from "./permissions.ts";

/** The limit for an answer; a megabyte would name fifty thousand topics. nsqd has no limit. */
const MAX_ANSWER_BYTES = 512 * 1024;
/** The limit for a client's secret. Escaped in a request line it is three times as long, and HTTP servers accept no longer lines. */
const MAX_SECRET_BYTES = 64 * 1024;
/** Go's client follows as many. */
const MAX_REDIRECTS = 10;
/** A failure is logged up to this length. It may quote an answer. */
const MAX_REASON_CHARACTERS = 1024;

/** A shorter secret is not blanked out in the log: it would match parts of other words. */
const SHORTEST_SECRET = 4;

const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];

/** What an auth server is told about a client. */
export interface ClientFacts {
  /** Empty for a unix socket. */
  remoteIp: string;
  tls: boolean;
  /** The name in the client's certificate; empty without one. */
  commonName: string;
  /** The bytes of the client's AUTH. */
  secret: Buffer;
}

/** One auth server. */
interface Server {
  /** The address as the flag gives it, but without user and password. */
  name: string;
  url: URL;
}

/** The auth servers of --auth-http-address (https://nsq.io/components/nsqd.html#auth). */
export class Authority {
  private readonly servers: Server[];
  private readonly method: AuthRequestMethod;
  private readonly limits: RequestLimits;
  private readonly tls: HttpPeer["tls"] & object;

  /**
   * @returns undefined if no auth server is named: clients need no AUTH then
   * @throws StartError for a malformed address, and if --tls-root-ca-file cannot be read
   */
  static from(options: BrokerOptions): Authority | undefined {
    return options.authHttpAddresses.length === 0 ? undefined : new Authority(options);
  }

  private constructor(options: BrokerOptions) {
    this.servers = options.authHttpAddresses.map((address) => ({
      name: address.replace(/\/\/[^/@]*@/, "//"),
      url: parseServerAddress(address),
    }));
    this.method = options.authHttpRequestMethod;
    this.limits = {
      connectTimeoutMs: options.httpClientConnectTimeoutMs,
      requestTimeoutMs: options.httpClientRequestTimeoutMs,
      responseBytes: MAX_ANSWER_BYTES,
    };
    this.tls = buildClientTls(options);
  }

  /**
   * Asks the servers what a client may do, one after the other from a random one on, until one of them answers.
   *
   * @param signal is aborted when nobody waits for the answer any more
   * @returns rejects if all servers failed, with the failure of each
   */
  async ask(facts: ClientFacts, signal: AbortSignal): Promise<Permissions> {
    // An unknown client must not make the broker send megabytes.
    if (facts.secret.length > MAX_SECRET_BYTES)
      throw new Error(`the secret has ${facts.secret.length} bytes, more than ${MAX_SECRET_BYTES}`);
    const first = Math.floor(Math.random() * this.servers.length);
    const failures: string[] = [];
    for (let i = 0; i < this.servers.length && !signal.aborted; i++) {
      const { name, url } = this.servers[(first + i) % this.servers.length]!;
      try {
        return await this.askOne(url, facts, signal);
      } catch (error) {
        // Without the query, and without its parts that the answer repeats: unlike nsqd's log, ours has no secrets.
        const reason = withoutSecret((error as Error).message, facts.secret).slice(0, MAX_REASON_CHARACTERS);
        failures.push(`failed to auth against ${name} - ${reason}`);
      }
    }
    throw new Error(failures.join("; "));
  }

  private async askOne(server: URL, facts: ClientFacts, signal: AbortSignal): Promise<Permissions> {
    let url = server;
    let request: HttpRequest = this.requestFor(url, facts);
    for (let redirects = 0; ; redirects++) {
      const answer = await exchange(this.peerOf(url), request, this.limits, signal);
      if (answer.status === 200) return Permissions.parse(answer.body.toString());
      const next = nextUrl(url, request.path, answer);
      if (next === undefined || redirects === MAX_REDIRECTS) {
        throw new Error(`got response ${answer.statusText} ${JSON.stringify(answer.body.toString())}`);
      }
      // As in Go's client, a POST becomes a GET, except where the status forbids it.
      const { headers = {}, body }: HttpRequest = request;
      const keeps = answer.status === 307 || answer.status === 308 || answer.status === 403;
      request = {
        method: keeps ? request.method : "GET",
        path: pathOf(next),
        headers: next.hostname === url.hostname ? headers : {},
        ...(keeps && body !== undefined ? { body } : {}),
      };
      url = next;
    }
  }

  private requestFor(url: URL, facts: ClientFacts): HttpRequest {
    const headers: Record<string, string> = {};
    if (url.username !== "") {
      const account = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
      headers.Authorization = `Basic ${Buffer.from(account).toString("base64")}`;
    }
    const fields: [name: string, value: Buffer][] = [
      ["common_name", Buffer.from(facts.commonName)],
      ["remote_ip", Buffer.from(facts.remoteIp)],
      ["secret", facts.secret],
      ["tls", Buffer.from(String(facts.tls))],
    ];
    if (this.method === "get") {
      const query = fields.map(([name, value]) => `${name}=${escapeQuery(value)}`).join("&");
      return { method: "GET", path: `${pathOf(url)}${url.search === "" ? "?" : "&"}${query}`, headers };
    }
    // Each value is a list, as later releases of nsqd send it.
    const body = JSON.stringify(Object.fromEntries(fields.map(([name, value]) => [name, [value.toString()]])));
    return { method: "POST", path: pathOf(url), headers: { ...headers, "Content-Type": "application/json" }, body };
  }

  private peerOf(url: URL): HttpPeer {
    const secure = url.protocol === "https:";
    const hostname = withoutBrackets(url.hostname);
    const port = Number(url.port) || (secure ? 443 : 80);
    return secure ? { hostname, port, tls: this.tls } : { hostname, port };
  }
}

/** Removes a secret from a text, in its plain form and in its escaped form. */
function withoutSecret(text: string, secret: Buffer): string {
  const forms = [secret.toString(), escapeQuery(secret)].filter((form) => form.length >= SHORTEST_SECRET);
  return forms.reduce((left, form) => left.replaceAll(form, "…"), text);
}

/** Parses `host:port`, or a URL, which may have a query already. @throws StartError */
function parseServerAddress(address: string): URL {
  const text = address.includes("://") ? address : `http://${address}/auth`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:") || url.hostname === "") {
    throw new StartError(`invalid -auth-http-address "${address}": give it as host:port, or as a URL with http or https`);
  }
  return url;
}

/** The address that an answer redirects to; undefined for an answer that does not redirect. */
function nextUrl(url: URL, path: string, { status, headers, body }: HttpResponse): URL | undefined {
  const location = headers.get("location");
  const here = `${url.protocol}//${url.host}${path}`;
  if (REDIRECTS.includes(status) && location !== undefined && URL.canParse(location, here)) {
    const next = new URL(location, here);
    return next.protocol === "http:" || next.protocol === "https:" ? next : undefined;
  }
  // NSQ's servers that require TLS answer so: the same path on another port.
  if (status !== 403 || url.protocol === "https:") return undefined;
  const port = /"https_port"\s*:\s*(\d{1,5})\b/.exec(body.toString())?.[1];
  return port === undefined ? undefined : new URL(`https://${formatAddress(withoutBrackets(url.hostname), Number(port))}${path}`);
}

function pathOf(url: URL): string {
  return `${url.pathname}${url.search}`;
}
