import { giveBack } from "../base/free-buffer.ts";
import { formatAddress } from "./address.ts";

/** A connection as the events of its socket reach it. */
export interface GuardedConnection {
  /** Bytes from the other side. The buffer is the connection's. */
  receive(data: Buffer): void;
  /** The socket takes bytes again. */
  onDrain(): void;
  /** The other side has ended its output. */
  onInputEnd(): void;
  /** Cuts the connection now. */
  abort(): void;
}

/** What accepts connections: a listener. */
export interface ConnectionOwner<Connection> {
  /** Called before each event that a connection hears of, so that time is read once for all that the event causes. */
  readClock(): void;
  /** A connection's socket is closed. */
  onSocketClosed(connection: Connection): void;
  /** A defect showed in a connection, which is cut next. */
  onFault(connection: Connection, error: Error): void;
  /** A socket failed; Bun closes it next. @param connection undefined: it has none yet, or none any more */
  onSocketError(connection: Connection | undefined, error: Error): void;
}

/** The events of a socket whose `data` is its connection. */
export interface SocketEvents<Connection> {
  data(socket: Bun.Socket<Connection | undefined>, data: Buffer): void;
  drain(socket: Bun.Socket<Connection | undefined>): void;
  end(socket: Bun.Socket<Connection | undefined>): void;
  close(socket: Bun.Socket<Connection | undefined>): void;
  error(socket: Bun.Socket<Connection | undefined>, error: Error): void;
}

/**
 * Hands the events of sockets to their connections, so that a defect that shows in one connection ends that one and not
 * the server: its stack goes to the log, and its socket is cut.
 */
export class SocketGuard<Connection extends GuardedConnection> {
  /** What Bun.listen() and upgradeTLS() take, beside `open` and `handshake`. A socket without a connection is ignored. */
  readonly events: SocketEvents<Connection> = {
    data: (socket, data) => this.receive(socket.data, data),
    drain: (socket) => this.drain(socket.data),
    end: (socket) => this.endInput(socket.data),
    close: (socket) => {
      if (socket.data !== undefined) this.owner.onSocketClosed(socket.data);
    },
    error: (socket, error) => this.owner.onSocketError(socket.data, error),
  };

  constructor(private readonly owner: ConnectionOwner<Connection>) {}

  /** Runs something that a connection waited for, as if its socket had brought it. */
  run(connection: Connection, action: () => void): void {
    this.owner.readClock();
    try {
      action();
    } catch (error) {
      this.fault(connection, error as Error);
    }
  }

  /** A defect showed in a connection: it is cut. */
  fault(connection: Connection, error: Error): void {
    this.owner.onFault(connection, error);
    connection.abort();
  }

  private receive(connection: Connection | undefined, data: Buffer): void {
    // Below TLS, Bun brings what is on the wire, too.
    if (connection === undefined) return giveBack(data);
    this.owner.readClock();
    try {
      connection.receive(data);
    } catch (error) {
      this.fault(connection, error as Error);
    }
  }

  private drain(connection: Connection | undefined): void {
    if (connection === undefined) return;
    this.owner.readClock();
    try {
      connection.onDrain();
    } catch (error) {
      this.fault(connection, error as Error);
    }
  }

  private endInput(connection: Connection | undefined): void {
    if (connection === undefined) return;
    this.owner.readClock();
    try {
      connection.onInputEnd();
    } catch (error) {
      this.fault(connection, error as Error);
    }
  }
}

/** `ip:port` of a socket's other side; undefined for a unix socket, and for a client that was gone before it was looked at. */
export function remoteAddressOf({
  remoteAddress: host,
  remotePort: port,
}: {
  remoteAddress?: string;
  remotePort?: number;
}): string | undefined {
  return host === undefined || port === undefined ? undefined : formatAddress(host, port);
}
