import { StartError } from "../../base/start-error.ts";
import { isSocketPath } from "../../base/unix-socket.ts";
import type { Incoming } from "../../http/call.ts";
import { encodedJson, failure } from "../../http/reply.ts";
import { type HttpLimits, type HttpServer, serveHttp } from "../../http/server.ts";
import type { Broker } from "../broker.ts";
import { PublishError } from "../held.ts";
import { type ServerTls, tlsRequirement } from "../transport/tls-options.ts";
import { HttpCall } from "./call.ts";
import { router } from "./routes.ts";

/**
 * Starts to serve the HTTP API on the broker's -http-address.
 *
 * @throws StartError when the address cannot be had
 */
export function startHttp(broker: Broker, limits: Partial<HttpLimits> = {}): HttpServer {
  const { options } = broker;
  const gate = tlsRequirement(options) === "true" ? { gate: () => tlsRequired(broker) } : {};
  const server = serveHttp({ ...api(broker), address: options.httpAddress, addressFlag: "http-address", ...gate }, limits);
  broker.httpPort = server.port;
  return server;
}

/**
 * Starts to serve the same on its -https-address, to a broker that has a certificate.
 *
 * @throws StartError when the address cannot be had
 */
export function startHttps(broker: Broker, tls: ServerTls, limits: Partial<HttpLimits> = {}): HttpServer {
  const { httpsAddress } = broker.options;
  if (isSocketPath(httpsAddress)) throw new StartError(`invalid -https-address "${httpsAddress}": give it as host:port`);
  // Bun.serve() cannot look whether a client has shown a certificate, any certificate: who has to show one has to show a
  // good one here.
  const strict = { ...tls, rejectUnauthorized: tls.requestCert === true };
  const server = serveHttp({ ...api(broker), address: httpsAddress, addressFlag: "https-address", tls: strict }, limits);
  broker.httpsPort = server.port;
  return server;
}

function api(broker: Broker) {
  return {
    log: broker.log,
    router,
    call: (incoming: Incoming) => new HttpCall(broker, incoming),
    failed: publishFailed,
  };
}

/** What plain HTTP answers under -tls-required=true: where to ask instead. */
function tlsRequired(broker: Broker): Response {
  return encodedJson(`{"message": "TLS_REQUIRED", "https_port": ${broker.httpsPort}}`, 403);
}

/** nsqd says EXITING to whatever a topic does not take, a full disk too. */
function publishFailed(error: unknown): Response | undefined {
  if (!(error instanceof PublishError)) return undefined;
  return failure(503, error.message === "exiting" ? "EXITING" : "PUB_FAILED");
}
