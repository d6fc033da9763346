import type { AdminOptions } from "../admin/options.ts";
import type { AdminServer } from "../admin/server.ts";
import { DescriptorBudget, descriptorLimit } from "../base/descriptor-budget.ts";
import type { Logger } from "../base/logger.ts";
import { StartError } from "../base/start-error.ts";
import type { BrokerOptions } from "../broker/options.ts";
import { startBroker } from "../broker/server.ts";
import type { LookupOptions } from "../lookup/options.ts";
import { type LookupServer, startLookup } from "../lookup/start-lookup.ts";
import { formatAddress, parseListenAddress, parseRemoteAddress, showListenAddress } from "../net/address.ts";
import { clusterJoin, drainIn } from "./broker-process.ts";
import { joinCluster } from "./lookup-process.ts";
import { runProcess } from "./process.ts";
import { prefixOf } from "./settings.ts";

/** What one of the servers gets. */
interface Part<Options> {
  options: Options;
  logger: Logger;
}

/**
 * Runs a process with a broker, a lookup server and the console. The broker registers with the lookup server over TCP, and the
 * console asks both over HTTP, as any other program.
 *
 * @param admin undefined: no console
 * @returns when all have ended: whether they ended without an error
 */
export function runAll(broker: Part<BrokerOptions>, lookup: Part<LookupOptions>, admin: Part<AdminOptions> | undefined): Promise<boolean> {
  const { logger } = broker;
  return runProcess(logger, async (ownProcess) => {
    const descriptors = new DescriptorBudget(descriptorLimit());
    const askedAt = parseRemoteAddress(lookup.options.httpAddress);
    const server = openLookup(admin === undefined ? lookup : allowing(lookup, askedAt.hostname), descriptors);
    ownProcess.opened(() => server.stop());
    await joinCluster(server, lookup.options, lookup.logger);
    const ownLookup = {
      tcpAddress: { ...parseRemoteAddress(lookup.options.tcpAddress), port: server.tcpPort },
      httpAddress: { ...askedAt, port: server.httpPort },
    };
    const console = admin && (await openConsole(admin, formatAddress(askedAt.hostname, server.httpPort), descriptors));
    if (console !== undefined) ownProcess.opened(() => console.stop());
    const own = { lookup: ownLookup, descriptors };
    const started = await startBroker(broker.options, logger, ownProcess.opened, own, await clusterJoin(broker.options));
    // Before the broker closes, which would look to it like one that is down.
    if (console !== undefined) ownProcess.opened(() => console.endWatching());
    drainIn(ownProcess, started.broker);
    const { tcpAddress, httpAddress } = lookup.options;
    const listenedOn = (address: string, port: number) => showListenAddress(parseListenAddress(address), port);
    lookup.logger.info(`lookup up: TCP ${listenedOn(tcpAddress, server.tcpPort)}, HTTP ${listenedOn(httpAddress, server.httpPort)}`);
    logger.info(`broker up: ${started.where}`);
  });
}

/** Starts the lookup server. Its error says how to run a broker alone, because that may be what the operator wants. */
function openLookup({ options, logger }: Part<LookupOptions>, descriptors: DescriptorBudget): LookupServer {
  try {
    return startLookup(options, logger, prefixOf("lookup"), descriptors);
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    throw new StartError(
      `lookup: ${error.message}. To use a lookup server that is already running: --mode=broker --lookupd-tcp-address=<addr>:<port>`,
    );
  }
}

/** The lookup server's part, such that the console may name it by its address. Browsers name it so only if their user does. */
function allowing({ options, logger }: Part<LookupOptions>, host: string): Part<LookupOptions> {
  const { httpAllowedHosts } = options;
  return httpAllowedHosts.length === 0
    ? { options, logger }
    : { options: { ...options, httpAllowedHosts: [...httpAllowedHosts, host] }, logger };
}

/**
 * Starts the console, which asks the process's own lookup server for brokers too, unless it is told which brokers there are. Its
 * error says how to do without it, because an nsqadmin may be running already.
 */
async function openConsole(
  { options, logger }: Part<AdminOptions>,
  ownLookup: string,
  descriptors: DescriptorBudget,
): Promise<AdminServer> {
  const { lookupdHttpAddresses, nsqdHttpAddresses } = options;
  const lookups = nsqdHttpAddresses.length > 0 ? lookupdHttpAddresses : [...new Set([ownLookup, ...lookupdHttpAddresses])];
  // Loaded here, so that a process without a console does not have it in its memory.
  const { startAdmin } = await import("../admin/server.ts");
  try {
    return startAdmin({ ...options, lookupdHttpAddresses: lookups }, logger, prefixOf("admin"), descriptors);
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    throw new StartError(`console: ${error.message}. To do without the console: --console=false`);
  }
}
