import { hostname } from "node:os";
import { json } from "../../http/server/reply.ts";
import { isSocketPath } from "../../net/unix-socket.ts";
import { NSQ_VERSION } from "../../version.ts";
import type { HttpCall } from "./call.ts";

const NS_PER_MS = 1_000_000;
/** Of a unix socket. */
const NO_PORT = -1;

/** GET /info: who and where this broker is, and what IDENTIFY may ask of it. */
export function info({ broker }: HttpCall): Response {
  const { options } = broker;
  return json({
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
  });
}
