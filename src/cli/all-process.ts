import { DescriptorBudget, descriptorLimit } from "../base/descriptor-budget.ts";
import type { Logger } from "../base/logger.ts";
import { StartError } from "../base/start-error.ts";
import type { BrokerOptions } from "../broker/options.ts";
import { startBroker } from "../broker/server.ts";
import type { LookupOptions } from "../lookup/options.ts";
import { type LookupServer, startLookup } from "../lookup/start-lookup.ts";
import { parseListenAddress, parseRemoteAddress, showListenAddress } from "../net/address.ts";
import { runProcess } from "./process.ts";
import { LOOKUP_PREFIX } from "./settings.ts";

/**
 * Runs a process with a broker and a lookup server. The broker registers with the lookup server over TCP, as any other broker.
 *
 * @returns when both have ended: whether they ended without an error
 */
export function runAll(options: BrokerOptions, lookupOptions: LookupOptions, logger: Logger, lookupLogger: Logger): Promise<boolean> {
  return runProcess(logger, async (opened) => {
    const descriptors = new DescriptorBudget(descriptorLimit());
    const lookup = openLookup(lookupOptions, lookupLogger, descriptors);
    opened(() => lookup.stop());
    const ownLookup = {
      tcpAddress: { ...parseRemoteAddress(lookupOptions.tcpAddress), port: lookup.tcpPort },
      httpAddress: { ...parseRemoteAddress(lookupOptions.httpAddress), port: lookup.httpPort },
    };
    const { where } = await startBroker(options, logger, opened, { lookup: ownLookup, descriptors });
    const { tcpAddress, httpAddress } = lookupOptions;
    const listenedOn = (address: string, port: number) => showListenAddress(parseListenAddress(address), port);
    lookupLogger.info(`lookup up: TCP ${listenedOn(tcpAddress, lookup.tcpPort)}, HTTP ${listenedOn(httpAddress, lookup.httpPort)}`);
    logger.info(`broker up: ${where}`);
  });
}

/** Starts the lookup server. Its error says how to run a broker alone, because that may be what the operator wants. */
function openLookup(options: LookupOptions, logger: Logger, descriptors: DescriptorBudget): LookupServer {
  try {
    return startLookup(options, logger, LOOKUP_PREFIX, descriptors);
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    throw new StartError(
      `lookup: ${error.message}. To use a lookup server that is already running: --mode=broker --lookupd-tcp-address=<addr>:<port>`,
    );
  }
}
