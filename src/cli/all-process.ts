import type { Logger } from "../base/logger.ts";
import { StartError } from "../base/start-error.ts";
import type { BrokerOptions } from "../broker/options.ts";
import type { LookupOptions } from "../lookup/options.ts";
import { type LookupServer, startLookup } from "../lookup/start-lookup.ts";
import { parseRemoteAddress } from "../net/address.ts";
import { listening, removeDeadSockets, startBroker } from "./broker-process.ts";
import { runProcess } from "./process.ts";
import { LOOKUP_PREFIX } from "./settings.ts";

/**
 * Runs a broker and a lookup server as this process's whole purpose. The broker registers with its lookup as any other
 * does, over TCP.
 *
 * @returns once both have ended; whether all went well
 */
export function runAll(options: BrokerOptions, lookupOptions: LookupOptions, logger: Logger, lookupLogger: Logger): Promise<boolean> {
  return runProcess(logger, async (opened) => {
    await removeDeadSockets(options, logger);
    const lookup = openLookup(lookupOptions, lookupLogger);
    opened(() => lookup.stop());
    const where = startBroker(options, logger, opened, {
      tcpAddress: { ...parseRemoteAddress(lookupOptions.tcpAddress), port: lookup.tcpPort },
      httpAddress: { ...parseRemoteAddress(lookupOptions.httpAddress), port: lookup.httpPort },
    });
    const { tcpAddress, httpAddress } = lookupOptions;
    lookupLogger.info(`lookup up: TCP ${listening(tcpAddress, lookup.tcpPort)}, HTTP ${listening(httpAddress, lookup.httpPort)}`);
    logger.info(`broker up: ${where}`);
  });
}

/** Who meant to run a broker alone, beside a lookup that is there already, is told how. */
function openLookup(options: LookupOptions, logger: Logger): LookupServer {
  try {
    return startLookup(options, logger, LOOKUP_PREFIX);
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    throw new StartError(
      `lookup: ${error.message}. To use a lookup server that runs already: --mode=broker --lookupd-tcp-address=<addr>:<port>`,
    );
  }
}
