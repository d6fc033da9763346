import { DeadlineHeap } from "../../base/deadline-heap.ts";
import type { DescriptorShare } from "../../base/descriptor-budget.ts";
import type { Logger } from "../../base/logger.ts";
import { encodeFrame, FRAME_TYPE_ERROR } from "../../frame/frame.ts";
import { parseListenAddress } from "../../net/address.ts";
import { ClientListener } from "../../net/client-listener.ts";
import { probeSnappy } from "../../net/compression/snappy.ts";
import { Farewells } from "../../net/farewells.ts";
import type { ServerTls } from "../tls-options.ts";
import type { ClientServices } from "./client-services.ts";
import { Connection } from "./connection.ts";
import type { ConnectionHost } from "./connection-host.ts";
import { type Handshake, type HandshakeListener, type PlainTransport, startTls } from "./transport/tls.ts";

/** What its log lines are about. */
const TCP = { part: "tcp" };

/** What the listener needs of its broker. */
export interface ListenerServices extends ClientServices {
  /** For errors that may come many times a second. */
  readonly rateLimitedLog: Pick<Logger, "error">;
  readonly descriptors: { readonly limit: number };
  readonly clientDescriptors: { readonly tcp: Pick<DescriptorShare, "take" | "giveBack"> };
}

/** The listener on --tcp-address. It makes a connection for each client that it accepts. */
export class TcpListener implements ConnectionHost {
  /** The open connections, by their ids. */
  readonly connections = new Map<number, Connection>();
  /** Clients that were turned away: they were more than --max-connections, or than there are descriptors for. */
  refused = 0;

  /** The connections, by when they are to be checked. */
  private readonly deadlines = new DeadlineHeap<Connection>();
  private listener: ClientListener<Connection> | undefined;
  private nextConnectionId = 1;
  private readonly farewells = new Farewells();
  private isSnappyUsable: boolean | undefined;

  constructor(private readonly services: ListenerServices) {}

  /** @throws StartError if it cannot listen on the address */
  listen(): void {
    const { logger, options } = this.services;
    this.listener = ClientListener.listen<Connection>(parseListenAddress(options.tcpAddress), "tcp-address", {
      accept: (socket, remoteAddress) => this.accept(socket, remoteAddress),
      onDefect: (error, connection) => logger.error(`client(${connection?.remoteAddress}) - ${error.stack}`, connection),
      onSocketError: (error, connection) => logger.error(`client(${connection?.remoteAddress}) - ${error.message}`, connection),
      onClosed: ({ id }) => {
        this.connections.delete(id);
        this.services.clientDescriptors.tcp.giveBack(1);
      },
    });
    logger.info(`TCP: listening on ${this.listener.where}`, TCP);
  }

  /** Accepts no more clients. @param abortAll cuts all connections, too */
  stop(abortAll = false): void {
    this.listener?.stop(abortAll);
  }

  /** The broker shuts down: each client still gets what is ready for it, and its connection ends. */
  closeConnections(): void {
    for (const connection of [...this.connections.values()]) {
      connection.shutDown();
      this.listener?.onSocketClosed(connection);
    }
  }

  // ---- time

  checkAt(connection: Connection, atMs: number): void {
    this.deadlines.set(connection, atMs);
    this.services.turn.wakeAt(this.deadlines.nextMs);
  }

  /** When a connection is to be checked next, ms; Infinity: none is. */
  get nextCheckMs(): number {
    return this.deadlines.nextMs;
  }

  /** Checks the connections that have a deadline. */
  checkTime(nowMs: number): void {
    for (;;) {
      const connection = this.deadlines.takeDue(nowMs);
      if (connection === undefined) return;
      this.guard(connection, (due) => due.checkTime(nowMs));
    }
  }

  /** For `byMs` the broker did nothing: that counts for no client. */
  excuse(byMs: number, nowMs: number): void {
    for (const connection of this.connections.values()) connection.excuse(byMs, nowMs);
  }

  /** The clients that have published. */
  get producerCount(): number {
    let count = 0;
    for (const { publisher } of this.connections.values()) if (publisher.hasPublished) count++;
    return count;
  }

  /** 0 for a unix socket. */
  get port(): number {
    return this.listener?.port ?? 0;
  }

  private accept(socket: Bun.Socket<Connection | undefined>, remoteAddress: string): Connection | undefined {
    const { logger, options } = this.services;
    const { maxConnections } = options;
    if (maxConnections > 0 && this.connections.size >= maxConnections) {
      this.refused++;
      logger.warn(
        `TCP: refused client(${remoteAddress}): ${maxConnections} are connected, see -max-connections (${this.refused} refused so far)`,
        { part: "tcp", client: remoteAddress },
      );
      this.turnAway(socket, `${maxConnections} clients are connected`, false);
      return undefined;
    }
    if (!this.takeDescriptor()) {
      this.refused++;
      const { limit } = this.services.descriptors;
      this.services.rateLimitedLog.error(`TCP: refusing clients: this process may have ${limit} open files, see ulimit -n`, TCP);
      this.turnAway(socket, "no file descriptor is left for more clients", true);
      return undefined;
    }
    const connection = new Connection(this.services, this, this.nextConnectionId++, socket, remoteAddress);
    this.connections.set(connection.id, connection);
    logger.info(`TCP: new client(${remoteAddress})`, { part: "tcp", client: remoteAddress });
    return connection;
  }

  /** Takes a client's descriptor. If none is left, the client that has been silent longest since it connected makes room. */
  private takeDescriptor(): boolean {
    const share = this.services.clientDescriptors.tcp;
    if (share.take(1)) return true;
    for (const connection of this.connections.values()) {
      if (connection.hasSpoken) continue;
      this.services.rateLimitedLog.error("TCP: closing clients that have sent nothing: no file descriptor is left for others", TCP);
      connection.abort();
      this.listener?.onSocketClosed(connection);
      return share.take(1);
    }
    return false;
  }

  private turnAway(socket: Bun.Socket<Connection | undefined>, reason: string, isScarce: boolean): void {
    this.farewells.say(socket, encodeFrame(FRAME_TYPE_ERROR, `E_TOO_MANY_CONNECTIONS ${reason}`), isScarce);
  }

  // ---- what connections ask for

  /** Tried when the first client asks for snappy. */
  get hasSnappy(): boolean {
    if (this.isSnappyUsable === undefined) {
      const problem = probeSnappy();
      this.isSnappyUsable = problem === undefined;
      if (problem !== undefined)
        this.services.logger.error(
          `snappy cannot be offered: ${problem.message}; the binary needs a TMPDIR that it may write to for it`,
          TCP,
        );
    }
    return this.isSnappyUsable;
  }

  startTls(socket: PlainTransport, connection: Connection, listener: HandshakeListener): Handshake {
    const { options, tls } = this.services;
    const policy = { tls: tls as ServerTls, clientAuthPolicy: options.tlsClientAuthPolicy };
    return startTls(socket, connection, listener, this.listener as ClientListener<Connection>, policy);
  }

  guard(connection: Connection, call: (connection: Connection) => void): void {
    // A benchmark has connections without a listener.
    if (this.listener === undefined) call(connection);
    else this.listener.guard(connection, call);
  }

  /** Tick, at its end: a connection sends what the turn has brought. */
  flush(connection: Connection): void {
    this.guard(connection, callFlush);
  }
}

// Defined here, because a function at the place of its use would be created for each call.
const callFlush = (connection: Connection): void => connection.flush();
