import type { Logger } from "../../base/logger.ts";
import { RateLimitedLog } from "../../base/rate-limited-log.ts";
import { type Address, formatAddress, formatHost, listenError, parseAddress, parseRemoteAddress } from "../../net/address.ts";
import type { CloseReason, Connection, ConnectionEvents, Network, NetworkListener } from "./network.ts";

/** PEM texts of mutual TLS: each end shows its certificate, and trusts those that `ca` vouches for. */
export interface NetworkTls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Whoever connects and says nothing is cut after this time. */
const HANDSHAKE_SECONDS = 10;
/** No more wait for a handshake. The oldest is cut then: whoever makes many must not use up what the process may open. */
const MOST_HANDSHAKES = 256;

/** Real sockets, with mutual TLS if certificates are given. */
export class SocketNetwork implements Network {
  /** About whoever connects. */
  private readonly strangers: RateLimitedLog;

  /** @param flag that sets the address to listen on, for errors */
  constructor(
    private readonly flag: string,
    private readonly logger: Logger,
    private readonly tls?: NetworkTls,
  ) {
    this.strangers = new RateLimitedLog(logger);
  }

  listen(text: string, onConnection: (connection: Connection) => ConnectionEvents): NetworkListener {
    const address = parseAddress(text);
    const { tls } = this;
    const accept = (socket: Bun.Socket<SocketConnection | undefined>) => {
      const connection = new SocketConnection(formatAddress(socket.remoteAddress, socket.remotePort), this.logger);
      socket.data = connection;
      connection.accepted(socket, onConnection);
    };
    const shaking = new Set<Bun.Socket<SocketConnection | undefined>>();
    const { close, ...others } = handlersOf((socket: Bun.Socket<SocketConnection | undefined>) => socket.data);
    const handlers: Bun.SocketHandler<SocketConnection | undefined> = {
      ...others,
      close: (socket, error) => {
        shaking.delete(socket);
        close(socket, error);
      },
      ...(tls === undefined
        ? { open: accept }
        : {
            open: (socket) => {
              socket.timeout(HANDSHAKE_SECONDS);
              const [oldest] = shaking;
              if (shaking.add(socket).size > MOST_HANDSHAKES) oldest?.terminate();
            },
            timeout: (socket) => void socket.terminate(),
            handshake: (socket, isDone, problem) => {
              socket.timeout(0);
              shaking.delete(socket);
              if (isTrusted(isDone, problem)) return accept(socket);
              this.strangers.error(`replication: ${formatHost(socket.remoteAddress)} is refused: ${problem?.message}`);
              socket.terminate();
            },
          }),
    };
    try {
      const listener = Bun.listen<SocketConnection | undefined>({
        ...address,
        socket: handlers,
        ...(tls === undefined ? {} : { tls: { ...tls, requestCert: true, rejectUnauthorized: true } }),
      });
      return { address: formatAddress(address.hostname, listener.port), close: () => listener.stop(false) };
    } catch (error) {
      throw listenError(this.flag, address, error);
    }
  }

  connect(text: string, events: ConnectionEvents): Connection {
    const connection = new SocketConnection(text, this.logger, events);
    try {
      this.open(parseRemoteAddress(text), connection);
    } catch (error) {
      // Addresses come from etcd, where anybody may have put something else.
      connection.failedToConnect(error as Error);
    }
    return connection;
  }

  private open({ hostname, port }: Address, connection: SocketConnection): void {
    const { tls } = this;
    const open = (socket: Bun.Socket<undefined>) => connection.opened(socket);
    const handlers: Bun.SocketHandler<undefined> = {
      ...handlersOf(() => connection),
      ...(tls === undefined
        ? { open }
        : {
            open: (socket: Bun.Socket<undefined>) => connection.connected(socket),
            handshake: (socket, isDone, problem) => {
              if (isTrusted(isDone, problem)) open(socket);
              else connection.fail("failed", problem?.message ?? "the other end's certificate was refused");
            },
          }),
      connectError: (_socket, error) => connection.failedToConnect(error),
    };
    const options = { hostname, port, socket: handlers, data: undefined };
    Bun.connect(tls === undefined ? options : { ...options, tls: { ...tls, serverName: hostname, rejectUnauthorized: true } }).catch(
      (error: Error) => connection.failedToConnect(error),
    );
  }
}

