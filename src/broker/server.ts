import type { Logger } from "../base/logger.ts";
import { parseListenAddress, showListenAddress } from "../net/address.ts";
import { isSocketPath, parseSocketPath, removeDeadSocket } from "../net/unix-socket.ts";
import { type Broker, openBroker } from "./broker.ts";
import { Discovery, type OwnLookup } from "./discovery/discovery.ts";
import { startHttp, startHttps } from "./http/server.ts";
import { StatsdReporter } from "./metrics/statsd/reporter.ts";
import type { BrokerOptions } from "./options.ts";

/** A broker with all that it is reached by. */
export interface BrokerServer {
  readonly broker: Broker;
  /** The addresses that it listens on, for the log. */
  readonly where: string;
}

/**
 * Opens a broker, and starts its listeners, statsd reports and discovery.
 *
 * @param opened called for each of them, in this order, with the function that closes it
 * @param ownLookup a lookup server in this process, to register with beside others
 * @throws StartError; what was opened before is closed by the caller
 */
export async function startBroker(
  options: BrokerOptions,
  logger: Logger,
  opened: (close: () => Promise<void> | void) => void,
  ownLookup?: OwnLookup,
): Promise<BrokerServer> {
  for (const address of [options.tcpAddress, options.httpAddress]) {
    if (isSocketPath(address)) await removeDeadSocket(parseSocketPath(address), logger);
  }
  const broker = openBroker(options, logger);
  opened(() => broker.close());
  broker.listen();
  const where = [`TCP ${listenedOn(options.tcpAddress, broker.tcpPort)}`];
  if (options.httpAddress !== "") {
    const http = startHttp(broker);
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
  const discovery = Discovery.start(broker, ownLookup);
  opened(() => discovery.close());
  return { broker, where: where.join(", ") };
}

/** A listener's address with the port that it got. */
function listenedOn(address: string, port: number): string {
  return showListenAddress(parseListenAddress(address), port);
}
