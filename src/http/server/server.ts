import { formatDuration } from "../../base/go/duration.ts";
import type { Logger } from "../../base/logger.ts";
import { StallWatch } from "../../base/stall.ts";
import { formatAddress, listenError, parseListenAddress, showListenAddress } from "../../net/address.ts";
import type { Call, Clients, Incoming } from "./call.ts";
import { type HttpLimits, HttpLoad, httpLimits } from "./load.ts";
import { hostSet, isForeignWrite, namesAllowedHost } from "./origin.ts";
import { unescapeUrl } from "./query.ts";
import { allowed, badRequest, failure, Refusal, redirect, refused } from "./reply.ts";
import { HTTP, requestIdOf, returnRequestId } from "./request-id.ts";
import type { Endpoint, Router } from "./router.ts";

/** Bodies are looked at this often: one that comes too slowly is refused. */
const SURVEY_INTERVAL_MS = 500;

/** A listener for HTTP. */
export interface HttpServer {
  /** 0 for a unix socket. */
  readonly port: number;
  /** Answers the requests under way, closes idle connections, and resolves when all connections are closed. */
  stop(): Promise<void>;
}

/** Accepts a server's connections in its place, answers some requests itself, and passes the others to the server. */
export interface HttpFront {
  /** The address that clients connect to, for the log. */
  readonly where: string;
  readonly port: number;
  readonly load: HttpLoad;
  /** Sets the port of 127.0.0.1 that the server listens on. */
  setServerPort(port: number): void;
  /** Answers the requests under way, closes idle connections, and resolves when all connections are closed. */
  stop(): Promise<void>;
  /** A request that came from a port of the loopback is complete, and is being carried out. */
  onRequestComplete(port: number): void;
  /** The address of the client whose requests come from an address and port of this machine; undefined if no client's do. */
  clientAddress(address: string, port: number): string | undefined;
}

/** An HTTP API to serve. */
export interface HttpApi<OwnCall extends Call> {
  /** The address to listen on, as it was given with the flag `addressFlag`. */
  address: string;
  addressFlag: string;
  /** If given, the server speaks HTTPS. */
  tls?: Bun.TLSOptions;
  logger: Logger;
  router: Router<OwnCall>;
  /** The names that requests may have in Host; none given: any. */
  allowedHosts: readonly string[];
  /** Makes the call that the router's handlers take from a request. */
  call(incoming: Incoming): OwnCall;
  /** If given, answers every request in place of the router. */
  gate?: () => Response;
  /** If given, it is between the server and its clients, and `address` is the address between the two. */
  front?: HttpFront;
  /** Answers an error of a handler that is neither a refusal nor a defect. @returns undefined for any other error */
  failed?(error: unknown): Response | undefined;
  /** If given, it is called with every answer before it is sent, also with those that no handler made. */
  addHeaders?(response: Response): void;
}

/**
 * Starts an HTTP server.
 *
 * @throws StartError if it cannot listen on the address
 */
export function serveHttp<OwnCall extends Call>(api: HttpApi<OwnCall>, limits: Partial<HttpLimits> = {}): HttpServer {
  return new ApiServer(api, httpLimits(limits));
}

class ApiServer<OwnCall extends Call> implements HttpServer, Clients {
  readonly port: number;
  private readonly server: Bun.Server<undefined>;
  private readonly where: string;
  private readonly scheme: "HTTP" | "HTTPS";
  private readonly onSocketPath: boolean;
  private readonly load: HttpLoad;
  private readonly survey: ReturnType<typeof setInterval>;
  private readonly allowedHosts: ReadonlySet<string>;
  private readonly stalls = new StallWatch(SURVEY_INTERVAL_MS, performance.now());

