import { formatDuration } from "../../base/go/duration.ts";
import type { Logger } from "../../base/logger.ts";
import { formatAddress, listenError, parseListenAddress, showListenAddress } from "../../net/address.ts";
import { BodyReader } from "./body.ts";
import type { Call, Incoming } from "./call.ts";
import { unescapeUrl } from "./query.ts";
import { allowed, badRequest, failure, Refusal, redirect, refused } from "./reply.ts";
import type { Endpoint, Router } from "./router.ts";

/** A listener for HTTP. */
export interface HttpServer {
  /** 0 for a unix socket. */
  readonly port: number;
  /** Answers what is under way, hangs up on who is idle, and resolves when all connections are closed. */
  stop(): Promise<void>;
}

/**
 * What the HTTP side may take. Beside these, Bun bounds the headers of a request to 16 KiB and the time for them to
 * about ten seconds, and reads no further into a body than what is asked for. The number of idle connections has no
 * bound but that of the process's open files: Bun.serve() has none.
 */
export interface HttpLimits {
  /** Requests being answered at the same time; more get a 503. */
  requests: number;
  /** Bytes of large bodies being received at the same time; more have to wait. */
  bodyBytes: number;
  /**
   * How long an idle connection is kept, and how long a request may take to arrive and to be answered, in seconds,
   * 255 at the most. Longer than HTTP clients keep idle connections themselves (Go: 90 s), so that they do not send
   * a publish into a connection that is just being closed.
   */
  idleTimeoutS: number;
  /** How long stop() lets requests finish, ms. */
  stopTimeoutMs: number;
}

const LIMITS: HttpLimits = {
  requests: 4096,
  bodyBytes: 128 * 1024 * 1024,
  idleTimeoutS: 120,
  stopTimeoutMs: 5000,
};

/** What the requests under way take, of a server and of what stands in front of it together. */
export class HttpLoad {
  /** Requests being answered. */
  underWay = 0;
  readonly bodies: BodyReader;

  constructor(limits: HttpLimits) {
    this.bodies = new BodyReader(limits.bodyBytes);
  }
}

/** Takes a server's connections in its place, answers some requests itself, and hands the rest over. */
export interface HttpFront {
  /** Where clients connect to, for the log. */
  readonly where: string;
  readonly port: number;
  readonly load: HttpLoad;
  /** The server listens on this port of 127.0.0.1. */
  serverAt(port: number): void;
  /** Answers what is under way, hangs up on who is idle, and resolves when all connections are closed. */
  stop(): Promise<void>;
  /** The address of the client whose requests come from a port of this machine; undefined: of none. */
  clientAt(port: number): string | undefined;
}

/** What is served. */
export interface HttpApi<OwnCall extends Call> {
  /** Where to listen, as given with the flag of the name below. */
  address: string;
  addressFlag: string;
  /** Given: HTTPS is spoken. */
  tls?: Bun.TLSOptions;
  log: Logger;
  router: Router<OwnCall>;
  /** Makes a request a call that the router's handlers take. */
  call(incoming: Incoming): OwnCall;
  /** Answers in the place of the router, whatever is asked for. */
  gate?: () => Response;
  /** Stands between the server and its clients; then `address` is for it alone. */
  front?: HttpFront;
  /** What answers an error that is no defect, beside refusals; undefined for any other. */
  failed?(error: unknown): Response | undefined;
}

/**
 * Starts to serve an HTTP API.
 *
 * @throws StartError when the address cannot be had
 */
export function serveHttp<OwnCall extends Call>(api: HttpApi<OwnCall>, limits: Partial<HttpLimits> = {}): HttpServer {
  return new ApiServer(api, httpLimits(limits));
}

/** The limits where nothing else is said. */
export function httpLimits(limits: Partial<HttpLimits>): HttpLimits {
  return { ...LIMITS, ...limits };
}

class ApiServer<OwnCall extends Call> implements HttpServer {
  readonly port: number;
  private readonly server: Bun.Server<undefined>;
  private readonly where: string;
  private readonly scheme: "HTTP" | "HTTPS";
  private readonly onSocketPath: boolean;
  private readonly load: HttpLoad;

  constructor(
    private readonly api: HttpApi<OwnCall>,
    private readonly limits: HttpLimits,
  ) {
    const { front } = api;
    this.load = front?.load ?? new HttpLoad(limits);
    const address = parseListenAddress(api.address);
    this.onSocketPath = "unix" in address;
    this.scheme = api.tls === undefined ? "HTTP" : "HTTPS";
    try {
      this.server = Bun.serve({
        // Either of the two; Bun's types ask for one of them.
        ...(address as { hostname: string; port: number }),
        ...(api.tls === undefined ? {} : { tls: api.tls }),
        // Not development: without it Bun shows its own page for errors. But then it also shares its port with
        // other processes that do the same, unless told not to.
        development: false,
        reusePort: false,
        idleTimeout: limits.idleTimeoutS,
        // Bun's own 413 has no body: lengths are checked call by call (body.ts).
        maxRequestBodySize: Number.MAX_SAFE_INTEGER,
        fetch: (request) => this.serve(request),
        error: (error) => this.fault(error),
      });
    } catch (error) {
      throw listenError(api.addressFlag, address, error);
    }
    const ownPort = this.server.port ?? 0;
    this.port = front?.port ?? ownPort;
    this.where = front?.where ?? showListenAddress(address, ownPort);
    front?.serverAt(ownPort);
    api.log.info(`${this.scheme}: listening on ${this.where}`);
  }

