import { encodedJson, failure } from "../../http/reply.ts";
import { type HttpLimits, type HttpServer, serveHttp } from "../../http/server.ts";
import type { Broker } from "../broker.ts";
import { PublishError } from "../held.ts";
import { tlsRequirement } from "../transport/tls-options.ts";
import { HttpCall } from "./call.ts";
import { router } from "./routes.ts";

/**
 * Starts to serve the HTTP API on the broker's -http-address.
 *
 * @throws StartError when the address cannot be had
 */
export function startHttp(broker: Broker, limits: Partial<HttpLimits> = {}): HttpServer {
  const { options, log } = broker;
  return serveHttp(
    {
      address: options.httpAddress,
      addressFlag: "http-address",
      log,
      router,
      call: (incoming) => new HttpCall(broker, incoming),
      failed: publishFailed,
      ...(tlsRequirement(options) === "true" ? { gate: () => tlsRequired(broker) } : {}),
    },
    limits,
  );
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
