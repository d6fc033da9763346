import { formatAddress, listenError, parseAddress } from "../net/address.ts";
import { Connection } from "./connection.ts";
import type { Lookup } from "./lookup.ts";

/** After so long without a word the kernel asks whether the other side is still there, as Go lets it. */
const KEEP_ALIVE_MS = 15_000;

/** The TCP side of a lookup server, through which brokers register. */
export class BrokerListener {
  private readonly connections = new Set<Connection>();
  private listener: Bun.TCPSocketListener<Connection | undefined> | undefined;
  private where = "";

  constructor(private readonly lookup: Lookup) {}

  /** @throws StartError when the address cannot be had */
  listen(): void {
    const address = parseAddress(this.lookup.options.tcpAddress);
    try {
      this.listener = Bun.listen<Connection | undefined>({
        ...address,
        // A client that ends its side still gets its answers.
        allowHalfOpen: true,
        socket: {
          open: (socket) => this.accept(socket),
          data: (socket, data) => socket.data?.receive(data),
          drain: (socket) => socket.data?.onDrain(),
          end: (socket) => socket.data?.onInputEnd(),
          close: (socket) => this.closed(socket.data),
          error: (socket, error) => this.failed(socket, error),
        },
      });
    } catch (error) {
      throw listenError(this.lookup.flagName("tcp-address"), address, error);
    }
    this.where = formatAddress(address.hostname, this.listener.port);
    this.lookup.logger.info(`TCP: listening on ${this.where}`);
  }

  get port(): number {
    return this.listener?.port ?? 0;
  }

  /** Stops listening and hangs up on all. */
  close(): void {
    if (this.listener === undefined) return;
    this.lookup.logger.info(`TCP: closing ${this.where}`);
    for (const connection of this.connections) connection.closeGracefully();
    this.listener.stop(true);
    this.listener = undefined;
  }

  private accept(socket: Bun.Socket<Connection | undefined>): void {
    // Undefined, whatever their types say, when the client was gone before it was looked at.
    const { remoteAddress: host, remotePort: port }: { remoteAddress?: string; remotePort?: number } = socket;
    if (host === undefined || port === undefined) return socket.terminate();
    const remoteAddress = formatAddress(host, port);
    this.lookup.logger.info(`TCP: new client(${remoteAddress})`);
    // Answers are small and each is waited for.
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    const connection = new Connection(this.lookup, socket, remoteAddress);
    socket.data = connection;
    this.connections.add(connection);
  }

  private closed(connection: Connection | undefined): void {
    if (connection === undefined) return;
    this.connections.delete(connection);
    connection.onSocketClosed();
  }

  /** An error of the socket, or a defect of ours: that must not become everybody's, so this client goes. */
  private failed(socket: Bun.Socket<Connection | undefined>, error: Error): void {
    this.lookup.logger.error(`client(${socket.data?.remoteAddress ?? "gone"}) - ${error.stack ?? error.message}`);
    socket.terminate();
  }
}
