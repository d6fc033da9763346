import { hostname } from "node:os";
import { json, plain } from "../../http/server/reply.ts";
import { isSocketPath } from "../../net/unix-socket.ts";
import { BUNSQ_VERSION, NSQ_VERSION } from "../../version.ts";
import { DRAINING } from "../acks/pending-publish.ts";
import type { BrokerApi, HttpCall } from "./call.ts";

const NS_PER_MS = 1_000_000;
/** The port of a unix socket. */
const NO_PORT = -1;

/** GET /ping: `OK`, or 500 and what is wrong. */
export function ping({ broker }: HttpCall): Response {
  const health = broker.health.text;
  return plain(health === "OK" ? 200 : 500, health);
}

/**
 * GET /ready, and HEAD: `OK`, or 503 and why clients should go to another broker: it is drained or shuts down, its disk is nearly full,
 * topics of an earlier run cannot be opened yet, it has no part in its cluster yet or any more, or what makes /ping fail. A broker that leads
 * nothing is ready: it passes publishes on.
 */
export function ready({ broker }: HttpCall): Response {
  const { drain, publishing, registry, health, clusterReport } = broker;
  const waiting = registry.waiting.size;
  const recovering = waiting === 0 ? undefined : `recovering: ${waiting} topics of an earlier run cannot be opened yet`;
  const reason = (drain.isDraining ? DRAINING : publishing.refusal?.message) ?? recovering ?? clusterReport?.notReady;
  if (reason !== undefined) return plain(503, `NOK - ${reason}`);
  return plain(health.text === "OK" ? 200 : 503, health.text);
}

/** GET /info: the addresses of the broker, and the limits for what IDENTIFY may ask for. */
export function info({ broker }: HttpCall): Response {
  return json(brokerInfo(broker));
}

/** What /info says. */
export function brokerInfo(broker: Pick<BrokerApi, "options" | "httpPort" | "tcpPort" | "startTimeMs">) {
  const { options } = broker;
  return {
    version: NSQ_VERSION,
    broadcast_address: options.broadcastAddress,
    hostname: hostname(),
    http_port: isSocketPath(options.httpAddress) ? NO_PORT : broker.httpPort,
    tcp_port: isSocketPath(options.tcpAddress) ? NO_PORT : broker.tcpPort,
    start_time: Math.floor(broker.startTimeMs / 1000),
    max_heartbeat_interval: options.maxHeartbeatIntervalMs * NS_PER_MS,
    max_output_buffer_size: options.maxOutputBufferSizeBytes,
    max_output_buffer_timeout: options.maxOutputBufferTimeoutMs * NS_PER_MS,
    max_deflate_level: options.maxDeflateLevel,
    ...(options.topologyRegion === "" ? {} : { topology_region: options.topologyRegion }),
    ...(options.topologyZone === "" ? {} : { topology_zone: options.topologyZone }),
    bunsq_version: BUNSQ_VERSION,
  };
}
