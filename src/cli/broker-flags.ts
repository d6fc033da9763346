import { hostname } from "node:os";
import type { BrokerOptions } from "../broker/options.ts";
import { brokerClusterFlags } from "./cluster-flags.ts";
import { configFlag, logFormatFlag, logLevelFlag, verboseFlag, versionFlag } from "./common-flags.ts";
import type { Flag } from "./flag.ts";
import type { FlagTable } from "./flags.ts";
import { BadValue } from "./values.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const TIB = 1024 * GIB;

/** The longest delay of a timer, 31 bits of ms or almost 25 days. Limits the durations that a timer runs for. */
const MAX_TIMER_MS = 596 * HOUR;
/** Ten years. Limits the durations that are stored as a point in time. */
const MAX_DEADLINE_MS = 87_600 * HOUR;
const MAX_PORT = 65_535;
/** A node id has ten bits in a message id. */
const NODE_IDS = 1024;
const MAX_INT32 = 2 ** 31 - 1;
/** The most that one UDP packet over IPv4 carries. */
const MAX_UDP_PAYLOAD_BYTES = 65_507;
/** A shorter interval would keep the broker busy with reading its statistics. */
const SHORTEST_STATSD_INTERVAL_MS = 100;

const NO_SCAN = "timeouts are sorted by due time, so there is no scan to tune";

