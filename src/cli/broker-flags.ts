import { hostname } from "node:os";
import type { BrokerOptions } from "../broker/options.ts";
import { configFlag, logLevelFlag, verboseFlag, versionFlag } from "./common-flags.ts";
import type { Flag } from "./flag.ts";
import type { FlagTable } from "./flags.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const TIB = 1024 * GIB;

/** The longest delay a timer takes (31 bits of ms): bounds every duration that runs on one. Almost 25 days. */
const MAX_TIMER_MS = 596 * HOUR;
/** Bounds durations that are kept as a point in time. Ten years. */
const MAX_DEADLINE_MS = 87_600 * HOUR;
const MAX_PORT = 65_535;
/** Node ids have ten bits in a message id. */
const NODE_IDS = 1024;
const MAX_INT32 = 2 ** 31 - 1;
/** What one packet of UDP over IPv4 carries. */
const MAX_UDP_PAYLOAD_BYTES = 65_507;
/** Reading all statistics more often would only keep the broker busy. */
const SHORTEST_STATSD_INTERVAL_MS = 100;

const NO_SCAN = "timeouts are kept by due time, without a scan to tune";

/**
 * The flags of the broker: nsqd's, with its names and defaults, and bunsq's own.
 *
 * @param host what the defaults of -node-id and -broadcast-address are made from
 */
