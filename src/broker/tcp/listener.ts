import { encodeFrame, FRAME_TYPE_ERROR } from "../../frame/frame.ts";
import { listenError, parseListenAddress, showListenAddress } from "../../net/address.ts";
import { probeSnappy } from "../../net/compression/snappy.ts";
import { type ConnectionOwner, remoteAddressOf, SocketGuard } from "../../net/guarded-socket.ts";
import type { Broker } from "../broker.ts";
import type { ServerTls } from "../tls-options.ts";
import { Connection } from "./connection.ts";
import { type Handshake, startTls } from "./transport/tls.ts";
import type { PlainTransport } from "./transport/transport.ts";

/** What stands for the address of a unix socket's client, as Go shows it. */
const SOCKET_PEER = "@";
/** A client that was turned away has so long to read why, and so many at a time. */
const LEAVING_MS = 1000;
const MAX_LEAVING = 256;

type Socket = Bun.Socket<Connection | undefined>;

/**
 * The listener on --tcp-address: makes a connection for each client that it accepts, and tells it what becomes of its socket.
 * A defect that shows in one connection ends that one, not the broker.
 */
export class TcpListener implements ConnectionOwner<Connection> {
  /** By their ids. */
  readonly connections = new Map<number, Connection>();
  /** Clients that were turned away, being more than -max-connections. */
  refused = 0;

  /** Its connections' defects end at it. */
  readonly guard = new SocketGuard<Connection>(this);

  private listener: Bun.TCPSocketListener<Connection | undefined> | undefined;
  private onSocketPath = false;
  private nextConnectionId = 1;
  private leaving = 0;
  private snappyWorks: boolean | undefined;

  constructor(private readonly broker: Broker) {}

  /** @throws StartError when the address cannot be had */
  listen(): void {
    const address = parseListenAddress(this.broker.options.tcpAddress);
    this.onSocketPath = "unix" in address;
    try {
      this.listener = Bun.listen<Connection | undefined>({
        // Either of the two; Bun's types ask for one of them.
        ...(address as { hostname: string; port: number }),
        allowHalfOpen: true,
        socket: {
          ...this.guard.events,
          open: (socket) => this.accept(socket),
        },
      });
    } catch (error) {
      throw listenError("tcp-address", address, error);
    }
    this.broker.log.info(`TCP: listening on ${showListenAddress(address, this.listener.port)}`);
  }

  /** Takes nobody new. @param hangUp cuts all connections too */
  stop(hangUp = false): void {
    this.listener?.stop(hangUp);
  }

  /** The broker goes down: sends each client what was put together for it, and ends our side. */
  closeConnections(): void {
    for (const connection of [...this.connections.values()]) {
      connection.flush();
      connection.leave();
      this.onSocketClosed(connection);
    }
  }

  /** 0 for a unix socket. */
  get port(): number {
    return this.listener?.port ?? 0;
  }

  // ---- who comes

  private accept(socket: Socket): void {
    const { broker } = this;
    const address = remoteAddressOf(socket) ?? (this.onSocketPath ? SOCKET_PEER : undefined);
    if (address === undefined) return socket.terminate();
    const { maxConnections } = broker.options;
    if (maxConnections > 0 && this.connections.size >= maxConnections) return this.refuse(socket, address);
    const connection = new Connection(broker, this.nextConnectionId++, socket, address);
    socket.data = connection;
    this.connections.set(connection.id, connection);
    broker.log.info(`TCP: new client(${connection.remoteAddress})`);
  }

  /** One client too many. It is told so, if it listens. */
  private refuse(socket: Socket, address: string): void {
    const most = this.broker.options.maxConnections;
    this.refused++;
    this.broker.log.warn(`TCP: refused client(${address}): ${most} are connected, see -max-connections (${this.refused} refused so far)`);
    socket.write(encodeFrame(FRAME_TYPE_ERROR, `E_TOO_MANY_CONNECTIONS ${most} clients are connected`));
    socket.end();
    if (this.leaving >= MAX_LEAVING) return socket.terminate();
    this.leaving++;
    setTimeout(() => {
      this.leaving--;
      socket.terminate();
    }, LEAVING_MS);
  }

  /** Whether a client that asks for snappy gets it. Tried when the first one asks. */
  offersSnappy(): boolean {
    const { options, log } = this.broker;
    if (!options.snappy) return false;
    if (this.snappyWorks === undefined) {
      const problem = probeSnappy();
      this.snappyWorks = problem === undefined;
      if (problem !== undefined)
        log.error(`snappy cannot be offered: ${problem.message}; the binary needs a TMPDIR that it may write to for it`);
    }
    return this.snappyWorks;
  }

  /** Begins TLS on a client's socket; its layers hear how it goes. */
  startTls(connection: Connection, socket: PlainTransport): Handshake {
    return startTls(connection, socket, this.broker.tls as ServerTls, this.broker.options.tlsClientAuthPolicy, this.guard.events);
  }

  // ---- what becomes of them

  readClock(): void {
    this.broker.readClock();
  }

  /** Tick, at its end: a connection sends what was put together. */
  flush(connection: Connection): void {
    try {
      connection.flush();
    } catch (error) {
      this.guard.fault(connection, error as Error);
    }
  }

  onSocketClosed(connection: Connection): void {
    if (connection.closed) return;
    this.broker.log.info(`PROTOCOL(V2): [${connection.remoteAddress}] exiting ioloop`);
    connection.onSocketClosed();
    this.connections.delete(connection.id);
  }

  onFault(connection: Connection, error: Error): void {
    this.broker.log.error(`client(${connection.remoteAddress}) - ${error.stack}`);
  }

  onSocketError(connection: Connection | undefined, error: Error): void {
    this.broker.log.error(`client(${connection?.remoteAddress}) - ${error.message}`);
  }
}
