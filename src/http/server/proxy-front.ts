import { freeBuffer } from "../../base/free-buffer.ts";
import type { Logger } from "../../base/logger.ts";
import { StallWatch } from "../../base/stall.ts";
import { parseListenAddress } from "../../net/address.ts";
import { type ClientConnection, ClientListener } from "../../net/client-listener.ts";
import { Farewells } from "../../net/farewells.ts";
import {
  ConnectionLimit,
  type ConnectionLimitParts,
  type HttpTransport,
  IDLE_AFTER_MS,
  type LimitedConnection,
} from "./connection-limit.ts";
import { type HttpLimits, HttpLoad } from "./load.ts";
import { Proxies } from "./proxies.ts";
import { HTTP } from "./request-id.ts";
import type { HttpFront } from "./server.ts";
import type { TcpProxy } from "./tcp-proxy.ts";

/** Connections are looked at this often: an idle one is closed. */
const SURVEY_INTERVAL_MS = 500;
const TOO_MANY = Buffer.from("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");

/** What a front needs of its server. */
export interface ProxyFrontServices extends Omit<ConnectionLimitParts, "turn"> {
  readonly logger: Pick<Logger, "error">;
  /** Those of another front: the clients of both make room for each other. Not given: the front has its own. */
  readonly connections?: ConnectionLimit | undefined;
}

/**
 * Accepts a server's clients, as many as there are descriptors for, and passes all that they send on to Bun.serve(), which listens
 * on the loopback for it alone and has no limit on connections.
 */
export class ProxyFront implements HttpFront {
  readonly load: HttpLoad;
  readonly connections: ConnectionLimit;
  private readonly listener: ClientListener<PassedOnConnection>;
  private readonly survey: ReturnType<typeof setInterval>;
  private readonly stalls = new StallWatch(SURVEY_INTERVAL_MS, performance.now());
  private readonly farewells = new Farewells();
  private readonly proxies: Proxies;
  private onAllClosed: (() => void) | undefined;

  /**
   * @param transport what clients send through; what they send is passed on as it is
   * @throws StartError if it cannot listen on the address
   */
  constructor(
    services: ProxyFrontServices,
    private readonly limits: HttpLimits,
    address: string,
    addressFlag: string,
    private readonly transport: HttpTransport = "tcp",
  ) {
    this.load = new HttpLoad(limits);
    this.connections = services.connections ?? new ConnectionLimit({ ...services, turn: this });
    this.proxies = new Proxies(this, this.connections, services.rateLimitedLog);
    this.listener = ClientListener.listen<PassedOnConnection>(parseListenAddress(address), addressFlag, {
      accept: (socket) => this.accept(socket),
      onDefect: (error) => services.logger.error(`error in HTTP handler - ${error.stack}`, HTTP),
      onClosed: (connection) => {
        this.connections.remove(connection);
        if (this.listener.connections.size === 0) this.onAllClosed?.();
      },
    });
    this.survey = setInterval(() => this.checkTime(), SURVEY_INTERVAL_MS);
    this.survey.unref();
  }

  private accept(socket: Bun.Socket<PassedOnConnection | undefined>): PassedOnConnection | undefined {
    if (!this.connections.makeRoom()) {
      this.turnAway(socket);
      return undefined;
    }
    const connection = new PassedOnConnection(this, socket);
    this.connections.add(connection, this.transport);
    return connection;
  }

  get steadyMs(): number {
    return performance.now();
  }

  get port(): number {
    return this.listener.port;
  }

  get where(): string {
    return this.listener.where;
  }

  setServerPort(port: number): void {
    this.proxies.serverPort = port;
  }

  clientAddress(address: string, port: number): string | undefined {
    return this.proxies.clientAddress(address, port);
  }

  async stop(): Promise<void> {
    this.listener.stop();
    for (const connection of [...this.listener.connections]) connection.closeUnused();
    if (this.listener.connections.size > 0) {
      const allClosed = new Promise<void>((resolve) => {
        this.onAllClosed = resolve;
      });
      const timer = setTimeout(() => {
        for (const connection of [...this.listener.connections]) connection.abort();
      }, this.limits.stopTimeoutMs);
      await allClosed;
      clearTimeout(timer);
    }
    clearInterval(this.survey);
  }

  /** Closes the listener at once. For a front whose server could not be started. */
  abort(): void {
    this.listener.stop(true);
    clearInterval(this.survey);
  }

  onRequestComplete(port: number): void {
    this.proxies.onRequestComplete(port);
  }

  /** Passes a client on. @returns undefined if there is no descriptor for it: the client is turned away */
  openProxy(client: Bun.Socket<PassedOnConnection | undefined>, first: Buffer): TcpProxy | undefined {
    const proxy = this.proxies.open(client, [first], false);
    if (proxy === undefined) this.turnAway(client);
    return proxy;
  }

  /** A client that speaks TLS could not read why, and would take the text for a broken handshake. */
  private turnAway(client: Bun.Socket<PassedOnConnection | undefined>): void {
    if (this.transport === "tls") client.terminate();
    else this.farewells.say(client, TOO_MANY, true);
  }

  private checkTime(): void {
    const nowMs = this.steadyMs;
    const stalled = this.stalls.check(nowMs) > 0;
    for (const connection of this.listener.connections) connection.checkTime(nowMs, stalled, this.limits.idleTimeoutS * 1000);
  }
}

/** One client's connection, which is passed on with its first bytes. */
class PassedOnConnection implements ClientConnection, LimitedConnection {
  private proxy: TcpProxy | undefined;
  private since: number;
  private isRefused = false;

  constructor(
    private readonly front: ProxyFront,
    private readonly socket: Bun.Socket<PassedOnConnection | undefined>,
  ) {
    this.since = front.steadyMs;
  }

  receive(data: Buffer): void {
    if (this.isRefused) return freeBuffer(data);
    if (this.proxy !== undefined) return this.proxy.onClientData(data);
    this.socket.pause();
    // It is not idle any more, and must not be closed to make room for itself.
    this.since = Number.POSITIVE_INFINITY;
    this.proxy = this.front.openProxy(this.socket, data);
    this.isRefused = this.proxy === undefined;
  }

  onInputEnd(): void {
    if (this.proxy === undefined) this.socket.end();
    else this.proxy.onClientInputEnd();
  }

  onDrain(): void {
    this.proxy?.onClientDrain();
  }

  onSocketClosed(): void {
    this.proxy?.onClientClosed();
  }

  abort(): void {
    this.socket.terminate();
  }

  /** The server stops: what has been passed on is for Bun.serve() to end. */
  closeUnused(): void {
    if (this.proxy === undefined) this.socket.end();
  }

  checkTime(nowMs: number, stalled: boolean, idleTimeoutMs: number): void {
    if (this.proxy !== undefined) return this.proxy.checkTime(nowMs);
    if (stalled) this.since = nowMs;
    if (idleTimeoutMs > 0 && nowMs - this.since >= idleTimeoutMs) this.socket.end();
  }

  get idleSinceMs(): number {
    return this.proxy?.idleSinceMs ?? this.since;
  }

  get idleAfterMs(): number {
    if (this.proxy === undefined) return IDLE_AFTER_MS.unfinished;
    return this.proxy.isInRequest ? IDLE_AFTER_MS.passedOn : IDLE_AFTER_MS.answered;
  }

  closeIdle(): void {
    this.socket.terminate();
  }
}
