import type { Logger } from "../base/logger.ts";
import type { HttpServer } from "../http/server/server.ts";
import { BrokerListener } from "./broker-listener.ts";
import { startHttp } from "./http/server.ts";
import { Lookup } from "./lookup.ts";
import type { LookupOptions } from "./options.ts";

/** A lookup server that is up. */
export interface LookupServer {
  readonly tcpPort: number;
  readonly httpPort: number;
  /** Answers the HTTP requests that are under way, hangs up on all, and resolves when both listeners are closed. */
  stop(): Promise<void>;
}

/**
 * Starts a lookup server: TCP, where brokers register, and HTTP, where clients ask.
 *
 * @param flagPrefix of the flags that its options came from, which errors name: `lookup-` where a broker shares the process
 * @throws StartError when an address cannot be had; nothing is left open then
 */
export function startLookup(options: LookupOptions, logger: Logger, flagPrefix = ""): LookupServer {
  const lookup = new Lookup(options, logger, flagPrefix);
  const brokers = new BrokerListener(lookup);
  lookup.tcpPort = brokers.port;
  let http: HttpServer;
  try {
    http = startHttp(lookup);
  } catch (error) {
    brokers.close();
    throw error;
  }
  lookup.httpPort = http.port;
  return {
    tcpPort: lookup.tcpPort,
    httpPort: http.port,
    stop: async () => {
      brokers.close();
      await http.stop();
    },
  };
}
