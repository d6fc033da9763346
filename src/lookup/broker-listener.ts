import { parseAddress } from "../net/address.ts";
import { ClientListener } from "../net/client-listener.ts";
import { Connection } from "./connection.ts";
import type { Lookup } from "./lookup.ts";

/** The kernel probes a connection that has been silent for this long. Go's servers use the same time. */
const KEEP_ALIVE_MS = 15_000;

/** The TCP side of a lookup server, through which brokers register. */
export class BrokerListener {
  private readonly listener: ClientListener<Connection>;

  /** @throws StartError if it cannot listen on the address */
  constructor(private readonly lookup: Lookup) {
    const { logger, options } = lookup;
    this.listener = ClientListener.listen(parseAddress(options.tcpAddress), lookup.flagName("tcp-address"), {
      accept: (socket, remoteAddress) => {
        if (!this.takeDescriptor()) {
          lookup.connections.refused++;
          socket.terminate();
          return undefined;
        }
        logger.info(`TCP: new client(${remoteAddress})`, { part: "tcp", client: remoteAddress });
        // Answers are small, and brokers wait for each.
        socket.setNoDelay(true);
        socket.setKeepAlive(true, KEEP_ALIVE_MS);
        lookup.connections.brokers++;
        return new Connection(lookup, socket, remoteAddress);
      },
      onDefect: (error, connection) => this.logError(error, connection),
      onSocketError: (error, connection) => {
        this.logError(error, connection);
        connection?.abort();
      },
      onClosed: () => {
        lookup.connections.brokers--;
        lookup.clientDescriptors.tcp.giveBack(1);
      },
    });
    logger.info(`TCP: listening on ${this.listener.where}`, { part: "tcp" });
  }

  /** Takes a client's descriptor. If none is left, the oldest connection that has not said which broker it is makes room. */
  private takeDescriptor(): boolean {
    const { clientDescriptors, descriptors, rateLimitedLog } = this.lookup;
    if (clientDescriptors.tcp.take(1)) return true;
    for (const connection of this.listener.connections) {
      if (connection.node !== undefined) continue;
      rateLimitedLog.error("TCP: closing clients that have not identified themselves: no file descriptor is left for others", {
        part: "tcp",
      });
      connection.abort();
      this.listener.onSocketClosed(connection);
      return clientDescriptors.tcp.take(1);
    }
    rateLimitedLog.error(`TCP: refusing clients: this process may have ${descriptors.limit} open files, see ulimit -n`, { part: "tcp" });
    return false;
  }

  get port(): number {
    return this.listener.port;
  }

  /** Stops listening, and closes all connections. */
  close(): void {
    this.lookup.logger.info(`TCP: closing ${this.listener.where}`, { part: "tcp" });
    for (const connection of this.listener.connections) connection.closeGracefully();
    this.listener.stop(true);
  }

  private logError(error: Error, connection: Connection | undefined): void {
    this.lookup.logger.error(`client(${connection?.remoteAddress ?? "gone"}) - ${error.stack ?? error.message}`, {
      part: "tcp",
      client: connection?.remoteAddress,
    });
  }
}