  async stop(): Promise<void> {
    this.api.log.info(`${this.scheme}: closing ${this.where}`);
    const timer = setTimeout(() => this.server.stop(true), this.limits.stopTimeoutMs);
    await Promise.all([this.server.stop(), this.api.front?.stop()]);
    clearTimeout(timer);
  }

  private serve(request: Request): Response | Promise<Response> {
    if (this.load.underWay >= this.limits.requests) return failure(503, "TOO_MANY_REQUESTS");
    if (this.api.front !== undefined && this.clientOf(request) === undefined) return refused(new Refusal(403, "FORBIDDEN", true));
    if (this.api.gate !== undefined) return this.api.gate();
    // By hand, since a URL object costs more than all else that is done for a request here.
    const { url, method } = request;
    const pathStart = url.charAt(0) === "/" ? 0 : url.indexOf("/", "https://".length);
    const queryStart = url.indexOf("?");
    const escapedPath = pathStart < 0 ? "" : url.slice(pathStart, queryStart < 0 ? url.length : queryStart);
    const rawQuery = queryStart < 0 ? "" : url.slice(queryStart + 1);
    const path = unescapeUrl(escapedPath);
    if (path === undefined) return badRequest();

    const { router, log } = this.api;
    const endpoint = router.findEndpoint(method, path);
    if (endpoint !== undefined) {
      const incoming = { request, rawQuery, option: router.optionOf(path), bodies: this.load.bodies, logger: log };
      return this.run(endpoint, this.api.call(incoming));
    }
    const corrected = router.correctedPath(method, path);
    if (corrected !== undefined) return redirect(method, encodePath(corrected) + (queryStart < 0 ? "" : encodeOdd(url.slice(queryStart))));
    const methods = router.allowedMethods(path);
    if (methods !== undefined && method === "OPTIONS") return allowed(methods);
    const response = methods === undefined ? failure(404, "NOT_FOUND") : failure(405, "METHOD_NOT_ALLOWED", { Allow: methods });
    this.logRequest(request, response, Bun.nanoseconds());
    return response;
  }

  /** An answer that is there at once is given at once: Bun hangs up on who sends a request while an earlier one waits. */
  private run(endpoint: Endpoint<OwnCall>, call: OwnCall): Response | Promise<Response> {
    const startNs = endpoint.logged ? Bun.nanoseconds() : 0;
    let answer: Response | Promise<Response>;
    try {
      answer = endpoint.handle(call);
    } catch (error) {
      answer = this.failed(error);
    }
    if (!(answer instanceof Response)) return this.runLonger(endpoint, call, answer, startNs);
    if (endpoint.logged) this.logRequest(call.request, answer, startNs);
    return answer;
  }

  private async runLonger(endpoint: Endpoint<OwnCall>, call: OwnCall, answer: Promise<Response>, startNs: number): Promise<Response> {
    this.load.underWay++;
    let response: Response;
    try {
      response = await answer;
    } catch (error) {
      response = this.failed(error);
    }
    this.load.underWay--;
    call.finish();
    if (endpoint.logged) this.logRequest(call.request, response, startNs);
    return response;
  }

  private failed(error: unknown): Response {
    if (error instanceof Refusal) return refused(error);
    // The client is gone, stalled, or sent no proper chunks: it is no fault of ours, and hardly anybody hears this.
    if (error instanceof DOMException && error.name === "AbortError") return badRequest();
    return this.api.failed?.(error) ?? this.fault(error);
  }

  /** A defect of ours, or a disk that the store cannot write to. */
  private fault(error: unknown): Response {
    this.api.log.error(`error in HTTP handler - ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return failure(500, "INTERNAL_ERROR");
  }

  /** Where a request comes from; undefined when its client is gone, or has no address. */
  private clientOf(request: Request): string | undefined {
    const peer = this.server.requestIP(request);
    if (peer === null) return undefined;
    return this.api.front === undefined ? formatAddress(peer.address, peer.port) : this.api.front.clientAt(peer.port);
  }

  private logRequest(request: Request, response: Response, startNs: number): void {
    const { log } = this.api;
    if (log.level !== "info" && log.level !== "debug") return;
    const from = this.clientOf(request) ?? (this.onSocketPath ? "@" : "gone");
    const elapsed = formatDuration(BigInt(Bun.nanoseconds() - startNs));
    log.info(`${response.status} ${request.method} ${targetOf(request.url)} (${from}) ${elapsed}`);
  }
}

/** Path and query of a request as it asked for them, but for escapes that Bun adds. */
function targetOf(url: string): string {
  const start = url.charAt(0) === "/" ? 0 : url.indexOf("/", "https://".length);
  return start < 0 ? url : url.slice(start);
}

/** Escapes what no header may have. Bun leaves it in a URL whose host it cannot read. */
function encodeOdd(query: string): string {
  return query.toWellFormed().replace(/[^\x21-\x7e]+/g, encodeURIComponent);
}

/** Escapes a path as Go does (url.URL.EscapedPath). */
function encodePath(path: string): string {
  return encodeURIComponent(path)
    .replace(/%(?:2F|24|26|2B|2C|3A|3B|3D|40)/g, decodeURIComponent)
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
