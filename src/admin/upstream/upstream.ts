import { readFileSync } from "node:fs";
import { escapeQuery } from "../../base/go/query.ts";
import { goQuote } from "../../base/go/quote.ts";
import { StartError } from "../../base/start-error.ts";
import { exchange, type HttpPeer, type HttpRequest, type HttpResponse } from "../../http/client/exchange.ts";
import { type Address, formatAddress, parseRemoteAddress } from "../../net/address.ts";
import type { AdminOptions } from "../options.ts";
import { Slots } from "./slots.ts";

/** Requests that are under way at the same time; further ones wait. */
const MOST_REQUESTS = 16;
const MOST_WAITING = 10_000;
/** Longest answer. The statistics of a broker with 50,000 clients have about 30 MB. */
const MOST_ANSWER_BYTES = 64 * 1024 * 1024;
/** How much of an unexpected answer is shown. */
const SHOWN_BYTES = 1024;

/** What the requests are made with. */
export type UpstreamOptions = Pick<
  AdminOptions,
  | "httpClientConnectTimeoutMs"
  | "httpClientRequestTimeoutMs"
  | "httpClientTlsInsecureSkipVerify"
  | "httpClientTlsRootCaFile"
  | "httpClientTlsCert"
  | "httpClientTlsKey"
>;

/** A broker or lookup server did not do what it was asked to. The message says which server, which call, and why, as nsqadmin does. */
export class UpstreamError extends Error {
  override name = "UpstreamError";

  constructor(
    /** `host:port` of its HTTP listener. */
    readonly server: string,
    request: { method: "GET" | "POST"; path: string },
    readonly why: string,
    /** The status of its answer, if it has answered. */
    readonly status?: number,
    /** The code that a server of NSQ's gives in its answer: `TOPIC_NOT_FOUND`. */
    readonly code?: string,
  ) {
    super(`${request.method === "GET" ? "Get" : "Post"} "http://${server}${request.path}": ${why}`);
  }
}

/** Requests to brokers and lookup servers, whether ours or Go's. All calls reject with UpstreamError. */
export class Upstream {
  private readonly slots = new Slots(MOST_REQUESTS, MOST_WAITING);
  /** Called with each server that was made to do something. */
  onChange: (server: string) => void = () => {};
  /** The certificates of the flags. */
  readonly tls: Bun.TLSOptions;

  /** @param prefix in front of the names of the flags in errors. @throws StartError if a file for TLS cannot be read */
  constructor(
    private readonly options: UpstreamOptions,
    prefix = "",
  ) {
    this.tls = clientTls(options, prefix);
  }

  /** Asks for JSON. @param server `host:port` @param path with the query */
  async getJson(server: string, path: string, signal?: AbortSignal): Promise<unknown> {
    const request = { method: "GET", path } as const;
    const { body } = await this.send(server, request, signal);
    try {
      return JSON.parse(body.toString());
    } catch (error) {
      throw new UpstreamError(server, request, `the answer is not JSON: ${(error as Error).message}`);
    }
  }

  /** Makes it do something. @param body if the call has one: a text is JSON */
  async post(server: string, path: string, body?: string | Uint8Array, signal?: AbortSignal): Promise<Buffer> {
    const type = typeof body === "string" ? "application/json" : "application/octet-stream";
    const given = body === undefined ? { body: "" } : { body, headers: { "Content-Type": type } };
    const { body: answer } = await this.send(server, { method: "POST", path, ...given }, signal);
    this.onChange(server);
    return answer;
  }

  /** Resolves if it answers that it is well. */
  async ping(server: string): Promise<void> {
    await this.send(server, { method: "GET", path: "/ping" }, undefined);
  }