export function brokerFlags(host = hostname()): FlagTable<BrokerOptions> {
  return {
    options: {
      nodeId: {
        name: "node-id",
        kind: "int",
        configKey: "id",
        default: defaultNodeId(host),
        defaultDoc: "a hash of the host name",
        min: 0,
        max: NODE_IDS - 1,
        doc: "number in every message id; must differ between brokers whose messages meet",
      },
      logLevel: logLevelFlag,
      logPrefix: { name: "log-prefix", kind: "string", default: "[nsqd] ", doc: "text in front of every log line" },

      tcpAddress: {
        name: "tcp-address",
        kind: "string",
        default: "0.0.0.0:4150",
        doc: "<addr>:<port>, or path of a unix socket, to listen on for TCP clients",
      },
      httpAddress: {
        name: "http-address",
        kind: "string",
        default: "0.0.0.0:4151",
        doc: "<addr>:<port>, or path of a unix socket, to listen on for HTTP clients; empty for no HTTP",
      },
      httpsAddress: {
        name: "https-address",
        kind: "string",
        default: "0.0.0.0:4152",
        doc: "<addr>:<port> to listen on for HTTPS clients, if there is a certificate; empty for no HTTPS",
      },
      broadcastAddress: {
        name: "broadcast-address",
        kind: "string",
        default: host,
        defaultDoc: "the host name",
        doc: "address under which clients reach this broker, as /info tells it",
      },
      broadcastTcpPort: {
        name: "broadcast-tcp-port",
        kind: "int",
        default: 0,
        min: 0,
        max: MAX_PORT,
        doc: "TCP port under which clients reach this broker; 0 for the one it listens on",
      },
      broadcastHttpPort: {
        name: "broadcast-http-port",
        kind: "int",
        default: 0,
        min: 0,
        max: MAX_PORT,
        doc: "HTTP port under which clients reach this broker; 0 for the one it listens on",
      },
      lookupdTcpAddresses: {
        name: "lookupd-tcp-address",
        kind: "list",
        configKey: "nsqlookupd_tcp_addresses",
        default: [],
        doc: "<addr>:<port> of an nsqlookupd to register with (may be given several times)",
        better: "takes several between commas as well; one that was away is back within 5 s",
      },
      authHttpAddresses: {
        name: "auth-http-address",
        kind: "list",
        configKey: "auth_http_addresses",
        default: [],
        better: "a client's secret never comes into the log; an address that is none is refused at the start",
        doc: "<addr>:<port> or URL of a server that says what clients may do, who then need AUTH (may be given several times)",
      },
      authHttpRequestMethod: {
        name: "auth-http-request-method",
        kind: "choice",
        own: true,
        values: ["get", "post"],
        default: "get",
        doc: "how auth servers are asked: get puts the client's secret into the query, post into a body of JSON",
      },
      httpClientConnectTimeoutMs: {
        name: "http-client-connect-timeout",
        kind: "duration",
        default: 2 * SECOND,
        min: 1,
        max: MAX_TIMER_MS,
        doc: "time that a request to an nsqlookupd or an auth server has to connect",
      },
      httpClientRequestTimeoutMs: {
        name: "http-client-request-timeout",
        kind: "duration",
        default: 5 * SECOND,
        min: 1,
        max: MAX_TIMER_MS,
        doc: "time that it has in all; a new topic's messages wait so long at most for the channels it has elsewhere",
      },

      dataPath: {
        name: "data-path",
        kind: "string",
        default: "",
        doc: "folder for all that is kept on disk; empty for the working directory",
      },
      durability: {
        name: "durability",
        kind: "choice",
        own: true,
        values: ["write", "fsync"],
        default: "write",
        doc: "acknowledge a message once it is written to its file (outlives the process), or once that is synced to the disk with fsync (outlives the machine)",
      },
      minFreeBytes: {
        name: "min-free-bytes",
        kind: "int",
        own: true,
        default: 16 * MIB,
        min: 0,
        max: TIB,
        doc: "free bytes on the data path's disk below which publishes are refused, so that what consumers do can still be noted",
      },
      memQueueSize: {
        name: "mem-queue-size",
        kind: "int",
        default: 10_000,
        min: 0,
        max: MAX_INT32,
        doc: "messages that an ephemeral topic or channel keeps",
        better: "bounds ephemeral topics and channels only; all others are on disk whole, so that a crash loses nothing",
      },
      maxBytesPerFile: {
        name: "max-bytes-per-file",
        kind: "int",
        default: 100 * MIB,
        min: KIB,
        max: TIB,
        doc: "bytes after which a topic's log goes on in a new file",
      },
      retentionTimeMs: {
        name: "retention-time",
        kind: "duration",
        own: true,
        default: 0,
        min: 0,
        max: MAX_DEADLINE_MS,
        doc: "time that a topic keeps messages which all its channels have finished, so that channels can go back to them; 0 for no longer than needed",
      },
      retentionBytes: {
        name: "retention-bytes",
        kind: "int",
        own: true,
        default: 0,
        min: 0,
        max: 1024 * TIB,
        doc: "bytes of the newest messages that a topic keeps so; with --retention-time what is within both is kept; 0 for no such limit",
      },
      idempotencyWindowMs: {
        name: "idempotency-window",
        kind: "duration",
        own: true,
        default: 5 * MINUTE,
        min: 0,
        max: MAX_DEADLINE_MS,
        doc: "time in which a publish with the same idempotency key is answered, and not published again; 0 for keys to count for nothing",
      },
      idempotencyKeys: {
        name: "idempotency-keys",
        kind: "int",
        own: true,
        default: 500_000,
        min: 1,
        max: 100_000_000,
        doc: "idempotency keys that are remembered, at some 300 bytes of memory each; beyond it the oldest are forgotten early",
      },
      syncEvery: {
        name: "sync-every",
        kind: "int",
        default: 2_500,
        min: 1,
        max: MAX_INT32,
        doc: "messages after which a topic's log is synced to the disk",
        better: "what is acknowledged is in its file already; this is for the disk alone, and -durability=fsync waits for that",
      },
      syncTimeoutMs: {
        name: "sync-timeout",
        kind: "duration",
        default: 2 * SECOND,
        min: 1,
        max: MAX_TIMER_MS,
        doc: "longest time that written messages wait to be synced to the disk",
      },

      queueScanSelectionCount: {
        name: "queue-scan-selection-count",
        kind: "int",
        default: 20,
        min: 0,
        max: MAX_INT32,
        doc: "channels that nsqd looks through at a time for timeouts",
        idle: { status: "needless", why: NO_SCAN },
      },
      queueScanWorkerPoolMax: {
        name: "queue-scan-worker-pool-max",
        kind: "int",
        default: 4,
        min: 0,
        max: MAX_INT32,
        doc: "workers with which nsqd looks for timeouts",
        idle: { status: "needless", why: NO_SCAN },
      },

      msgTimeoutMs: {
        name: "msg-timeout",
        kind: "duration",
        default: MINUTE,
        min: 1,
        max: MAX_DEADLINE_MS,
        doc: "time a consumer has for a message before it goes to another, unless the consumer asked for its own",
      },
      maxMsgTimeoutMs: {
        name: "max-msg-timeout",
        kind: "duration",
        default: 15 * MINUTE,
        min: 1,
        max: MAX_DEADLINE_MS,
        doc: "longest time a consumer may ask for or extend to",
      },
      maxMsgSizeBytes: {
        name: "max-msg-size",
        kind: "int",
        default: MIB,
        min: 1,
        max: GIB,
        doc: "largest message, in bytes",
      },
      maxReqTimeoutMs: {
        name: "max-req-timeout",
        kind: "duration",
        default: HOUR,
        min: 0,
        max: MAX_DEADLINE_MS,
        doc: "longest delay of a requeued or deferred message",
      },
      maxBodySizeBytes: {
        name: "max-body-size",
        kind: "int",
        default: 5 * MIB,
        min: 1,
        max: GIB,
        doc: "largest body of a command, in bytes",
      },

      maxHeartbeatIntervalMs: {
        name: "max-heartbeat-interval",
        kind: "duration",
        default: MINUTE,
        min: SECOND,
        max: MAX_TIMER_MS,
        doc: "longest time between heartbeats that a client may ask for",
      },
      maxRdyCount: { name: "max-rdy-count", kind: "int", default: 2_500, min: 1, max: MAX_INT32, doc: "largest RDY count of a consumer" },
      maxOutputBufferSizeBytes: {
        name: "max-output-buffer-size",
        kind: "int",
        default: 64 * KIB,
        min: 64,
        max: GIB,
        doc: "largest output buffer that a client may ask for, in bytes",
      },
      maxOutputBufferTimeoutMs: {
        name: "max-output-buffer-timeout",
        kind: "duration",
        default: 30 * SECOND,
        min: 0,
        max: MAX_TIMER_MS,
        doc: "longest output buffer timeout that a client may ask for",
      },
      minOutputBufferTimeoutMs: {
        name: "min-output-buffer-timeout",
        kind: "duration",
        default: 25,
        min: 0,
        max: MAX_TIMER_MS,
        doc: "shortest output buffer timeout that a client may ask for",
      },
      outputBufferTimeoutMs: {
        name: "output-buffer-timeout",
        kind: "duration",
        default: 250,
        min: 0,
        max: MAX_TIMER_MS,
        doc: "output buffer timeout of a client that asks for none",
        better: "nothing waits: what belongs together is gathered within a turn of the event loop",
      },
      maxChannelConsumers: {
        name: "max-channel-consumers",
        kind: "int",
        default: 0,
        min: 0,
        max: MAX_INT32,
        doc: "most consumers on one channel; 0 for any number",
      },
      maxConnections: {
        name: "max-connections",
        kind: "int",
        own: true,
        default: 0,
        min: 0,
        max: MAX_INT32,
        doc: "most clients on TCP at a time, further ones are turned away; 0 for any number",
      },

      experiments: {
        name: "enable-experiment",
        kind: "list",
        own: true,
        configKey: "enable_experiments",
        default: [],
        doc: "topology-aware-consumption: messages go to consumers of the broker's own zone first, then of its region, then to others",
      },
      topologyRegion: {
        name: "topology-region",
        kind: "string",
        own: true,
        default: "",
        doc: "region that the broker stands in",
      },
      topologyZone: {
        name: "topology-zone",
        kind: "string",
        own: true,
        default: "",
        doc: "zone of that region that the broker stands in",
      },

      maxDeflateLevel: {
        name: "max-deflate-level",
        kind: "int",
        default: 6,
        min: 1,
        max: 9,
        doc: "highest deflate level that a client may ask for",
      },
      deflate: { name: "deflate", kind: "bool", default: true, doc: "let clients ask for deflate" },
      snappy: { name: "snappy", kind: "bool", default: true, doc: "let clients ask for snappy" },

      tlsCert: { name: "tls-cert", kind: "string", default: "", doc: "path of the certificate, with those between it and its authority" },
      tlsKey: { name: "tls-key", kind: "string", default: "", doc: "path of the certificate's key" },
      tlsClientAuthPolicy: {
        name: "tls-client-auth-policy",
        kind: "string",
        default: "",
        doc: "what is asked of a client's certificate: require takes any, require-verify one that -tls-root-ca-file vouches for",
        better: "another word is refused, and not taken for no policy",
      },
      tlsRootCaFile: {
        name: "tls-root-ca-file",
        kind: "string",
        default: "",
        doc: "path of the certificates that vouch for clients; empty for those that come with Bun",
      },
      tlsRequired: {
        name: "tls-required",
        kind: "choice",
        values: ["false", "true", "tcp-https"],
        aliases: { "0": "false", f: "false", "1": "true", t: "true" },
        bare: "true",
        default: "false",
        doc: "turn away clients without TLS: true, false, or tcp-https for all but HTTP",
      },
      tlsMinVersion: {
        name: "tls-min-version",
        kind: "choice",
        values: ["tls1.0", "tls1.1", "tls1.2", "tls1.3"],
        aliases: { "": "tls1.0" },
        default: "tls1.0",
        doc: "lowest version of TLS to accept",
      },

      e2eProcessingLatencyPercentiles: {
        name: "e2e-processing-latency-percentile",
        kind: "floats",
        configKey: "e2e_processing_latency_percentiles",
        default: [],
        min: 1e-6,
        max: 1,
        doc: "percentiles of the time from publish to finish to keep, as in 0.99,0.95 (may be given several times)",
      },
      e2eProcessingLatencyWindowTimeMs: {
        name: "e2e-processing-latency-window-time",
        kind: "duration",
        default: 10 * MINUTE,
        min: 1,
        max: MAX_TIMER_MS,
        doc: "time over which those percentiles are taken",
        better: "0, with which nsqd hangs, is refused",
      },
      statsdAddress: {
        name: "statsd-address",
        kind: "string",
        default: "",
        doc: "UDP <addr>:<port> of a statsd daemon; empty for none",
        better: "an address that is none is refused at the start",
      },
      statsdPrefix: {
        name: "statsd-prefix",
        kind: "string",
        default: "nsq.%s",
        doc: "text in front of statsd's keys, with %s for the broadcast address and HTTP port",
      },
      statsdIntervalMs: {
        name: "statsd-interval",
        kind: "duration",
        default: MINUTE,
        min: SHORTEST_STATSD_INTERVAL_MS,
        max: MAX_TIMER_MS,
        doc: "time between reports to statsd",
        better: "with a second or less nsqd ends with a panic",
      },
      statsdMemStats: { name: "statsd-mem-stats", kind: "bool", default: true, doc: "report memory use to statsd" },
      statsdUdpPacketSizeBytes: {
        name: "statsd-udp-packet-size",
        kind: "int",
        default: 508,
        min: 1,
        max: MAX_UDP_PAYLOAD_BYTES,
        doc: "largest packet to statsd, in bytes",
      },
      statsdExcludeEphemeral: {
        name: "statsd-exclude-ephemeral",
        kind: "bool",
        default: false,
        doc: "leave ephemeral topics and channels out of statsd",
      },
    },
    others: [versionFlag, configFlag, verboseFlag, workerIdFlag],
  };
}

const workerIdFlag: Flag = {
  name: "worker-id",
  kind: "bool",
  default: false,
  doc: "long without effect in nsqd too",
  idle: { status: "deprecated", why: "use -node-id" },
};

/** nsqd's own formula (nsqd/options.go), so that a host keeps its node id when it changes brokers. */
function defaultNodeId(host: string): number {
  const digest = new Bun.CryptoHasher("md5").update(host).digest();
  return Bun.hash.crc32(digest) % NODE_IDS;
}