/** Bun says that a handshake is done also when it does not trust the certificate, and ends the connection afterwards. */
function isTrusted(isDone: boolean, problem: Error | null | undefined): boolean {
  return isDone && !problem;
}

type AnySocket = Bun.Socket<SocketConnection | undefined> | Bun.Socket<undefined>;

/** The handlers that both ends have. */
function handlersOf<Data>(connectionOf: (socket: Bun.Socket<Data>) => SocketConnection | undefined) {
  return {
    data: (socket: Bun.Socket<Data>, bytes: Buffer) => connectionOf(socket)?.received(bytes),
    drain: (socket: Bun.Socket<Data>) => connectionOf(socket)?.drained(),
    close: (socket: Bun.Socket<Data>, error?: Error) =>
      connectionOf(socket)?.fail(error === undefined ? "closed" : "reset", error?.message ?? "closed"),
    error: (socket: Bun.Socket<Data>, error: Error) => connectionOf(socket)?.fail("reset", error.message),
  };
}

class SocketConnection implements Connection {
  private socket: AnySocket | undefined;
  private isOpen = false;
  private isClosed = false;
  private wantsDrain = false;

  constructor(
    readonly remote: string,
    private readonly logger: Logger,
    private events?: ConnectionEvents,
  ) {}

  write(bytes: Uint8Array, offset: number, length: number): number {
    if (!this.isOpen || this.isClosed) return 0;
    const accepted = Math.max(0, this.socket?.write(bytes, offset, length) ?? 0);
    if (accepted < length) this.wantsDrain = true;
    return accepted;
  }

  pause(): void {
    this.socket?.pause();
  }

  resume(): void {
    this.socket?.resume();
  }

  close(): void {
    this.isOpen = false;
    if (this.socket === undefined) this.abort();
    else this.socket.end();
  }

  abort(): void {
    this.fail("aborted", "aborted");
  }

  // ---- what its socket tells

  /** The socket is there, and TLS is not yet. */
  connected(socket: AnySocket): void {
    this.socket = socket;
    if (this.isClosed) socket.terminate();
  }

  /** A connection of ours can be written to. */
  opened(socket: AnySocket): void {
    this.connected(socket);
    if (this.isClosed) return;
    this.isOpen = true;
    this.guard(() => this.events?.onOpen());
  }

  accepted(socket: AnySocket, onConnection: (connection: Connection) => ConnectionEvents): void {
    this.socket = socket;
    this.isOpen = true;
    this.guard(() => {
      this.events = onConnection(this);
    });
  }

  received(bytes: Buffer): void {
    if (!this.isClosed) this.guard(() => this.events?.onData(bytes));
  }

  drained(): void {
    if (!this.wantsDrain || !this.isOpen) return;
    this.wantsDrain = false;
    this.guard(() => this.events?.onDrain());
  }

  failedToConnect(error: Error): void {
    this.fail("code" in error && error.code === "ECONNREFUSED" ? "refused" : "failed", error.message);
  }

  fail(reason: CloseReason, why: string): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.isOpen = false;
    this.socket?.terminate();
    // Its owner is not called from within its own call.
    queueMicrotask(() => this.guard(() => this.events?.onClosed(reason, why)));
  }

  /** A defect of the owner's ends this connection only. */
  private guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.logger.error(`replication: a connection to ${this.remote} failed by a defect: ${(error as Error).stack}`);
      this.fail("failed", "a defect of this program");
    }
  }
}
