import { freeBuffer } from "../base/free-buffer.ts";
import { formatAddress, type ListenAddress, listenError, showListenAddress } from "./address.ts";

/** Go shows this as the address of a unix socket's client. */
export const UNIX_PEER = "@";

/** A client's connection, as the listener that accepted it drives it. */
export interface ClientConnection {
  /** Bytes from the client. The buffer is the connection's. */
  receive(data: Buffer): void;
  /** The socket accepts bytes again. */
  onDrain(): void;
  /** The client has ended its side. It may still read. */
  onInputEnd(): void;
  /** The socket is closed. Called once. */
  onSocketClosed(): void;
  /** Cuts the connection now. */
  abort(): void;
}

/** How a server handles the clients that its listener accepts. */
export interface ListenerEvents<Connection extends ClientConnection> {
  /**
   * Makes the connection of a new client.
   *
   * @param remoteAddress `ip:port`, or `@` for a client of a unix socket
   * @returns undefined for a client that is turned away; its socket is for this function to end
   */
  accept(socket: Bun.Socket<Connection | undefined>, remoteAddress: string): Connection | undefined;
  /** accept() or a connection threw: a defect of ours, to be logged. The client is cut afterwards. */
  onDefect(error: Error, connection: Connection | undefined): void;
  /** A socket failed; it closes next. The connection is undefined if the client was turned away. */
  onSocketError?(error: Error, connection: Connection | undefined): void;
  /** Called after a connection's onSocketClosed(). */
  onClosed?(connection: Connection): void;
}

/**
 * Accepts clients, and passes the events of each socket to its connection. An exception that a connection throws ends that
 * connection only.
 */
export class ClientListener<Connection extends ClientConnection> {
  /** The connections that are open. */
  readonly connections = new Set<Connection>();
  private listener: Bun.TCPSocketListener<Connection | undefined> | undefined;

  private constructor(
    private readonly address: ListenAddress,
    private readonly events: ListenerEvents<Connection>,
  ) {}

  /**
   * Opens a listener.
   *
   * @param flag the flag that set the address, for instance `tcp-address`
   * @throws StartError if it cannot listen on the address
   */
  static listen<Connection extends ClientConnection>(
    address: ListenAddress,
    flag: string,
    events: ListenerEvents<Connection>,
  ): ClientListener<Connection> {
    const listener = new ClientListener(address, events);
    try {
      listener.listener = Bun.listen<Connection | undefined>({
        // The address is either kind. Bun's types ask for one of them.
        ...(address as { hostname: string; port: number }),
        // A client that ends its side still gets its answers.
        allowHalfOpen: true,
        socket: {
          open: (socket) => listener.accept(socket),
          data: (socket, data) => listener.receive(socket.data, data),
          drain: (socket) => listener.onDrain(socket.data),
          end: (socket) => listener.onInputEnd(socket.data),
          close: (socket) => listener.onSocketClosed(socket.data),
          error: (socket, error) => listener.onSocketError(socket.data, error),
        },
      });
    } catch (error) {
      throw listenError(flag, address, error);
    }
    return listener;
  }

  /** 0 for a unix socket. */
  get port(): number {
    return this.listener?.port ?? 0;
  }

  /** The address with the port that the listener has, for the log. */
  get where(): string {
    return showListenAddress(this.address, this.port);
  }

  /** Accepts no more clients. @param abortAll cuts all connections too */
  stop(abortAll = false): void {
    this.listener?.stop(abortAll);
  }

  // ---- events of a socket. A layer above the socket, such as TLS, calls these methods instead of the socket.

  receive(connection: Connection | undefined, data: Buffer): void {
    // The bytes of a client that was turned away, and those below a layer, are not read.
    if (connection === undefined) return freeBuffer(data);
    try {
      connection.receive(data);
    } catch (error) {
      this.abortDefective(connection, error);
    }
  }

  onDrain(connection: Connection | undefined): void {
    if (connection !== undefined) this.guard(connection, callOnDrain);
  }

  onInputEnd(connection: Connection | undefined): void {
    if (connection !== undefined) this.guard(connection, callOnInputEnd);
  }

  /** May be called more than once, because a layer and the socket below it both close. */
  onSocketClosed(connection: Connection | undefined): void {
    if (connection === undefined || !this.connections.delete(connection)) return;
    this.guard(connection, callOnSocketClosed);
    this.events.onClosed?.(connection);
  }

  onSocketError(connection: Connection | undefined, error: Error): void {
    this.events.onSocketError?.(error, connection);
  }

  /** Calls a connection outside of its socket's events. An exception ends that connection only. */
  guard(connection: Connection, call: (connection: Connection) => void): void {
    try {
      call(connection);
    } catch (error) {
      this.abortDefective(connection, error);
    }
  }

  private accept(socket: Bun.Socket<Connection | undefined>): void {
    // They are undefined, whatever their types say, if the client left before it was accepted.
    const { remoteAddress: host, remotePort: port }: { remoteAddress?: string; remotePort?: number } = socket;
    const isKnown = host !== undefined && port !== undefined;
    if (!isKnown && !("unix" in this.address)) return socket.terminate();
    try {
      const connection = this.events.accept(socket, isKnown ? formatAddress(host, port) : UNIX_PEER);
      if (connection === undefined) return;
      socket.data = connection;
      this.connections.add(connection);
    } catch (error) {
      this.events.onDefect(asError(error), undefined);
      socket.terminate();
    }
  }

  private abortDefective(connection: Connection, error: unknown): void {
    this.events.onDefect(asError(error), connection);
    connection.abort();
  }
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

// Defined here, because a function at the place of its use would be created anew for each event.
const callOnDrain = (connection: ClientConnection): void => connection.onDrain();
const callOnInputEnd = (connection: ClientConnection): void => connection.onInputEnd();
const callOnSocketClosed = (connection: ClientConnection): void => connection.onSocketClosed();
