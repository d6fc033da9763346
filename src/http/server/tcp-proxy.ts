import type { Logger } from "../../base/logger.ts";
import { HTTP } from "./request-id.ts";
/** Where Bun.serve() listens behind a front, and where its requests come from. */
export const LOOPBACK = "127.0.0.1";
/** How long a client may take to read what is left for it after the server has ended the connection. */
const CLOSE_TIMEOUT_MS = 30_000;

/** The part of the client's socket that a proxy uses. */
export type ProxiedSocket = Pick<Bun.Socket<unknown>, "write" | "end" | "terminate" | "pause" | "resume" | "remoteAddress" | "remotePort">;

/** The front, which connects to the server behind it. */
export interface ProxyHost {
  /** Time by a clock that nobody sets, ms. */
  readonly steadyMs: number;
  /** Makes a connection to the server. The proxy is told by onServerConnected(), or by onServerClosed() if that fails. */
  connect(proxy: TcpProxy): void;
  /** Says which proxy's requests come to the server from a port of the loopback. @param proxy undefined: none's any more */
  setProxyAt(port: number, proxy: TcpProxy | undefined): void;
  /** The connection to the server is closed, or there is none. Called once. */
  onProxyClosed(): void;
}

const ALL_SENT = 0;
const STALLED = 1;
/** The other side is gone. While a side is not read, nothing else tells that. */
const BROKEN = 2;

/** Bytes that one side has sent and the other has not accepted. */
class Backlog {
  private readonly pieces: Buffer[] = [];

  get empty(): boolean {
    return this.pieces.length === 0;
  }

  add(data: Buffer): void {
    this.pieces.push(data);
  }

  writeTo(socket: Pick<Bun.Socket<unknown>, "write">): typeof ALL_SENT | typeof STALLED | typeof BROKEN {
    while (this.pieces.length > 0) {
      const [piece] = this.pieces;
      const sent = socket.write(piece);
      if (sent < 0) {
        this.pieces.length = 0;
        return BROKEN;
      }
      if (sent < piece.length) {
        this.pieces[0] = piece.subarray(sent);
        return STALLED;
      }
      this.pieces.shift();
    }
    return ALL_SENT;
  }
}

/**
 * Carries the bytes of a client to Bun.serve(), and those of Bun.serve() back, unchanged. Neither side is
 * read while the other does not accept what came.
 */
export class TcpProxy {
  private server: Bun.Socket<TcpProxy> | undefined;
  private readonly toServer = new Backlog();
  private readonly toClient = new Backlog();
  private closed = false;
  private isServerClosed = false;
  private localPort = 0;
  /** When the server ended the connection; 0: it has not. */
  private serverEndedMs = 0;
  /** The server is carrying out a request. */
  private isBusy = false;
  /** The last bytes came from the client. */
  isInRequest: boolean;
  /** When bytes last came from either side. */
  private activeMs: number;

  /**
   * @param client its socket is paused
   * @param first what has come of the client's first request for Bun.serve(), and everything after it
   * @param inputEnded whether the client has ended its side
   */
  constructor(
    private readonly host: ProxyHost,
    readonly client: ProxiedSocket,
    first: Buffer[],
    private inputEnded: boolean,
  ) {
    for (const piece of first) this.toServer.add(piece);
    this.activeMs = host.steadyMs;
    this.isInRequest = first.length > 0;
    host.connect(this);
  }

  // ---- events of the client's socket

  /** When something last came or went; Infinity while the server carries out a request, or the client does not take its response. */
  get idleSinceMs(): number {
    return this.isBusy || !this.toClient.empty ? Number.POSITIVE_INFINITY : this.activeMs;
  }

  /** The server has received a whole request. */
  onRequestComplete(): void {
    this.isBusy = true;
  }

  onClientData(data: Buffer): void {
    this.isInRequest = true;
    this.activeMs = this.host.steadyMs;
    this.toServer.add(data);
    this.sendToServer();
    if (!this.toServer.empty) this.client.pause();
  }

  onClientDrain(): void {
    if (!this.sendToClient()) return;
    if (this.serverEndedMs !== 0) this.client.end();
    else this.server?.resume();
  }

  /** The client has ended its side. Bun.serve() is told, and treats it as any client that does. */
  onClientInputEnd(): void {
    this.inputEnded = true;
    this.sendToServer();
  }

  onClientClosed(): void {
    this.closed = true;
    this.server?.end();
  }

  /** How long a client may be silent is for Bun.serve() to decide; but the server may have ended the connection. */
  checkTime(nowMs: number): void {
    if (this.serverEndedMs !== 0 && nowMs - this.serverEndedMs >= CLOSE_TIMEOUT_MS) this.client.terminate();
  }

  // ---- events of the socket to the server

  onServerConnected(server: Bun.Socket<TcpProxy>): void {
    if (this.closed) {
      server.end();
      return;
    }
    this.server = server;
    // Pieces of a request must not wait for each other's acknowledgement by TCP.
    server.setNoDelay(true);
    this.localPort = server.localPort;
    this.host.setProxyAt(this.localPort, this);
    this.sendToServer();
  }

  onServerDrain(): void {
    this.sendToServer();
  }

  onServerData(data: Buffer): void {
    this.isInRequest = this.isBusy = false;
    this.activeMs = this.host.steadyMs;
    this.toClient.add(data);
    if (!this.sendToClient()) this.server?.pause();
  }

  /** The server has ended the connection, or was never reached. */
  onServerClosed(): void {
    if (this.server !== undefined) this.host.setProxyAt(this.localPort, undefined);
    this.server = undefined;
    if (!this.isServerClosed) this.host.onProxyClosed();
    this.isServerClosed = true;
    if (this.closed || this.serverEndedMs !== 0) return;
    this.serverEndedMs = this.host.steadyMs;
    if (this.toClient.empty) this.client.end();
  }

  private sendToServer(): void {
    const { server } = this;
    // A server that closes the connection accepts nothing more. But it may have said why, so what it sent is still read.
    if (server === undefined || this.toServer.writeTo(server) === STALLED) return;
    if (this.inputEnded) server.shutdown();
    else this.client.resume();
  }

  /** @returns whether everything is sent */
  private sendToClient(): boolean {
    const outcome = this.toClient.writeTo(this.client);
    if (outcome === BROKEN) this.client.terminate();
    return outcome === ALL_SENT;
  }
}

/** Makes a proxy's connection to the server on a port of the loopback. */
export function connectProxy(proxy: TcpProxy, port: number, log: Pick<Logger, "error">): void {
  Bun.connect<TcpProxy>({
    hostname: LOOPBACK,
    port,
    allowHalfOpen: true,
    data: proxy,
    socket: {
      open: (socket) => socket.data.onServerConnected(socket),
      data: (socket, data) => socket.data.onServerData(data),
      drain: (socket) => socket.data.onServerDrain(),
      end: (socket) => {
        socket.end();
      },
      close: (socket) => socket.data.onServerClosed(),
      error: () => {},
    },
  }).catch((error: Error) => {
    log.error(`HTTP: cannot pass requests on within the process: ${error.message}`, HTTP);
    proxy.onServerClosed();
  });
}
