import { failure } from "../../http/reply.ts";
import { type HttpLimits, type HttpServer, serveHttp } from "../../http/server.ts";
import type { Broker } from "../broker.ts";
import { PublishError } from "../held.ts";
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
    },
    limits,
  );
}

/** nsqd says EXITING to whatever a topic does not take, a full disk too. */
function publishFailed(error: unknown): Response | undefined {
  if (!(error instanceof PublishError)) return undefined;
  return failure(503, error.message === "exiting" ? "EXITING" : "PUB_FAILED");
}