  constructor(
    private readonly api: HttpApi<OwnCall>,
    private readonly limits: HttpLimits,
  ) {
    const { front, addHeaders } = api;
    this.load = front?.load ?? new HttpLoad(limits);
    const address = parseListenAddress(api.address);
    this.onSocketPath = "unix" in address;
    this.allowedHosts = hostSet(api.allowedHosts);
    this.scheme = api.tls === undefined ? "HTTP" : "HTTPS";
    try {
      this.server = Bun.serve({
        // The address is either kind. Bun's types ask for one of them.
        ...(address as { hostname: string; port: number }),
        ...(api.tls === undefined ? {} : { tls: api.tls }),
        // In development mode Bun shows its own page for errors. Without it, Bun would share the port with other processes,
        // unless reusePort is false.
        development: false,
        reusePort: false,
        idleTimeout: limits.idleTimeoutS,
        // Bun's own 413 has no body, so each call checks lengths itself (body.ts).
        maxRequestBodySize: Number.MAX_SAFE_INTEGER,
        fetch: addHeaders === undefined ? (request) => this.serve(request) : (request) => withHeaders(this.serve(request), addHeaders),
        error: (error) => withHeaders(this.fault(error), addHeaders),
      });
    } catch (error) {
      throw listenError(api.addressFlag, address, error);
    }
    const ownPort = this.server.port ?? 0;
    this.port = front?.port ?? ownPort;
    this.where = front?.where ?? showListenAddress(address, ownPort);
    front?.setServerPort(ownPort);
    api.logger.info(`${this.scheme}: listening on ${this.where}`, HTTP);
    this.survey = setInterval(() => this.checkTime(), SURVEY_INTERVAL_MS);
    this.survey.unref();
  }

  async stop(): Promise<void> {
    this.api.logger.info(`${this.scheme}: closing ${this.where}`, HTTP);
    const timer = setTimeout(() => this.server.stop(true), this.limits.stopTimeoutMs);
    await Promise.all([this.server.stop(), this.api.front?.stop()]);
    clearTimeout(timer);
    clearInterval(this.survey);
  }

  private checkTime(): void {
    const nowMs = performance.now();
    this.load.bodies.checkTime(nowMs, this.stalls.check(nowMs));
  }

  private serve(request: Request): Response | Promise<Response> {
    if (this.api.front !== undefined && this.clientOf(request) === undefined) return refused(new Refusal(403, "FORBIDDEN", true));
    const foreign = this.refusalOfForeign(request);
    if (foreign !== undefined) return foreign;
    if (this.api.gate !== undefined) return this.api.gate();
    // Parsed by hand, because a URL object would cost more than everything else that is done here for a request.
    const { url, method } = request;
    const pathStart = url.charAt(0) === "/" ? 0 : url.indexOf("/", "https://".length);
    const queryStart = url.indexOf("?");
    const escapedPath = pathStart < 0 ? "" : url.slice(pathStart, queryStart < 0 ? url.length : queryStart);
    const rawQuery = queryStart < 0 ? "" : url.slice(queryStart + 1);
    const path = unescapeUrl(escapedPath);
    if (path === undefined) return badRequest();

    const { router } = this.api;
    const endpoint = router.findEndpoint(method, path);
    if (endpoint !== undefined) return this.begin(endpoint, request, rawQuery, router.parametersOf(path));
    const corrected = router.correctedPath(method, path);
    if (corrected !== undefined) return redirect(method, encodePath(corrected) + (queryStart < 0 ? "" : encodeOdd(url.slice(queryStart))));
    const methods = router.allowedMethods(path);
    if (methods !== undefined && method === "OPTIONS") return allowed(methods);
    const rest = methods === undefined ? router.findRest(method, path) : undefined;
    if (rest !== undefined) return this.begin(rest, request, rawQuery, [path]);
    const response = methods === undefined ? failure(404, "NOT_FOUND") : failure(405, "METHOD_NOT_ALLOWED", { Allow: methods });
    this.logRequest(request, response, Bun.nanoseconds());
    return response;
  }

  private begin(
    endpoint: Endpoint<OwnCall>,
    request: Request,
    rawQuery: string,
    parameters: readonly string[],
  ): Response | Promise<Response> {
    const complete = this.completion(request);
    if (request.method === "GET") complete?.();
    const incoming = { request, rawQuery, parameters, clients: this, load: this.load, complete, logger: this.api.logger };
    return this.run(endpoint, this.api.call(incoming));
  }

  /** What the front is to be told when a request is complete. */
  private completion(request: Request): (() => void) | undefined {
    const { front } = this.api;
    const port = front === undefined ? undefined : this.server.requestIP(request)?.port;
    return front === undefined || port === undefined ? undefined : () => front.onRequestComplete(port);
  }

