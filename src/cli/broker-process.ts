import { formatAddress, parseAddress } from "../base/address.ts";
import type { Logger } from "../base/logger.ts";
import { Broker } from "../broker/broker.ts";
import { Discovery, type OwnLookup } from "../broker/discovery/discovery.ts";
import { startHttp } from "../broker/http/server.ts";
import type { BrokerOptions } from "../broker/options.ts";
import { StatsdReporter } from "../broker/statsd/reporter.ts";
import { type Close, runProcess } from "./process.ts";

/** Runs a broker as this process's whole purpose. @returns once it has ended; whether all went well */
export function runBroker(options: BrokerOptions, log: Logger): Promise<boolean> {
  return runProcess(log, (opened) => {
    openBroker(options, log, opened);
  });
}

/**
 * Starts a broker with all its sides.
 *
 * @param opened is told how each is closed
 * @param ownLookup a lookup server in this process, to register with beside others
 * @returns where it listens, in words
 * @throws StartError
 */
export function openBroker(options: BrokerOptions, log: Logger, opened: (close: Close) => void, ownLookup?: OwnLookup): string {
  const broker = Broker.open(options, log);
  opened(() => broker.close());
  broker.listen();
  let where = `TCP ${listening(options.tcpAddress, broker.tcpPort)}`;
  let httpPort = 0;
  if (options.httpAddress !== "") {
    const http = startHttp(broker);
    opened(() => http.stop());
    httpPort = http.port;
    where += `, HTTP ${listening(options.httpAddress, httpPort)}`;
  }
  const statsd = StatsdReporter.start(broker, httpPort);
  if (statsd !== undefined) opened(() => statsd.close());
  const discovery = Discovery.start(broker, httpPort, ownLookup);
  opened(() => discovery.close());
  return where;
}

/** A listener's address with the port it has got. */
export function listening(address: string, port: number): string {
  return formatAddress(parseAddress(address).hostname, port);
}
