import type { LogFormat, LogLevel } from "../base/logger.ts";
import type { ClusterOptions } from "../net/cluster-options.ts";

/**
 * The options of a lookup server: one field per flag, with the flag's name; durations in ms.
 * The defaults are in the flag table (src/cli/lookup-flags.ts).
 */
export interface LookupOptions extends ClusterOptions {
  logLevel: LogLevel;
  logFormat: LogFormat;
  logPrefix: string;

  tcpAddress: string;
  httpAddress: string;
  /** Names that HTTP requests may have in Host; empty: any. */
  httpAllowedHosts: string[];
  /** Whether /debug is served. */
  httpDebug: boolean;
  /** The address in the answer to IDENTIFY. */
  broadcastAddress: string;

  /** A node that has not pinged for longer is left out of answers. It stays registered. */
  inactiveProducerTimeoutMs: number;
  /** How long a node is left out of the answers about a topic after it was tombstoned for that topic. */
  tombstoneLifetimeMs: number;

  /** Hours of the day in UTC in which partitions are moved for balance, like `2-4`; empty: at any time. */
  balanceHours: string;
}
