import type { AdminOptions } from "../admin/options.ts";
import { configFlag, logFormatFlag, logLevelFlag, verboseFlag, versionFlag } from "./common-flags.ts";
import type { BoolFlag } from "./flag.ts";
import type { FlagTable } from "./flags.ts";

const MIB = 1024 * 1024;
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** In a program that also runs a broker. */
export const consoleFlag: BoolFlag = {
  name: "console",
  kind: "bool",
  own: true,
  default: true,
  doc: "whether to serve the console, on -admin-http-address",
};

/** The console's flags: nsqadmin's, with the same names and defaults. */
export function adminFlags(): FlagTable<AdminOptions> {
  return {
    options: {
      logLevel: logLevelFlag,
      logFormat: logFormatFlag,
      logPrefix: { name: "log-prefix", kind: "string", default: "[nsqadmin] ", doc: "prefix of every log line" },

      httpAddress: {
        name: "http-address",
        kind: "string",
        default: "0.0.0.0:4171",
        doc: "<addr>:<port> to listen on for HTTP clients; empty to disable HTTP, where there is HTTPS",
      },
      httpsAddress: {
        name: "https-address",
        kind: "string",
        own: true,
        default: "0.0.0.0:4172",
        doc: "<addr>:<port> to listen on for HTTPS clients, used if -tls-cert is set; empty to disable HTTPS",
      },
      tlsCert: {
        name: "tls-cert",
        kind: "string",
        own: true,
        default: "",
        doc: "path of the TLS certificate (PEM), followed by its intermediate certificates",
      },
      tlsKey: {
        name: "tls-key",
        kind: "string",
        own: true,
        default: "",
        doc: "path of the private key (PEM) of the TLS certificate",
      },
      hsts: {
        name: "hsts",
        kind: "bool",
        own: true,
        default: true,
        doc: "whether answers over HTTPS have browsers come to this host name, on whatever port, by HTTPS only for a year (HSTS)",
      },
      basePath: { name: "base-path", kind: "string", default: "/", doc: "path under which everything is served, for a proxy in front" },
      httpAllowedHosts: {
        name: "http-allowed-hosts",
        kind: "list",
        own: true,
        default: [],
        doc: "names that HTTP requests may have in Host, without port, against DNS rebinding (may be given several times); if not given, any",
      },
      devStaticDir: {
        name: "dev-static-dir",
        kind: "string",
        default: "",
        doc: "folder of the page's files, for developers of nsqadmin",
        idle: { status: "needless", why: "the page is a part of the program" },
      },

      lookupdHttpAddresses: {
        name: "lookupd-http-address",
        kind: "list",
        configKey: "nsqlookupd_http_addresses",
        default: [],
        doc: "<addr>:<port> of a lookup server's HTTP listener (may be given several times)",
        better: "also accepts several addresses separated by commas",
      },
      nsqdHttpAddresses: {
        name: "nsqd-http-address",
        kind: "list",
        configKey: "nsqd_http_addresses",
        default: [],
        doc: "<addr>:<port> of a broker's HTTP listener, in place of lookup servers (may be given several times)",
        better: "also accepts several addresses separated by commas; topics and channels can be created without lookup servers",
      },
      httpClientConnectTimeoutMs: {
        name: "http-client-connect-timeout",
        kind: "duration",
        default: 2 * SECOND,
        min: 1,
        max: HOUR,
        doc: "time to connect to a broker, a lookup server or another program over HTTP",
      },
      httpClientRequestTimeoutMs: {
        name: "http-client-request-timeout",
        kind: "duration",
        default: 5 * SECOND,
        min: 1,
        max: HOUR,
        doc: "time for a whole HTTP request to a broker, a lookup server or another program",
      },
      httpClientTlsInsecureSkipVerify: {
        name: "http-client-tls-insecure-skip-verify",
        kind: "bool",
        default: false,
        doc: "whether to accept any certificate of a broker or lookup server",
      },
      httpClientTlsRootCaFile: {
        name: "http-client-tls-root-ca-file",
        kind: "string",
        default: "",
        doc: "path of the certificates (PEM) of the authorities that sign the certificates of brokers and lookup servers",
      },
      httpClientTlsCert: {
        name: "http-client-tls-cert",
        kind: "string",
        default: "",
        doc: "path of the certificate (PEM) for requests to brokers and lookup servers",
      },
      httpClientTlsKey: {
        name: "http-client-tls-key",
        kind: "string",
        default: "",
        doc: "path of the key (PEM) of -http-client-tls-cert",
      },

      pollIntervalMs: {
        name: "poll-interval",
        kind: "duration",
        own: true,
        default: 2 * SECOND,
        min: SECOND,
        max: MINUTE,
        doc: "how often brokers are asked for their statistics while somebody looks; otherwise every 10s, for the history",
      },
      historySizeBytes: {
        name: "history-size",
        kind: "int",
        own: true,
        default: 48 * MIB,
        min: MIB,
        max: 16 * 1024 * MIB,
        doc: "bytes of memory for the last day of topics and channels; beyond it, the oldest part of the day is dropped",
      },

      graphiteUrl: { name: "graphite-url", kind: "string", default: "", doc: "URL of graphite, for its charts" },
      proxyGraphite: {
        name: "proxy-graphite",
        kind: "bool",
        default: false,
        doc: "whether /render passes requests on to graphite, for browsers that cannot reach it",
      },
      statsdPrefix: {
        name: "statsd-prefix",
        kind: "string",
        default: "nsq.%s",
        doc: "the brokers' -statsd-prefix; %s is the host",
      },
      statsdCounterFormat: {
        name: "statsd-counter-format",
        kind: "string",
        default: "stats.counters.%s.count",
        doc: "how statsd names a counter; empty if it does not change names",
      },
      statsdGaugeFormat: {
        name: "statsd-gauge-format",
        kind: "string",
        default: "stats.gauges.%s",
        doc: "how statsd names a gauge; empty if it does not change names",
      },
      statsdIntervalMs: {
        name: "statsd-interval",
        kind: "duration",
        default: MINUTE,
        min: SECOND,
        max: 24 * HOUR,
        doc: "the brokers' -statsd-interval",
      },

      allowConfigFromCidr: {
        name: "allow-config-from-cidr",
        kind: "string",
        default: "127.0.0.1/8",
        doc: "network, as 10.0.0.0/8, from which /config may be read and changed; empty for any",
      },
      trustedProxies: {
        name: "trusted-proxies",
        kind: "list",
        own: true,
        default: [],
        doc: "addresses and networks, as 10.0.0.0/8, of proxies in front, which are believed in X-Forwarded-For or Forwarded, X-Forwarded-Proto and -acl-http-header (may be given several times)",
      },
      notificationHttpEndpoint: {
        name: "notification-http-endpoint",
        kind: "string",
        default: "",
        doc: "URL to which each action of an operator is sent as JSON (POST)",
        better:
          "an endpoint that is down does not end the program: notifications wait and are tried again; only actions that were carried out are sent",
      },
      auditLog: {
        name: "audit-log",
        kind: "string",
        own: true,
        default: "",
        doc: "path of the file to which each action of an operator is appended as a line of JSON; at 64 MiB it becomes <path>.1, up to <path>.4; without it the last 1000 actions are kept in memory",
      },
      aclHttpHeader: {
        name: "acl-http-header",
        kind: "string",
        default: "X-Forwarded-User",
        doc: "HTTP header in which a proxy says who the user is",
      },
      adminUsers: {
        name: "admin-user",
        kind: "list",
        configKey: "admin_users",
        default: [],
        doc: "user who may change something (may be given several times); if not given, everybody may",
        better: "also accepts several users separated by commas",
      },
      accessFile: {
        name: "access-file",
        kind: "string",
        own: true,
        default: "",
        doc: "path of a TOML file with users, tokens and their roles by topic; it is read again when it changes; if not given, nobody logs in",
      },
    },
    others: [versionFlag, configFlag, verboseFlag],
  };
}
