import type { Logger } from "../base/logger.ts";
import { openBroker } from "../broker/broker.ts";
import { Discovery, type OwnLookup } from "../broker/discovery/discovery.ts";
import { startHttp, startHttps } from "../broker/http/server.ts";
import { StatsdReporter } from "../broker/metrics/statsd/reporter.ts";
import type { BrokerOptions } from "../broker/options.ts";
import { parseListenAddress, showListenAddress } from "../net/address.ts";
import { isSocketPath, parseSocketPath, removeDeadSocket } from "../net/unix-socket.ts";
import { type Close, runProcess } from "./process.ts";

/** Runs a process with a broker. @returns when it has ended: whether it ended without an error */
export function runBroker(options: BrokerOptions, log: Logger): Promise<boolean> {
  return runProcess(log, async (opened) => {
    await removeDeadSockets(options, log);
    startBroker(options, log, opened);
  });
}

/** Removes the files of dead unix sockets at the addresses of the broker. @throws StartError */
export async function removeDeadSockets({ tcpAddress, httpAddress }: BrokerOptions, log: Logger): Promise<void> {
  for (const address of [tcpAddress, httpAddress]) if (isSocketPath(address)) await removeDeadSocket(parseSocketPath(address), log);
}

/**
 * Starts a broker with its listeners, statsd reports and discovery.
 *
 * @param opened called for each part with the function that closes it
 * @param ownLookup a lookup server in this process, to register with beside others
 * @returns the addresses that it listens on, for the log
 * @throws StartError
 */
export function startBroker(options: BrokerOptions, log: Logger, opened: (close: Close) => void, ownLookup?: OwnLookup): string {
  const broker = openBroker(options, log);
  opened(() => broker.close());
  broker.listen();
  let where = `TCP ${listening(options.tcpAddress, broker.tcpPort)}`;
  if (options.httpAddress !== "") {
    const http = startHttp(broker);
    opened(() => http.stop());
    where += `, HTTP ${listening(options.httpAddress, http.port)}`;
  }
  if (broker.tls !== undefined && options.httpsAddress !== "") {
    const https = startHttps(broker, broker.tls);
    opened(() => https.stop());
    where += `, HTTPS ${listening(options.httpsAddress, https.port)}`;
  }
  const statsd = StatsdReporter.start(broker, broker.httpPort);
  if (statsd !== undefined) opened(() => statsd.close());
  const discovery = Discovery.start(broker, ownLookup);
  opened(() => discovery.close());
  return where;
}

/** Formats a listener's address with its actual port. */
export function listening(address: string, port: number): string {
  return showListenAddress(parseListenAddress(address), port);
}
