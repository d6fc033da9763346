import { encodeFrame, FRAME_TYPE_ERROR } from "../../frame/frame.ts";
import { parseListenAddress } from "../../net/address.ts";
import { ClientListener } from "../../net/client-listener.ts";
import { probeSnappy } from "../../net/compression/snappy.ts";
import type { Broker } from "../broker.ts";
import type { ServerTls } from "../tls-options.ts";
import { Connection } from "./connection.ts";
import { type Handshake, startTls } from "./transport/tls.ts";
import type { PlainTransport } from "./transport/transport.ts";

/** A client that was turned away has so long to read why, and so many at a time. */
const LEAVING_MS = 1000;
const MAX_LEAVING = 256;

type Socket = Bun.Socket<Connection | undefined>;

/**
 * The listener on --tcp-address: makes a connection for each client that it accepts, and tells it what becomes of its socket.
 * A defect that shows in one connection ends that one, not the broker.
 */
export class TcpListener {
  /** By their ids. */
  readonly connections = new Map<number, Connection>();
  /** Clients that were turned away, being more than -max-connections. */
  refused = 0;

  private listener: ClientListener<Connection> | undefined;
  private nextConnectionId = 1;
  private leaving = 0;
  private snappyWorks: boolean | undefined;

  constructor(private readonly broker: Broker) {}

  /** @throws StartError when the address cannot be had */
  listen(): void {
    const { log, options } = this.broker;
    this.listener = ClientListener.listen<Connection>(parseListenAddress(options.tcpAddress), "tcp-address", {
      accept: (socket, remoteAddress) => this.accept(socket, remoteAddress),
      onDefect: (error, connection) => log.error(`client(${connection?.remoteAddress}) - ${error.stack}`),
      onSocketError: (error, connection) => log.error(`client(${connection?.remoteAddress}) - ${error.message}`),
      onClosed: ({ id }) => this.connections.delete(id),
    });
    log.info(`TCP: listening on ${this.listener.where}`);
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
      this.listener?.onSocketClosed(connection);
    }
  }

  /** 0 for a unix socket. */
  get port(): number {
    return this.listener?.port ?? 0;
  }

  // ---- who comes

  private accept(socket: Socket, remoteAddress: string): Connection | undefined {
    const { broker } = this;
    const { maxConnections } = broker.options;
    if (maxConnections > 0 && this.connections.size >= maxConnections) {
      this.refuse(socket, remoteAddress);
      return undefined;
    }
    const connection = new Connection(broker, this.nextConnectionId++, socket, remoteAddress);
    this.connections.set(connection.id, connection);
    broker.log.info(`TCP: new client(${remoteAddress})`);
    return connection;
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
    return startTls(
      connection,
      socket,
      this.broker.tls as ServerTls,
      this.broker.options.tlsClientAuthPolicy,
      this.listener as ClientListener<Connection>,
    );
  }

  // ---- what becomes of them

  /** Calls a connection outside of its socket's events. An exception ends that connection only. */
  guard(connection: Connection, call: (connection: Connection) => void): void {
    // A bench drives connections without a listener.
    if (this.listener === undefined) call(connection);
    else this.listener.guard(connection, call);
  }

  /** Tick, at its end: a connection sends what was put together. */
  flush(connection: Connection): void {
    this.guard(connection, callFlush);
  }
}

// Here, because a function where it is used would be made anew for each call.
const callFlush = (connection: Connection): void => connection.flush();
