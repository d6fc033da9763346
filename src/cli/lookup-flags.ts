import { hostname } from "node:os";
import type { LookupOptions } from "../lookup/options.ts";
import { balanceHoursFlag, clusterFlags } from "./cluster-flags.ts";
import { configFlag, logFormatFlag, logLevelFlag, verboseFlag, versionFlag } from "./common-flags.ts";
import type { FlagTable } from "./flags.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
/** Ten years. Limits the durations that are compared with the time since an event. */
const MAX_AGE_MS = 87_600 * HOUR;

/**
 * The lookup server's flags: nsqlookupd's, with the same names and defaults.
 *
 * @param host the host name, the default of -broadcast-address
 */
export function lookupFlags(host = hostname()): FlagTable<LookupOptions> {
  return {
    options: {
      logLevel: logLevelFlag,
      logFormat: logFormatFlag,
      logPrefix: { name: "log-prefix", kind: "string", default: "[nsqlookupd] ", doc: "prefix of every log line" },

      tcpAddress: {
        name: "tcp-address",
        kind: "string",
        default: "0.0.0.0:4160",
        doc: "<addr>:<port> to listen on for brokers",
      },
      httpAddress: {
        name: "http-address",
        kind: "string",
        default: "0.0.0.0:4161",
        doc: "<addr>:<port> to listen on for HTTP clients",
      },
      httpAllowedHosts: {
        name: "http-allowed-hosts",
        kind: "list",
        own: true,
        default: [],
        doc: "names that HTTP requests may have in Host, without port, against DNS rebinding (may be given several times); if not given, any",
      },
      httpDebug: {
        name: "http-debug",
        kind: "bool",
        own: true,
        default: true,
        doc: "whether to serve profiles and heap snapshots under /debug/pprof",
      },
      broadcastAddress: {
        name: "broadcast-address",
        kind: "string",
        default: host,
        defaultDoc: "the host name",
        doc: "address of this lookup server that brokers are told",
      },

      inactiveProducerTimeoutMs: {
        name: "inactive-producer-timeout",
        kind: "duration",
        default: 5 * MINUTE,
        min: 0,
        max: MAX_AGE_MS,
        doc: "time after its last ping for which a broker is listed to clients",
      },
      tombstoneLifetimeMs: {
        name: "tombstone-lifetime",
        kind: "duration",
        default: 45 * SECOND,
        min: 0,
        max: MAX_AGE_MS,
        doc: "time for which a broker that was tombstoned for a topic is not listed to clients, if it stays registered",
      },

      ...clusterFlags(),
      balanceHours: balanceHoursFlag,
    },
    others: [versionFlag, configFlag, verboseFlag],
  };
}
