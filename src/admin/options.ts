import type { LogFormat, LogLevel } from "../base/logger.ts";

/**
 * The options of the console: one field per flag, with the flag's name; durations in ms. The defaults are in the flag table
 * (src/cli/admin-flags.ts).
 */
export interface AdminOptions {
  logLevel: LogLevel;
  logFormat: LogFormat;
  logPrefix: string;

  /** `host:port`; empty: no HTTP. */
  httpAddress: string;
  /** `host:port`. Empty, or no certificate: no HTTPS. */
  httpsAddress: string;
  /** Paths of PEM files. Both empty: no HTTPS. */
  tlsCert: string;
  tlsKey: string;
  /** Whether answers over HTTPS tell browsers to come to the host name by HTTPS only. */
  hsts: boolean;
  /** The path under which everything is served. */
  basePath: string;
  /** Names that HTTP requests may have in Host; empty: any. */
  httpAllowedHosts: string[];
  /** No effect. */
  devStaticDir: string;

  /** `host:port` of the HTTP listeners of the lookup servers that know the brokers. Either this list or the next one is empty. */
  lookupdHttpAddresses: string[];
  /** `host:port` of the HTTP listeners of the brokers, if no lookup server is asked for them. */
  nsqdHttpAddresses: string[];
  httpClientConnectTimeoutMs: number;
  httpClientRequestTimeoutMs: number;
  httpClientTlsInsecureSkipVerify: boolean;
  httpClientTlsRootCaFile: string;
  httpClientTlsCert: string;
  httpClientTlsKey: string;

  /** The time between two polls of a broker while somebody looks. */
  pollIntervalMs: number;
  /** Memory for the history of topics and channels, bytes. */
  historySizeBytes: number;

  graphiteUrl: string;
  proxyGraphite: boolean;
  statsdPrefix: string;
  statsdCounterFormat: string;
  statsdGaugeFormat: string;
  statsdIntervalMs: number;

  /** Addresses from which /config is answered; empty: any. */
  allowConfigFromCidr: string;
  notificationHttpEndpoint: string;
  /** Path of the file to which each action is appended; empty: none. */
  auditLog: string;
  /** Addresses and networks of the proxies whose headers are believed. */
  trustedProxies: string[];
  aclHttpHeader: string;
  /** Who may change something; empty: everybody. */
  adminUsers: string[];
  /** Path of the access file; empty: none, and all is as in nsqadmin. */
  accessFile: string;
}
