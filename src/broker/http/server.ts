import { StartError } from "../../base/start-error.ts";
import type { Incoming } from "../../http/server/call.ts";
import { encodedJson, failure } from "../../http/server/reply.ts";
import { type HttpLimits, type HttpServer, httpLimits, serveHttp } from "../../http/server/server.ts";
import { isSocketPath } from "../../net/unix-socket.ts";
import { PublishError } from "../acks/pending-publish.ts";
import { type ServerTls, tlsRequirement } from "../tls-options.ts";
import { OperatorError, type OperatorErrorCode } from "../topics/operator-error.ts";
import type { Publishing } from "../topics/publishing.ts";
import { type BrokerApi, HttpCall } from "./call.ts";
import { FastPath, type FastPathServices } from "./fast-path/fast-path.ts";
import { router } from "./routes.ts";

/** What the HTTP side needs of its broker. */
export interface HttpServices extends BrokerApi, FastPathServices {
  readonly publishing: Publishing;
  readonly turn: BrokerApi["turn"] & FastPathServices["turn"];
}

const OPERATOR_STATUS: Record<OperatorErrorCode, number> = {
  MESSAGE_CHANGED: 409,
  MESSAGE_FINISHED: 409,
  MESSAGE_NOT_FOUND: 404,
  NOT_SAVED: 503,
  TOO_MANY_HOLES: 503,
  TOO_MANY_REQUESTS: 503,
};

/**
 * Starts to serve the HTTP API on the broker's -http-address.
 *
 * @throws StartError when the address cannot be had
 */
export function startHttp(broker: HttpServices, limits: Partial<HttpLimits> = {}): HttpServer {
  const { httpAddress } = broker.options;
  const isGated = tlsRequirement(broker.options) === "true";
  const named = { ...api(broker), address: httpAddress, addressFlag: "http-address" };
  let server: HttpServer;
  if (isGated) server = serveHttp({ ...named, gate: () => tlsRequired(broker) }, limits);
  // A unix socket is not worth a second way: who publishes much from the same machine speaks TCP to it.
  else if (isSocketPath(httpAddress)) server = serveHttp(named, limits);
  else server = serveBehindFastPath(broker, limits);
  broker.httpPort = server.port;
  return server;
}

/** Bun.serve() behind the express lane, on a port of the loopback that the lane alone is served on. */
function serveBehindFastPath(broker: HttpServices, limits: Partial<HttpLimits>): HttpServer {
  const front = new FastPath(broker, httpLimits(limits));
  try {
    return serveHttp({ ...api(broker), address: "127.0.0.1:0", addressFlag: "http-address", front }, limits);
  } catch (error) {
    front.abort();
    throw error;
  }
}

/**
 * Starts to serve the same on its -https-address, to a broker that has a certificate.
 *
 * @throws StartError when the address cannot be had
 */
export function startHttps(broker: BrokerApi, tls: ServerTls, limits: Partial<HttpLimits> = {}): HttpServer {
  const { httpsAddress } = broker.options;
  if (isSocketPath(httpsAddress)) throw new StartError(`invalid -https-address "${httpsAddress}": give it as host:port`);
  // Bun.serve() cannot look whether a client has shown a certificate, any certificate: who has to show one has to show a
  // good one here.
  const strict = { ...tls, rejectUnauthorized: tls.requestCert === true };
  const server = serveHttp({ ...api(broker), address: httpsAddress, addressFlag: "https-address", tls: strict }, limits);
  broker.httpsPort = server.port;
  return server;
}

function api(broker: BrokerApi) {
  return {
    log: broker.logger,
    router,
    call: (incoming: Incoming) => new HttpCall(broker, incoming),
    failed: refusedCall,
  };
}

/** What plain HTTP answers under -tls-required=true: where to ask instead. */
function tlsRequired(broker: BrokerApi): Response {
  return encodedJson(`{"message": "TLS_REQUIRED", "https_port": ${broker.httpsPort}}`, 403);
}

/** nsqd says EXITING to whatever a topic does not take, a full disk too. */
function refusedCall(error: unknown): Response | undefined {
  if (error instanceof OperatorError) return failure(OPERATOR_STATUS[error.code], error.code);
  if (!(error instanceof PublishError)) return undefined;
  return failure(503, error.message === "exiting" ? "EXITING" : "PUB_FAILED");
}