  private async send(server: string, request: HttpRequest, signal: AbortSignal | undefined): Promise<HttpResponse> {
    const failed = (why: string, status?: number, code?: string) => new UpstreamError(server, request, why, status, code);
    let address: Address;
    try {
      address = parseRemoteAddress(server);
    } catch (error) {
      throw failed((error as Error).message);
    }
    if (!(await this.slots.take())) throw failed("too many requests wait to be sent");
    try {
      let response = await this.exchange(address, request, signal);
      const securePort = response.status === 403 ? securePortIn(response.body) : undefined;
      if (securePort !== undefined) response = await this.exchange({ ...address, port: securePort, tls: this.tls }, request, signal);
      if (response.status === 200) return response;
      const shown = response.body.subarray(0, SHOWN_BYTES);
      throw failed(`got response ${response.statusText} ${quoted(shown)}`, response.status, codeIn(response.body));
    } catch (error) {
      throw error instanceof UpstreamError ? error : failed(reasonOf(error, address));
    } finally {
      this.slots.free();
    }
  }

  private exchange(peer: HttpPeer, request: HttpRequest, signal: AbortSignal | undefined): Promise<HttpResponse> {
    const { httpClientConnectTimeoutMs: connectTimeoutMs, httpClientRequestTimeoutMs: requestTimeoutMs } = this.options;
    return exchange(peer, request, { connectTimeoutMs, requestTimeoutMs, responseBytes: MOST_ANSWER_BYTES }, signal);
  }
}

/** A query of one or more arguments, with its question mark, as Go's client sends it. */
export function queryOf(values: Record<string, string>): string {
  const pairs = Object.entries(values).map(([name, value]) => `${name}=${escapeQuery(Buffer.from(value))}`);
  return `?${pairs.join("&")}`;
}

function quoted(bytes: Buffer): string {
  return Buffer.from(goQuote(bytes.toString("latin1")), "latin1").toString();
}

/** The port of the HTTPS listener that a broker with -tls-required names when it refuses a plain request. */
function securePortIn(body: Buffer): number | undefined {
  try {
    const { https_port: port } = JSON.parse(body.toString()) as { https_port?: unknown };
    return typeof port === "number" && Number.isInteger(port) && port > 0 && port < 65_536 ? port : undefined;
  } catch {
    // Another kind of refusal.
    return undefined;
  }
}

/** The code in a server's refusal, if there is one. */
function codeIn(body: Buffer): string | undefined {
  try {
    const { message } = JSON.parse(body.subarray(0, SHOWN_BYTES).toString()) as { message?: unknown };
    return typeof message === "string" ? message : undefined;
  } catch {
    // Something else has answered.
    return undefined;
  }
}

/** Why a request failed, in Go's words where that is easy. */
function reasonOf(error: unknown, { hostname, port }: Address): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ECONNREFUSED") return `dial tcp ${formatAddress(hostname, port)}: connect: connection refused`;
  if (code === "ENOTFOUND") return `dial tcp: lookup ${hostname}: no such host`;
  return message;
}

function clientTls(options: UpstreamOptions, prefix: string): Bun.TLSOptions {
  const { httpClientTlsCert: cert, httpClientTlsKey: key, httpClientTlsRootCaFile: ca } = options;
  const flag = (name: string) => `--${prefix}http-client-tls-${name}`;
  if (cert !== "" && key === "") throw new StartError(`${flag("key")} must be specified with ${flag("cert")}`);
  if (key !== "" && cert === "") throw new StartError(`${flag("cert")} must be specified with ${flag("key")}`);
  const read = (name: string, path: string) => {
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      throw new StartError(`failed to read ${flag(name)} ${path} - ${(error as Error).message}`);
    }
  };
  const authorities = ca === "" ? undefined : read("root-ca-file", ca);
  if (authorities !== undefined && !authorities.includes("-----BEGIN CERTIFICATE-----")) {
    throw new StartError(`${flag("root-ca-file")} ${ca} has no certificate in PEM format`);
  }
  return {
    ...(authorities === undefined ? {} : { ca: authorities }),
    ...(cert === "" ? {} : { cert: read("cert", cert), key: read("key", key) }),
    ...(options.httpClientTlsInsecureSkipVerify ? { rejectUnauthorized: false } : {}),
  };
}
