import type { LogLevel } from "../base/logger.ts";

/**
 * When a publish is acknowledged: `write` once its bytes are in the log file (survives a crash of the process),
 * `fsync` once they are on the disk (survives a crash of the machine).
 */
export type Durability = "write" | "fsync";

/** How an auth server is asked: with the client's secret in the query, or in the body. */
export type AuthRequestMethod = "get" | "post";

/**
 * What a broker is started with. One field per flag, named as the flag; durations in ms, sizes in bytes.
 * Defaults stand in the flag table (src/cli/broker-flags.ts), which is the one source of all of this.
 */
export interface BrokerOptions {
  /** Part of every message id: [0, 1024). */
  nodeId: number;
  logLevel: LogLevel;
  logPrefix: string;

  tcpAddress: string;
  /** Empty: no HTTP. This and the one above may be the path of a unix socket. */
  httpAddress: string;
  /** Empty, or no certificate: no HTTPS. */
  httpsAddress: string;
  broadcastAddress: string;
  /** 0: the port listened on. */
  broadcastTcpPort: number;
  broadcastHttpPort: number;
  lookupdTcpAddresses: string[];
  /** Of auth servers, `host:port` or a URL. Empty: clients need no AUTH. */
  authHttpAddresses: string[];
  authHttpRequestMethod: AuthRequestMethod;
  /** Of requests to lookups and auth servers. */
  httpClientConnectTimeoutMs: number;
  httpClientRequestTimeoutMs: number;

  /** Empty: the working directory. */
  dataPath: string;
  durability: Durability;
  /** Publishes are refused while less than this is free on the data path's disk. */
  minFreeBytes: number;
  /** Messages an ephemeral topic or channel keeps. */
  memQueueSize: number;
  /** Size of a log segment. */
  maxBytesPerFile: number;
  /** How long a topic keeps what its channels have finished; 0: no longer than they need it. */
  retentionTimeMs: number;
  /** How much of it; 0: no limit beside the time. */
  retentionBytes: number;
  /** How long a publish's idempotency key is remembered; 0: keys count for nothing. */
  idempotencyWindowMs: number;
  /** Keys remembered at the same time. */
  idempotencyKeys: number;
  /** Messages after which a log is synced to the disk. */
  syncEvery: number;
  /** Time after which a log with unsynced messages is synced. */
  syncTimeoutMs: number;

  /** Of nsqd's search for timeouts: without effect, and told by /config/ as nsqd does. */
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
  /** Of clients on TCP. 0: no limit. */
  maxConnections: number;

  /** What is tried out: see topology.ts. */
  experiments: string[];
  topologyRegion: string;
  topologyZone: string;

  maxDeflateLevel: number;
  /** Whether clients may ask for it. */
  deflate: boolean;
  snappy: boolean;

  /** Paths of PEM files; certificate and key empty: no TLS. */
  tlsCert: string;
  tlsKey: string;
  tlsRootCaFile: string;
  /** `require` or `require-verify`; empty: clients need no certificate. */
  tlsClientAuthPolicy: string;
  /** As given; tlsRequirement() (transport/tls-options.ts) says what holds. */
  tlsRequired: TlsRequirement;
  tlsMinVersion: "tls1.0" | "tls1.1" | "tls1.2" | "tls1.3";

  /** Of message latencies: above 0, up to 1. None: they are not measured. */
  e2eProcessingLatencyPercentiles: number[];
  /** Of the past that percentiles cover. */
  e2eProcessingLatencyWindowTimeMs: number;

  /** Empty: nothing is sent. */
  statsdAddress: string;
  /** %s stands for the broker's name. */
  statsdPrefix: string;
  statsdIntervalMs: number;
  statsdMemStats: boolean;
  statsdUdpPacketSizeBytes: number;
  statsdExcludeEphemeral: boolean;
}

/** Who is turned away without TLS: nobody, everybody, or everybody but HTTP clients. */
export type TlsRequirement = "false" | "true" | "tcp-https";
