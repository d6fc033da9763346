import { formatAddress, listenError, parseAddress } from "../base/address.ts";
import type { Logger } from "../base/logger.ts";
import { Connection } from "./connection.ts";
import type { LookupOptions } from "./options.ts";
import { Registry } from "./registry.ts";

/** After so long without a word the kernel asks whether the other side is still there, as Go lets it. */
const KEEP_ALIVE_MS = 15_000;

/** What the lookup server knows, and its TCP side, through which brokers register. */
export class Lookup {
  readonly registry: Registry;
  /** Of the HTTP side, once it is up: brokers are told. */
  httpPort = 0;
  private readonly connections = new Set<Connection>();
  private listener: Bun.TCPSocketListener<Connection> | undefined;
  private where = "";

  constructor(
    readonly options: LookupOptions,
    readonly log: Logger,
    private readonly flagPrefix = "",
  ) {
    this.registry = new Registry(options);
  }

  /** @throws StartError when the address cannot be had */
  listen(): void {
    const address = parseAddress(this.options.tcpAddress);
    try {
      this.listener = Bun.listen<Connection>({
        ...address,
        // A client that ends its side still gets its answers.
        allowHalfOpen: true,
        socket: {
          open: (socket) => this.accept(socket),
          data: (socket, data) => socket.data.receive(data),
          drain: (socket) => socket.data.drained(),
          end: (socket) => socket.data.end(),
          close: (socket) => this.closed(socket.data),
          error: (socket, error) => this.log.error(`client(${socket.data?.remoteAddress}) - ${error.message}`),
        },
      });
    } catch (error) {
      throw listenError(this.flag("tcp-address"), address, error);
    }
    this.where = formatAddress(address.hostname, this.listener.port);
    this.log.info(`TCP: listening on ${this.where}`);
  }

  /** The name of a flag, as it was given on the command line. */
  flag(name: string): string {
    return this.flagPrefix + name;
  }

  get tcpPort(): number {
    return this.listener?.port ?? 0;
  }

  /** Stops listening and hangs up on all. */
  close(): void {
    if (this.listener === undefined) return;
    this.log.info(`TCP: closing ${this.where}`);
    for (const connection of this.connections) connection.hangUp();
    this.listener.stop(true);
    this.listener = undefined;
  }

  private accept(socket: Bun.Socket<Connection>): void {
    const remoteAddress = formatAddress(socket.remoteAddress, socket.remotePort);
    this.log.info(`TCP: new client(${remoteAddress})`);
    // Answers are small and each is waited for.
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    socket.data = new Connection(this, socket, remoteAddress);
    this.connections.add(socket.data);
  }

  private closed(connection: Connection): void {
    this.connections.delete(connection);
    connection.socketClosed();
  }
}
