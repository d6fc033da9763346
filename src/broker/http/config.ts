import { logLevelNumber, parseAddresses, parseLogLevel } from "../../http/server/config-values.ts";
import { json, Refusal, text } from "../../http/server/reply.ts";
import { statsdPrefix } from "../metrics/statsd/prefix.ts";
import type { BrokerOptions, TlsRequirement } from "../options.ts";
import { tlsMinVersionNumber, tlsRequirement } from "../tls-options.ts";
import type { HttpCall } from "./call.ts";

/** In the order of nsqd's numbers (nsqd/nsqd.go). */
const TLS_REQUIREMENTS: readonly TlsRequirement[] = ["false", "tcp-https", "true"];
const NS_PER_MS = 1_000_000;

/** Reads an option in the type that Go's JSON has for it. Durations are numbers of nanoseconds. */
type OptionReader = (options: BrokerOptions, call: HttpCall) => string | number | boolean | string[] | number[];

/** By nsqd's names. */
const OPTIONS = new Map<string, OptionReader>([
  ["id", (options) => options.nodeId],
  ["log_level", (options) => logLevelNumber(options.logLevel)],
  ["log_prefix", (options) => options.logPrefix],
  ["tcp_address", (options) => options.tcpAddress],
  ["http_address", (options) => options.httpAddress],
  ["https_address", (options) => options.httpsAddress],
  ["broadcast_address", (options) => options.broadcastAddress],
  ["broadcast_tcp_port", (options, { broker }) => options.broadcastTcpPort || broker.tcpPort],
  ["broadcast_http_port", (options, { broker }) => options.broadcastHttpPort || broker.httpPort],
  ["nsqlookupd_tcp_addresses", (options) => options.lookupdTcpAddresses],
  ["auth_http_addresses", (options) => options.authHttpAddresses],
  ["auth_http_request_method", (options) => options.authHttpRequestMethod],
  ["http_client_connect_timeout", (options) => toNs(options.httpClientConnectTimeoutMs)],
  ["http_client_request_timeout", (options) => toNs(options.httpClientRequestTimeoutMs)],
  ["data_path", (options) => options.dataPath],
  ["durability", (options) => options.durability],
  ["min_free_bytes", (options) => options.minFreeBytes],
  ["mem_queue_size", (options) => options.memQueueSize],
  ["max_bytes_per_file", (options) => options.maxBytesPerFile],
  ["retention_time", (options) => toNs(options.retentionTimeMs)],
  ["retention_bytes", (options) => options.retentionBytes],
  ["idempotency_window", (options) => toNs(options.idempotencyWindowMs)],
  ["idempotency_keys", (options) => options.idempotencyKeys],
  ["sync_every", (options) => options.syncEvery],
  ["sync_timeout", (options) => toNs(options.syncTimeoutMs)],
  ["queue_scan_selection_count", (options) => options.queueScanSelectionCount],
  ["queue_scan_worker_pool_max", (options) => options.queueScanWorkerPoolMax],
  ["msg_timeout", (options) => toNs(options.msgTimeoutMs)],
  ["max_msg_timeout", (options) => toNs(options.maxMsgTimeoutMs)],
  ["max_msg_size", (options) => options.maxMsgSizeBytes],
  ["max_body_size", (options) => options.maxBodySizeBytes],
  ["max_req_timeout", (options) => toNs(options.maxReqTimeoutMs)],
  ["max_heartbeat_interval", (options) => toNs(options.maxHeartbeatIntervalMs)],
  ["max_rdy_count", (options) => options.maxRdyCount],
  ["max_output_buffer_size", (options) => options.maxOutputBufferSizeBytes],
  ["max_output_buffer_timeout", (options) => toNs(options.maxOutputBufferTimeoutMs)],
  ["min_output_buffer_timeout", (options) => toNs(options.minOutputBufferTimeoutMs)],
  ["output_buffer_timeout", (options) => toNs(options.outputBufferTimeoutMs)],
  ["max_channel_consumers", (options) => options.maxChannelConsumers],
  ["e2e_processing_latency_percentiles", (_, { broker }) => [...broker.percentiles]],
  ["e2e_processing_latency_window_time", (options) => toNs(options.e2eProcessingLatencyWindowTimeMs)],
  ["statsd_address", (options) => options.statsdAddress],
  ["statsd_prefix", (options, { broker }) => statsdPrefix(options, broker.httpPort)],
  ["statsd_interval", (options) => toNs(options.statsdIntervalMs)],
  ["statsd_mem_stats", (options) => options.statsdMemStats],
  ["statsd_udp_packet_size", (options) => options.statsdUdpPacketSizeBytes],
  ["statsd_exclude_ephemeral", (options) => options.statsdExcludeEphemeral],
  ["max_connections", (options) => options.maxConnections],
  ["enable_experiments", (options) => options.experiments],
  ["topology_region", (options) => options.topologyRegion],
  ["topology_zone", (options) => options.topologyZone],
  ["max_deflate_level", (options) => options.maxDeflateLevel],
  ["deflate", (options) => options.deflate],
  ["snappy", (options) => options.snappy],
  ["tls_cert", (options) => options.tlsCert],
  ["tls_key", (options) => options.tlsKey],
  ["tls_client_auth_policy", (options) => options.tlsClientAuthPolicy],
  ["tls_root_ca_file", (options) => options.tlsRootCaFile],
  ["tls_required", (options) => TLS_REQUIREMENTS.indexOf(tlsRequirement(options))],
  ["tls_min_version", tlsMinVersionNumber],
]);

/** GET /config/:opt: the value of an option. */
export function getConfig(call: HttpCall): Response {
  const value = OPTIONS.get(call.parameter)?.(call.broker.options, call);
  if (value === undefined) throw new Refusal(400, "INVALID_OPTION");
  return typeof value === "string" ? text(value) : json(value);
}

/** PUT /config/:opt: changes one of the options that can be changed at run time, and answers with its new value. */
export async function putConfig(call: HttpCall): Promise<Response> {
  const { broker } = call;
  const body = await call.body(broker.options.maxMsgSizeBytes, "INVALID_VALUE");
  // This status is nsqd's.
  if (body.length === 0) throw new Refusal(413, "INVALID_VALUE");
  const value = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
  if (call.parameter === "log_level") {
    broker.options.logLevel = parseLogLevel(value);
    broker.logger.level = broker.options.logLevel;
  } else if (call.parameter === "nsqlookupd_tcp_addresses") {
    broker.options.lookupdTcpAddresses = parseAddresses(value);
  } else {
    throw new Refusal(400, "INVALID_OPTION");
  }
  for (const changed of broker.optionsChanged) changed();
  return getConfig(call);
}

function toNs(ms: number): number {
  return Math.round(ms * NS_PER_MS);
}
