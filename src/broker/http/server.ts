import { StartError } from "../../base/start-error.ts";
import type { Incoming } from "../../http/server/call.ts";
import { type HttpLimits, httpLimits } from "../../http/server/load.ts";
import { encodedJson, failure } from "../../http/server/reply.ts";
import { type HttpServer, serveHttp } from "../../http/server/server.ts";
import { LOOPBACK } from "../../http/server/tcp-proxy.ts";
import { isSocketPath } from "../../net/unix-socket.ts";
import { PublishError } from "../acks/pending-publish.ts";
import { type ServerTls, tlsRequirement } from "../tls-options.ts";
import { OperatorError, type OperatorErrorCode } from "../topics/operator-error.ts";
import { type BrokerApi, HttpCall } from "./call.ts";
import { FastPath, type FastPathServices, type FrontListener } from "./fast-path/fast-path.ts";
import { apiRouter } from "./routes.ts";
import { unavailableCode } from "./unavailable.ts";

/** What the HTTP API needs of the broker, with its fast path. */
export interface HttpServices extends BrokerApi, FastPathServices {
  readonly turn: BrokerApi["turn"] & FastPathServices["turn"];
  readonly httpConnections: FastPathServices["httpConnections"];
  readonly acks: BrokerApi["acks"] & FastPathServices["acks"];
}

/** The status of the answer to a call that an operator's error ended. */
const OPERATOR_STATUS: Record<OperatorErrorCode, number> = {
  MESSAGE_CHANGED: 409,
  MESSAGE_FINISHED: 409,
  MESSAGE_NOT_FOUND: 404,
  MISSING_ARG_PARTITIONS: 400,
  NOT_SAVED: 503,
  NOT_STORED: 503,
  TOO_FEW_PARTITIONS: 400,
  TOO_MANY_HOLES: 503,
  TOO_MANY_REQUESTS: 503,
};

/**
 * Starts to serve the HTTP API on --http-address.
 *
 * @param address another address: with the port that --http-address got before, where that was for the system to choose
 * @throws StartError if it cannot listen on the address
 */
export function startHttp(broker: HttpServices, limits: Partial<HttpLimits> = {}, address = broker.options.httpAddress): HttpServer {
  const { httpAddress, httpFastPath, httpAllowedHosts } = broker.options;
  const isGated = tlsRequirement(broker.options) === "true";
  // A client on the same machine that publishes much can use the TCP protocol on a unix socket: there is no fast path on one.
  // Browsers do not reach unix sockets, and what clients of one send in Host is not a name.
  const allowedHosts = isSocketPath(httpAddress) ? [] : httpAllowedHosts;
  // The fast path does not look at names.
  const isFast = httpFastPath && allowedHosts.length === 0 && !isGated && !isSocketPath(httpAddress);
  const listener = { address, addressFlag: "http-address", isFast, isPlain: true };
  const server = serveBehind(broker, listener, { allowedHosts, ...(isGated ? { gate: () => tlsRequired(broker) } : {}) }, limits);
  broker.httpPort = server.port;
  return server;
}

/** Starts Bun.serve() behind a listener of ours, on a port of the loopback where it serves that listener's clients alone. */
function serveBehind(
  broker: HttpServices,
  listener: FrontListener,
  kind: { gate?: () => Response; tls?: Bun.TLSOptions; allowedHosts: readonly string[] },
  limits: Partial<HttpLimits>,
): HttpServer {
  const front = new FastPath(broker, httpLimits(limits), listener);
  try {
    return serveHttp({ ...api(broker), ...kind, address: `${LOOPBACK}:0`, addressFlag: listener.addressFlag, front }, limits);
  } catch (error) {
    front.abort();
    throw error;
  }
}

/**
 * Starts to serve the HTTP API on --https-address, if the broker has a certificate.
 *
 * @throws StartError if it cannot listen on the address
 */
export function startHttps(broker: HttpServices, tls: ServerTls, limits: Partial<HttpLimits> = {}): HttpServer {
  const { httpsAddress, httpAllowedHosts } = broker.options;
  if (isSocketPath(httpsAddress)) throw new StartError(`invalid -https-address "${httpsAddress}": give it as host:port`);
  // Bun.serve() cannot check that a client has any certificate, whoever signed it. So where a certificate is required, one that
  // can be verified is required here.
  const strict = { ...tls, rejectUnauthorized: tls.requestCert === true };
  const listener = { address: httpsAddress, addressFlag: "https-address", isFast: false, isPlain: false };
  const server = serveBehind(broker, listener, { tls: strict, allowedHosts: httpAllowedHosts }, limits);
  broker.httpsPort = server.port;
  return server;
}

function api(broker: BrokerApi) {
  return {
    logger: broker.logger,
    router: apiRouter(broker.options.httpDebug),
    call: (incoming: Incoming) => new HttpCall(broker, incoming),
    failed: (error: unknown) => refusedCall(broker, error),
  };
}

/** The answer of plain HTTP under --tls-required=true: the port of HTTPS. */
function tlsRequired(broker: BrokerApi): Response {
  return encodedJson(`{"message": "TLS_REQUIRED", "https_port": ${broker.httpsPort}}`, 403);
}

/** The answer to a call that failed, but for refusals and defects. */
function refusedCall(broker: BrokerApi, error: unknown): Response | undefined {
  if (error instanceof OperatorError) return failure(OPERATOR_STATUS[error.code], error.code);
  if (error instanceof PublishError) broker.publishing.errorCount++;
  const code = unavailableCode(error);
  return code === undefined ? undefined : failure(503, code);
}