/**
 * The broker's flags: nsqd's, with the same names and defaults, and bunsq's own.
 *
 * @param host the host name, for the defaults of -node-id and -broadcast-address
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
        doc: "id of this broker, which is part of the message ids of every topic that is made on it; must be unique among brokers that share consumers",
      },
      logLevel: logLevelFlag,
      logFormat: logFormatFlag,
      logPrefix: { name: "log-prefix", kind: "string", default: "[nsqd] ", doc: "prefix of every log line" },

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
        doc: "<addr>:<port>, or path of a unix socket, to listen on for HTTP clients; empty to disable HTTP",
      },
      httpsAddress: {
        name: "https-address",
        kind: "string",
        default: "0.0.0.0:4152",
        doc: "<addr>:<port> to listen on for HTTPS clients, used if -tls-cert is set; empty to disable HTTPS",
      },
      httpAllowedHosts: {
        name: "http-allowed-hosts",
        kind: "list",
        own: true,
        default: [],
        doc: "names that HTTP requests may have in Host, without port, against DNS rebinding (may be given several times); if not given, any; with it HTTP publishes do not take the fast path",
      },
      httpDebug: {
        name: "http-debug",
        kind: "bool",
        own: true,
        default: true,
        doc: "whether to serve profiles, heap snapshots and the like under /debug",
      },
      drainTimeoutMs: {
        name: "drain-timeout",
        kind: "duration",
        own: true,
        default: 30 * SECOND,
        min: 0,
        max: 24 * HOUR,
        doc: "longest time that a drain (SIGUSR2, POST /drain) waits for messages in flight before the broker ends",
      },
      httpFastPath: {
        name: "http-fast-path",
        kind: "bool",
        own: true,
        default: true,
        doc: "whether plain HTTP publishes take the fast path in front of Bun's HTTP server; without it each costs about twice the CPU",
      },
      broadcastAddress: {
        name: "broadcast-address",
        kind: "string",
        default: host,
        defaultDoc: "the host name",
        doc: "address at which clients reach this broker; it is registered with lookup servers and shown in /info",
      },
      broadcastTcpPort: {
        name: "broadcast-tcp-port",
        kind: "int",
        default: 0,
        min: 0,
        max: MAX_PORT,
        doc: "TCP port at which clients reach this broker; 0 for the port that it listens on",
      },
      broadcastHttpPort: {
        name: "broadcast-http-port",
        kind: "int",
        default: 0,
        min: 0,
        max: MAX_PORT,
        doc: "HTTP port at which clients reach this broker; 0 for the port that it listens on",
      },
      lookupdTcpAddresses: {
        name: "lookupd-tcp-address",
        kind: "list",
        configKey: "nsqlookupd_tcp_addresses",
        default: [],
        doc: "<addr>:<port> of a lookup server to register with (may be given several times)",
        better: "also accepts several addresses separated by commas; reconnects to a lookup server within 5 s after it is back",
      },
      authHttpAddresses: {
        name: "auth-http-address",
        kind: "list",
        configKey: "auth_http_addresses",
        default: [],
        better: "a client's secret is never logged; an invalid address is refused at the start",
        doc: "<addr>:<port> or URL of an auth server that grants permissions to clients, which then have to send AUTH (may be given several times)",
      },
      authHttpRequestMethod: {
        name: "auth-http-request-method",
        kind: "choice",
        own: true,
        values: ["get", "post"],
        default: "get",
        doc: "HTTP method of requests to auth servers: get sends the client's secret in the query, post in a JSON body",
      },
      httpClientConnectTimeoutMs: {
        name: "http-client-connect-timeout",
        kind: "duration",
        default: 2 * SECOND,
        min: 1,
        max: MAX_TIMER_MS,
        doc: "timeout for connecting to a lookup server or an auth server",
      },
      httpClientRequestTimeoutMs: {
        name: "http-client-request-timeout",
        kind: "duration",
        default: 5 * SECOND,
        min: 1,
        max: MAX_TIMER_MS,
        doc: "timeout for a whole request to a lookup server or an auth server; a new topic delivers nothing until the lookup servers have listed its channels, for at most this time",
      },

      dataPath: {
        name: "data-path",
        kind: "string",
        default: "",
        doc: "directory for all data; empty for the working directory",
      },
      ignoreNsqdData: {
        name: "ignore-nsqd-data",
        kind: "bool",
        own: true,
        default: false,
        doc: "leave the data of Go's nsqd in the data path as it is, instead of importing it at the start",
      },
      durability: {
        name: "durability",
        kind: "choice",
        own: true,
        values: ["write", "fsync"],
        default: "write",
        doc: "when to acknowledge a message: write, when it is written to its file (survives a crash of the process); fsync, when the file is synced to the disk (survives a crash of the machine)",
      },
      minFreeBytes: {
        name: "min-free-bytes",
        kind: "int",
        own: true,
        default: 16 * MIB,
        min: 0,
        max: TIB,
        doc: "free bytes on the disk of the data path below which publishes are refused, so that the progress of consumers can still be saved",
      },
      startWithoutUnreadable: {
        name: "start-without-unreadable",
        kind: "bool",
        own: true,
        default: false,
        doc: "at the start, rename files that cannot be read to …damaged and start without what is in them, instead of keeping their topics and deferred messages waiting until they can be read",
      },
      memQueueSize: {
        name: "mem-queue-size",
        kind: "int",
        default: 10_000,
        min: 0,
        max: MAX_INT32,
        doc: "largest number of messages that an ephemeral topic or channel keeps",
        better: "limits ephemeral topics and channels only; messages of all others are always on disk, so a crash loses none",
      },
      maxBytesPerFile: {
        name: "max-bytes-per-file",
        kind: "int",
        default: 100 * MIB,
        min: KIB,
        max: TIB,
        doc: "size in bytes at which a topic's log continues in a new file",
      },
      retentionTimeMs: {
        name: "retention-time",
        kind: "duration",
        own: true,
        default: 0,
        min: 0,
        max: MAX_DEADLINE_MS,
        doc: "time for which a topic keeps messages that all its channels have finished, so that they can be replayed; 0 to keep them no longer than needed",
      },
      retentionBytes: {
        name: "retention-bytes",
        kind: "int",
        own: true,
        default: 0,
        min: 0,
        max: 1024 * TIB,
        doc: "bytes of the newest finished messages that a topic keeps for replay; if -retention-time is set too, messages within both limits are kept; 0 for no limit",
      },
      idempotencyWindowMs: {
        name: "idempotency-window",
        kind: "duration",
        own: true,
        default: 5 * MINUTE,
        min: 0,
        max: MAX_DEADLINE_MS,
        doc: "time within which a publish with a known idempotency key is answered OK and not published again; 0 to ignore keys",
      },
      idempotencyKeys: {
        name: "idempotency-keys",
        kind: "int",
        own: true,
        default: 500_000,
        min: 1,
        max: 100_000_000,
        doc: "largest number of idempotency keys to remember, at about 300 bytes of memory each, 500 once a publish with a key went to a topic with several partitions; beyond it the oldest are forgotten early",
      },
      syncEvery: {
        name: "sync-every",
        kind: "int",
        default: 2_500,
        min: 1,
        max: MAX_INT32,
        doc: "number of messages after which a topic's log is synced to the disk",
        better:
          "an acknowledged message is always in its file; syncing protects from a crash of the machine, and -durability=fsync acknowledges after it",
      },
      syncTimeoutMs: {
        name: "sync-timeout",
        kind: "duration",
        default: 2 * SECOND,
        min: 1,
        max: MAX_TIMER_MS,
        doc: "longest time after which written messages are synced to the disk",
      },

      queueScanSelectionCount: {
        name: "queue-scan-selection-count",
        kind: "int",
        default: 20,
        min: 0,
        max: MAX_INT32,
        doc: "number of channels that nsqd scans for timeouts at a time",
        idle: { status: "needless", why: NO_SCAN },
      },
      queueScanWorkerPoolMax: {
        name: "queue-scan-worker-pool-max",
        kind: "int",
        default: 4,
        min: 0,
        max: MAX_INT32,
        doc: "number of workers that scan for timeouts in nsqd",
        idle: { status: "needless", why: NO_SCAN },
      },

      msgTimeoutMs: {
        name: "msg-timeout",
        kind: "duration",
        default: MINUTE,
        min: 1,
        max: MAX_DEADLINE_MS,
        doc: "time that a consumer has to finish a message before it is delivered again, unless the consumer asks for another",
      },
      maxMsgTimeoutMs: {
        name: "max-msg-timeout",
        kind: "duration",
        default: 15 * MINUTE,
        min: 1,
        max: MAX_DEADLINE_MS,
        doc: "longest message timeout that a consumer may ask for, or extend to with TOUCH",
      },
      maxMsgSizeBytes: {
        name: "max-msg-size",
        kind: "int",
        default: MIB,
        min: 1,
        max: GIB,
        doc: "largest size of a message, in bytes",
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
        doc: "largest size of a command's body, in bytes",
      },

      maxHeartbeatIntervalMs: {
        name: "max-heartbeat-interval",
        kind: "duration",
        default: MINUTE,
        min: SECOND,
        max: MAX_TIMER_MS,
        doc: "longest heartbeat interval that a client may ask for",
      },
      maxRdyCount: { name: "max-rdy-count", kind: "int", default: 2_500, min: 1, max: MAX_INT32, doc: "highest RDY count of a consumer" },
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
        doc: "output buffer timeout of a client that does not ask for one",
        better: "messages never wait in a buffer: those of one turn of the event loop are sent together",
      },
      maxChannelConsumers: {
        name: "max-channel-consumers",
        kind: "int",
        default: 0,
        min: 0,
        max: MAX_INT32,
        doc: "largest number of consumers of a channel; 0 for no limit",
      },
      maxConnections: {
        name: "max-connections",
        kind: "int",
        own: true,
        default: 0,
        min: 0,
        max: MAX_INT32,
        doc: "largest number of TCP clients; further ones are refused; 0 for no limit",
      },
      maxHttpConnections: {
        name: "max-http-connections",
        kind: "int",
        own: true,
        default: 8192,
        min: 0,
        max: MAX_INT32,
        doc: "largest number of HTTP and HTTPS connections; for a further one the connection that has been idle longest is closed, and if none is idle, the new one is refused; 0 for no limit",
      },

      experiments: {
        name: "enable-experiment",
        kind: "list",
        own: true,
        configKey: "enable_experiments",
        default: [],
        doc: "experimental features to enable; topology-aware-consumption delivers messages to consumers in the broker's zone first, then to those in its region, then to others",
      },
      topologyRegion: {
        name: "topology-region",
        kind: "string",
        own: true,
        default: "",
        doc: "region of the broker",
      },
      topologyZone: {
        name: "topology-zone",
        kind: "string",
        own: true,
        default: "",
        doc: "zone of the broker within its region",
      },

      ...brokerClusterFlags(),

      maxDeflateLevel: {
        name: "max-deflate-level",
        kind: "int",
        default: 6,
        min: 1,
        max: 9,
        doc: "highest deflate level that a client may ask for",
      },
      deflate: { name: "deflate", kind: "bool", default: true, doc: "allow clients to use deflate compression" },
      snappy: { name: "snappy", kind: "bool", default: true, doc: "allow clients to use snappy compression" },

      tlsCert: {
        name: "tls-cert",
        kind: "string",
        default: "",
        doc: "path of the TLS certificate, followed by its intermediate certificates",
      },
      tlsKey: { name: "tls-key", kind: "string", default: "", doc: "path of the private key of the TLS certificate" },
      tlsClientAuthPolicy: {
        name: "tls-client-auth-policy",
        kind: "string",
        default: "",
        doc: "whether clients need a certificate: require accepts any, require-verify one that is signed by an authority in -tls-root-ca-file",
        better: "an unknown word is refused, not taken as no policy",
      },
      tlsRootCaFile: {
        name: "tls-root-ca-file",
        kind: "string",
        default: "",
        doc: "path of the certificate authorities that sign client certificates; empty for those that come with Bun",
      },
      tlsRequired: {
        name: "tls-required",
        kind: "choice",
        values: ["false", "true", "tcp-https"],
        aliases: { "0": "false", f: "false", "1": "true", t: "true" },
        bare: "true",
        default: "false",
        doc: "whether to refuse clients without TLS: true, false, or tcp-https, which still allows HTTP",
      },
      tlsMinVersion: {
        name: "tls-min-version",
        kind: "choice",
        values: ["tls1.0", "tls1.1", "tls1.2", "tls1.3"],
        aliases: { "": "tls1.0" },
        default: "tls1.0",
        doc: "lowest accepted version of TLS",
      },

      e2eProcessingLatencyPercentiles: {
        name: "e2e-processing-latency-percentile",
        kind: "floats",
        configKey: "e2e_processing_latency_percentiles",
        default: [],
        min: 1e-6,
        max: 1,
        doc: "percentiles to compute of the time from publishing a message to finishing it, as in 0.99,0.95 (may be given several times)",
      },
      e2eProcessingLatencyWindowTimeMs: {
        name: "e2e-processing-latency-window-time",
        kind: "duration",
        default: 10 * MINUTE,
        min: 1,
        max: MAX_TIMER_MS,
        doc: "time window of these percentiles",
        better: "0, with which nsqd hangs, is refused",
      },
      traceBytes: {
        name: "trace-bytes",
        kind: "int",
        own: true,
        default: 256 * MIB,
        min: 0,
        max: TIB,
        doc: "largest size of what is recorded of traced messages, in bytes, at least 2 MiB; the oldest is dropped; 0 traces nothing",
      },
      otlpEndpoint: {
        name: "otlp-endpoint",
        kind: "string",
        own: true,
        default: "",
        doc: "URL of an OpenTelemetry collector that gets spans of traced messages by OTLP/HTTP in JSON, such as http://localhost:4318; empty for none",
      },
      statsdAddress: {
        name: "statsd-address",
        kind: "string",
        default: "",
        doc: "UDP <addr>:<port> of a statsd server; empty for none",
        better: "an invalid address is refused at the start",
      },
      statsdPrefix: {
        name: "statsd-prefix",
        kind: "string",
        default: "nsq.%s",
        doc: "prefix of the keys sent to statsd; %s stands for the broadcast address and the HTTP port",
      },
      statsdIntervalMs: {
        name: "statsd-interval",
        kind: "duration",
        default: MINUTE,
        min: SHORTEST_STATSD_INTERVAL_MS,
        max: MAX_TIMER_MS,
        doc: "time between reports to statsd",
        better: "intervals of a second or less work; nsqd panics with them",
      },
      statsdMemStats: { name: "statsd-mem-stats", kind: "bool", default: true, doc: "send memory usage to statsd" },
      statsdUdpPacketSizeBytes: {
        name: "statsd-udp-packet-size",
        kind: "int",
        default: 508,
        min: 1,
        max: MAX_UDP_PAYLOAD_BYTES,
        doc: "largest size of a packet to statsd, in bytes",
      },
      statsdExcludeEphemeral: {
        name: "statsd-exclude-ephemeral",
        kind: "bool",
        default: false,
        doc: "do not send ephemeral topics and channels to statsd",
      },
      metricsNames: {
        name: "metrics-names",
        kind: "list",
        own: true,
        default: ["bunsq"],
        check: checkMetricsNames,
        doc: "names that /metrics gives (may be given several times): bunsq, which are always there; mixin adds those of Grafana's NSQ mixin, lovoo those of lovoo/nsq_exporter",
      },
    },
    others: [versionFlag, configFlag, verboseFlag, workerIdFlag],
  };
}

function checkMetricsNames(text: string): void {
  if (!["bunsq", "mixin", "lovoo"].includes(text)) throw new BadValue("must be bunsq, mixin or lovoo");
}

const workerIdFlag: Flag = {
  name: "worker-id",
  kind: "bool",
  default: false,
  doc: "has no effect in nsqd either",
  idle: { status: "deprecated", why: "use -node-id" },
};

/** nsqd's formula (nsqd/options.go), so that a host keeps its node id when it replaces nsqd. */
function defaultNodeId(host: string): number {
  const digest = new Bun.CryptoHasher("md5").update(host).digest();
  return Bun.hash.crc32(digest) % NODE_IDS;
}
