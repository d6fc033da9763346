import type { LogLevel } from "../base/logger.ts";

/**
 * What a lookup server is started with. One field per flag, named as the flag; durations in ms.
 * Defaults stand in the flag table (src/cli/lookup-flags.ts), which is the one source of all of this.
 */
export interface LookupOptions {
  logLevel: LogLevel;
  logPrefix: string;

  tcpAddress: string;
  httpAddress: string;
  /** What brokers are told in answer to IDENTIFY. */
  broadcastAddress: string;

  /** A producer that has not pinged for longer is left out of answers, though it stays registered. */
  inactiveProducerTimeoutMs: number;
  /** How long a producer is left out of a topic's answers after it was tombstoned for it. */
  tombstoneLifetimeMs: number;
}