  /** The answer to a request that a browser sends for a page of another origin, or under a name that is not this server's. */
  private refusalOfForeign(request: Request): Response | undefined {
    const scheme = this.api.tls === undefined ? "http" : "https";
    const isAllowed = namesAllowedHost(request, this.allowedHosts);
    if (isAllowed && !isForeignWrite(request, scheme)) return undefined;
    // The body is not read.
    const response = refused(new Refusal(403, isAllowed ? "CROSS_SITE_REQUEST" : "HOST_NOT_ALLOWED", true));
    this.logRequest(request, response, Bun.nanoseconds());
    return response;
  }

  /** Returns a Response, not a promise, if it can: Bun closes a connection that sends a request while an earlier one waits. */
  private run(endpoint: Endpoint<OwnCall>, call: OwnCall): Response | Promise<Response> {
    const startNs = endpoint.logged ? Bun.nanoseconds() : 0;
    let answer: Response | Promise<Response>;
    try {
      answer = endpoint.handle(call);
    } catch (error) {
      answer = this.failed(error, call.request);
    }
    if (!(answer instanceof Response)) return this.runLonger(endpoint, call, answer, startNs);
    call.finish();
    if (endpoint.logged) this.logRequest(call.request, answer, startNs);
    return answer;
  }

  private async runLonger(endpoint: Endpoint<OwnCall>, call: OwnCall, answer: Promise<Response>, startNs: number): Promise<Response> {
    let response: Response;
    try {
      response = await answer;
    } catch (error) {
      response = this.failed(error, call.request);
    }
    call.finish();
    if (endpoint.logged) this.logRequest(call.request, response, startNs);
    return response;
  }

  private failed(error: unknown, request: Request): Response {
    if (error instanceof Refusal) return refused(error);
    // The client disconnected, stalled, or sent malformed chunks. It will hardly receive this answer.
    if (error instanceof DOMException && error.name === "AbortError") return badRequest();
    return this.api.failed?.(error) ?? this.fault(error, request);
  }

  /** Answers an unexpected error: a defect, or a disk that the metadata store cannot write to. */
  private fault(error: unknown, request?: Request): Response {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.api.logger.error(`error in HTTP handler - ${text}`, request === undefined ? HTTP : { ...HTTP, requestId: requestIdOf(request) });
    return failure(500, "INTERNAL_ERROR");
  }

  clientOf(request: Request): string | undefined {
    const peer = this.server.requestIP(request);
    if (peer === null) return undefined;
    return this.api.front === undefined ? formatAddress(peer.address, peer.port) : this.api.front.clientAddress(peer.address, peer.port);
  }

  private logRequest(request: Request, response: Response, startNs: number): void {
    returnRequestId(request, response);
    const { logger } = this.api;
    if (logger.level !== "info" && logger.level !== "debug") return;
    const from = this.clientOf(request) ?? (this.onSocketPath ? "@" : "gone");
    const elapsed = formatDuration(BigInt(Bun.nanoseconds() - startNs));
    logger.info(`${response.status} ${request.method} ${targetOf(request.url)} (${from}) ${elapsed}`, {
      get logFields() {
        return { ...HTTP, client: from, requestId: requestIdOf(request) };
      },
    });
  }
}

/** Adds an API's own headers to an answer. It stays no promise if it is none: run() says why. */
function withHeaders(
  answer: Response | Promise<Response>,
  addHeaders: ((response: Response) => void) | undefined,
): Response | Promise<Response> {
  if (addHeaders === undefined) return answer;
  if (!(answer instanceof Response)) return answer.then((response) => withHeaders(response, addHeaders));
  addHeaders(answer);
  return answer;
}

/** The path and query of a request as they were sent, except that Bun adds some escapes. */
function targetOf(url: string): string {
  const start = url.charAt(0) === "/" ? 0 : url.indexOf("/", "https://".length);
  return start < 0 ? url : url.slice(start);
}

/** Escapes characters that are not allowed in a header. Bun leaves them in a URL whose host it cannot parse. */
function encodeOdd(query: string): string {
  return query.toWellFormed().replace(/[^\x21-\x7e]+/g, encodeURIComponent);
}

/** Escapes a path as Go's url.URL.EscapedPath does. */
function encodePath(path: string): string {
  return encodeURIComponent(path)
    .replace(/%(?:2F|24|26|2B|2C|3A|3B|3D|40)/g, decodeURIComponent)
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
