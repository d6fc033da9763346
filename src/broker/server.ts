import { resolve } from "node:path";
import type { DescriptorBudget } from "../base/descriptor-budget.ts";
import type { Logger } from "../base/logger.ts";
import { parseListenAddress, showListenAddress } from "../net/address.ts";
import { isSocketPath, parseSocketPath, removeDeadSocket } from "../net/unix-socket.ts";
import { type Broker, openBrokerInSlices } from "./broker.ts";
import type { ClusterMember } from "./cluster-routing.ts";
import { Discovery, type OwnLookup } from "./discovery/discovery.ts";
import { checkDataPath, lockExclusively } from "./exclusive-data-path.ts";
import { OpeningHttp } from "./http/opening-http.ts";
import { startHttp, startHttps } from "./http/server.ts";
import { StatsdReporter } from "./metrics/statsd/reporter.ts";
import { describeNsqdData, refuseUnfinishedImport, startImport } from "./migration/nsqd-import.ts";
import { Opening } from "./opening.ts";
import type { BrokerOptions } from "./options.ts";
import { tlsRequirement } from "./tls-options.ts";

/** A broker with all that it is reached by. */
export interface BrokerServer {
  readonly broker: Broker;
  /** The addresses that it listens on, for the log. */
  readonly where: string;
}

/**
 * Opens a broker, and starts its listeners, statsd reports and discovery. Before, it takes over the data of Go's nsqd, if there is
 * some in the data path.
 *
 * @param opened called for each of them, in this order, with the function that closes it
 * @param own a lookup server in this process, to register with beside others, and the descriptors that both share
 * @param join makes the broker a member of a cluster
 * @throws StartError; what was opened before is closed by the caller
 */
export async function startBroker(
  options: BrokerOptions,
  logger: Logger,
  opened: (close: () => Promise<void> | void) => void,
  own?: { lookup: OwnLookup; descriptors: DescriptorBudget },
  join?: (broker: Broker) => ClusterMember,
): Promise<BrokerServer> {
  for (const address of [options.tcpAddress, options.httpAddress]) {
    if (isSocketPath(address)) await removeDeadSocket(parseSocketPath(address), logger);
  }
  const dataPath = resolve(options.dataPath);
  checkDataPath(dataPath);
  opened(lockExclusively(dataPath, logger));
  const opening = new Opening();
  const early = answersEarly(options) ? new OpeningHttp(options, opening, logger) : undefined;
  if (early !== undefined) opened(() => early.stop());
  await importNsqdData(options, dataPath, logger, opening, opened);
  opened(() => opening.stop());
  const environment = { isReplicated: join !== undefined, ...(own !== undefined && { descriptors: own.descriptors }) };
  const broker = await openBrokerInSlices(options, logger, environment, opening);
  opened(() => broker.close());
  // Before anybody can ask: what other brokers have as well is not served by this one on its own.
  const member = join?.(broker);
  broker.cluster = broker.registry.cluster = member?.routing;
  broker.clusterReport = member?.report;
  broker.listen();
  const where = [`TCP ${listenedOn(options.tcpAddress, broker.tcpPort)}`];
  if (options.httpAddress !== "") {
    // Both in one turn, so that hardly a client finds the address free.
    early?.stop();
    const http = startHttp(broker, {}, early === undefined ? options.httpAddress : listenedOn(options.httpAddress, early.port));
    opened(() => http.stop());
    where.push(`HTTP ${listenedOn(options.httpAddress, http.port)}`);
  }
  if (broker.tls !== undefined && options.httpsAddress !== "") {
    const https = startHttps(broker, broker.tls);
    opened(() => https.stop());
    where.push(`HTTPS ${listenedOn(options.httpsAddress, https.port)}`);
  }
  const statsd = StatsdReporter.start(broker, broker.httpPort);
  if (statsd !== undefined) opened(() => statsd.close());
  const discovery = Discovery.start(broker, own?.lookup);
  broker.lookups = discovery;
  opened(() => discovery.close());
  broker.drain.tellLookups = () => discovery.leave();
  if (member !== undefined) {
    opened(() => member.leave());
    broker.drain.tellLookups = () => member.handOver().then(() => discovery.leave());
    member.start();
  }
  return { broker, where: where.join(", ") };
}

/** Whether HTTP answers before the data path is open. Where TLS is required, plain HTTP says nothing but that. */
function answersEarly(options: BrokerOptions): boolean {
  return options.httpAddress !== "" && tlsRequirement(options) !== "true";
}

/** Imports what nsqd left in the data path. @throws StartError, also when it was interrupted */
async function importNsqdData(
  options: BrokerOptions,
  dataPath: string,
  logger: Logger,
  opening: Opening,
  opened: (close: () => Promise<void> | void) => void,
): Promise<void> {
  if (options.ignoreNsqdData) {
    refuseUnfinishedImport(dataPath);
    const ignored = describeNsqdData(dataPath);
    if (ignored !== undefined) logger.warn(`${ignored}; they are ignored`);
    return;
  }
  const { stage } = opening;
  opening.stage = `${stage}: importing the data of nsqd, if there is some`;
  const running = startImport(options, logger);
  opened(running.stop);
  await running.result;
  opening.stage = stage;
}

/** A listener's address with the port that it got. */
function listenedOn(address: string, port: number): string {
  return showListenAddress(parseListenAddress(address), port);
}
