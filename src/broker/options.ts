import type { LogFormat, LogLevel } from "../base/logger.ts";
import type { ClusterOptions } from "../net/cluster-options.ts";

/**
 * When a publish is acknowledged: `write` once its bytes are in the log file (survives a crash of the process),
 * `fsync` once they are on the disk (survives a crash of the machine).
 */
export type Durability = "write" | "fsync";

/** How auth servers are asked: `get` has the client's secret in the query, `post` in the body. */
export type AuthRequestMethod = "get" | "post";

/** What a broker of a cluster is told. Without etcd's address it is alone, and the rest has no effect. */
export interface BrokerClusterOptions extends ClusterOptions {
  /** A replica that does not keep up for this long does not count any more. */
  clusterLagMs: number;
  /** A broker that was not heard for this long is taken for dead. */
  clusterSuspectMs: number;
  /** Whether publishes are passed on to the brokers that lead their partitions. */
  clusterForward: boolean;
  /** Bytes a second that replicas which catch up read from this broker. */
  clusterCatchUpBytes: number;
  /** In which time a broker reads all its replicas once, to find damage; 0: never. */
  clusterScrubMs: number;
  replicationAddress: string;
  /** Paths of PEM files: all, or none for connections without TLS. */
  replicationTlsCert: string;
  replicationTlsKey: string;
  replicationTlsCa: string;
}

/**
 * The options of a broker: one for each flag, by the flag's name; durations in ms, sizes in bytes. The flag table
 * (src/cli/broker-flags.ts) has their defaults and descriptions.
 */
export interface BrokerOptions extends BrokerClusterOptions {
  /** A part of every message id; 0 to 1023. */
  nodeId: number;
  logLevel: LogLevel;
  logFormat: LogFormat;
  logPrefix: string;

  tcpAddress: string;
  /** Empty: no HTTP. Like the TCP address it may be the path of a unix socket. */
  httpAddress: string;
  /** Empty, or no certificate: no HTTPS. */
  httpsAddress: string;
  /** Names that HTTP requests may have in Host; empty: any. */
  httpAllowedHosts: string[];
  /** Whether /debug is served. */
  httpDebug: boolean;
  /** Whether plain publishes over HTTP take the fast path. */
  httpFastPath: boolean;
  /** How long a drain waits for messages in flight, unless it is asked for with another bound. */
  drainTimeoutMs: number;
  broadcastAddress: string;
  /** 0: the port that the broker listens on. */
  broadcastTcpPort: number;
  broadcastHttpPort: number;
  lookupdTcpAddresses: string[];
  /** Auth servers, as `host:port` or URLs. Empty: clients need no AUTH. */
  authHttpAddresses: string[];
  authHttpRequestMethod: AuthRequestMethod;
  /** For requests to lookups and auth servers. */
  httpClientConnectTimeoutMs: number;
  httpClientRequestTimeoutMs: number;

  /** Empty: the working directory. */
  dataPath: string;
  /** Files of nsqd in the data path are left as they are, instead of being imported at the start. */
  ignoreNsqdData: boolean;
  durability: Durability;
  /** Publishes are refused while the disk of the data path has less free space. */
  minFreeBytes: number;
  /** At the start, sets aside what cannot be read, instead of waiting until it can. */
  startWithoutUnreadable: boolean;
  /** The number of messages that an ephemeral topic or channel keeps. */
  memQueueSize: number;
  /** The size of a log segment. */
  maxBytesPerFile: number;
  /** How long a topic keeps messages that its channels have finished; 0: no longer than a channel needs them. */
  retentionTimeMs: number;
  /** How many bytes of finished messages it keeps; 0: only the time is limited. */
  retentionBytes: number;
  /** How long the idempotency key of a publish is remembered; 0: keys have no effect. */
  idempotencyWindowMs: number;
  /** The number of keys that are remembered at the same time. */
  idempotencyKeys: number;
  /** A log is synced to the disk after this many messages. */
  syncEvery: number;
  /** A log with unsynced messages is synced after this time. */
  syncTimeoutMs: number;

  /** These tune nsqd's search for timeouts. Here they have no effect, but /config/ answers them. */
  queueScanSelectionCount: number;
  queueScanWorkerPoolMax: number;

  msgTimeoutMs: number;
  maxMsgTimeoutMs: number;
  maxMsgSizeBytes: number;
  maxReqTimeoutMs: number;
  maxBodySizeBytes: number;

  maxHeartbeatIntervalMs: number;
  maxRdyCount: number;
  maxOutputBufferSizeBytes: number;
  maxOutputBufferTimeoutMs: number;
  minOutputBufferTimeoutMs: number;
  outputBufferTimeoutMs: number;
  /** 0: no limit. */
  maxChannelConsumers: number;
  /** The number of clients on TCP; 0: no limit. */
  maxConnections: number;
  /** The number of clients on HTTP and HTTPS; 0: no limit. */
  maxHttpConnections: number;

  /** Experimental features (topics/locality.ts). */
  experiments: string[];
  topologyRegion: string;
  topologyZone: string;

  maxDeflateLevel: number;
  /** Whether clients may negotiate this compression. */
  deflate: boolean;
  snappy: boolean;

  /** Paths of PEM files. Certificate and key empty: no TLS. */
  tlsCert: string;
  tlsKey: string;
  tlsRootCaFile: string;
  /** `require` or `require-verify`; empty: clients need no certificate. */
  tlsClientAuthPolicy: string;
  /** The value of the flag. tlsRequirement() (tls-options.ts) returns the one that is in force. */
  tlsRequired: TlsRequirement;
  tlsMinVersion: "tls1.0" | "tls1.1" | "tls1.2" | "tls1.3";

  /** Percentiles of message latencies; above 0, up to 1. None: latencies are not measured. */
  e2eProcessingLatencyPercentiles: number[];
  /** The time that these percentiles cover. */
  e2eProcessingLatencyWindowTimeMs: number;

  /** The most bytes of message traces; 0: nothing is traced. */
  traceBytes: number;
  /** Base URL of an OpenTelemetry collector that gets spans of traced messages; empty: none. */
  otlpEndpoint: string;

  /** Empty: no statistics are sent. */
  statsdAddress: string;
  /** %s is replaced with the broker's name. */
  statsdPrefix: string;
  statsdIntervalMs: number;
  statsdMemStats: boolean;
  statsdUdpPacketSizeBytes: number;
  statsdExcludeEphemeral: boolean;
  /** Sets of names that /metrics has: `bunsq` always, `mixin` and `lovoo` in addition. */
  metricsNames: string[];
}

/** Which clients are refused without TLS: none, all, or all but those on HTTP. */
export type TlsRequirement = "false" | "true" | "tcp-https";
