import type { Logger } from "../../../base/logger.ts";
import { StallWatch } from "../../../base/stall.ts";
import type { ConnectionLimit, ConnectionLimitParts, HttpTransport } from "../../../http/server/connection-limit.ts";
import { type HttpLimits, HttpLoad } from "../../../http/server/load.ts";
import { Proxies } from "../../../http/server/proxies.ts";
import { HTTP } from "../../../http/server/request-id.ts";
import type { HttpFront } from "../../../http/server/server.ts";
import type { ProxiedSocket, TcpProxy } from "../../../http/server/tcp-proxy.ts";
import { parseListenAddress } from "../../../net/address.ts";
import { ClientListener, UNIX_PEER } from "../../../net/client-listener.ts";
import { Farewells } from "../../../net/farewells.ts";
import type { BrokerOptions } from "../../options.ts";
import { FastPathConnection, type FastPathHost, type PublishServices } from "./connection.ts";
import type { PartialRequestHost } from "./partial-request.ts";
import { Responses } from "./responses.ts";

/** Connections are looked at this often: an idle one is closed. */
const SURVEY_INTERVAL_MS = 500;

/** The listener that a fast path opens. */
export interface FrontListener {
  readonly address: string;
  /** The flag that set the address. */
  readonly addressFlag: string;
  readonly isFast: boolean;
  readonly isPlain: boolean;
}

/** What the fast path needs of its broker. */
export interface FastPathServices extends PublishServices, ConnectionLimitParts {
  readonly options: BrokerOptions;
  readonly turn: PublishServices["turn"];
  readonly httpConnections: ConnectionLimit;
  readonly logger: Logger;
  /** For errors that may come many times a second. */
  readonly rateLimitedLog: Pick<Logger, "error">;
}

/**
 * The fast path of HTTP: accepts the clients of the broker's HTTP address, carries out plain `POST /pub` and `POST /mpub`
 * itself, and passes everything else on to Bun.serve(), which listens on the loopback for it alone. With HTTPS and on unix
 * sockets it passes on everything: Bun.serve() has no limit on connections, so every listener is behind one that has.
 *
 * Bun.serve() takes 11 to 13 µs of CPU for a request with a body before anything is done for it. Here a whole publish costs a
 * recv, a look at some hundred bytes, and its share of the turn's commit and of a send.
 */
export class FastPath implements HttpFront, FastPathHost {
  readonly load: HttpLoad;
  readonly responses = new Responses();
  readonly partialRequests: PartialRequestHost;
  readonly idleTimeoutMs: number;
  readonly isFast: boolean;
  readonly isPlain: boolean;
  isStopping = false;

  private readonly listener: ClientListener<FastPathConnection>;
  private readonly survey: ReturnType<typeof setInterval>;
  private readonly proxies: Proxies;
  private readonly farewells = new Farewells();
  private readonly stalls: StallWatch;
  private readonly isUnix: boolean;
  private onAllClosed: () => void = () => {};

  /** @throws StartError if it cannot listen on the address */
  constructor(
    readonly services: FastPathServices,
    readonly limits: HttpLimits,
    { address, addressFlag, isFast, isPlain }: FrontListener,
  ) {
    this.isFast = isFast;
    this.isPlain = isPlain;
    const parsed = parseListenAddress(address);
    this.isUnix = "unix" in parsed;
    this.load = new HttpLoad(limits);
    this.proxies = new Proxies(services.turn, services.httpConnections, services.rateLimitedLog);
    this.stalls = new StallWatch(SURVEY_INTERVAL_MS, services.turn.steadyMs);
    this.partialRequests = { pool: services.chunks, budget: this.load.bodies.budget, slowBodyMs: limits.slowBodyMs };
    this.idleTimeoutMs = limits.idleTimeoutS === 0 ? Number.POSITIVE_INFINITY : limits.idleTimeoutS * 1000;
    this.listener = ClientListener.listen<FastPathConnection>(parsed, addressFlag, {
      accept: (socket) => this.accept(socket),
      onDefect: (error) => services.logger.error(`error in HTTP handler - ${error.stack}`, HTTP),
      onClosed: (connection) => {
        services.httpConnections.remove(connection);
        if (this.isStopping && this.listener.connections.size === 0) this.onAllClosed();
      },
    });
    this.survey = setInterval(() => this.checkTime(), SURVEY_INTERVAL_MS);
    this.survey.unref();
  }

  private accept(socket: Bun.Socket<FastPathConnection | undefined>): FastPathConnection | undefined {
    const { httpConnections, turn } = this.services;
    turn.readClock();
    if (!httpConnections.makeRoom()) {
      if (this.isPlain) this.farewells.say(socket, this.responses.tooManyConnections, true);
      else socket.terminate();
      return undefined;
    }
    const connection = new FastPathConnection(this, socket);
    httpConnections.add(connection, this.transport);
    return connection;
  }

  private get transport(): HttpTransport {
    if (this.isUnix) return "unix";
    return this.isPlain ? "tcp" : "tls";
  }

  callSoon(connection: FastPathConnection, call: (connection: FastPathConnection) => void): void {
    setImmediate(() => this.listener.guard(connection, call));
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
    const client = this.proxies.clientAddress(address, port);
    return client !== undefined && this.isUnix ? UNIX_PEER : client;
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    this.listener.stop();
    const allClosed = new Promise<void>((resolve) => {
      this.onAllClosed = resolve;
    });
    for (const connection of [...this.listener.connections]) connection.closeGracefully();
    if (this.listener.connections.size > 0) {
      const timer = setTimeout(() => {
        for (const connection of [...this.listener.connections]) connection.abort();
      }, this.limits.stopTimeoutMs);
      await allClosed;
      clearTimeout(timer);
    }
    clearInterval(this.survey);
  }

  /** Closes the listener at once. For a fast path whose server could not be started. */
  abort(): void {
    this.listener.stop(true);
    clearInterval(this.survey);
  }

  openProxy(client: ProxiedSocket, first: Buffer[], inputEnded: boolean): TcpProxy | undefined {
    return this.proxies.open(client, first, inputEnded);
  }

  onRequestComplete(port: number): void {
    this.proxies.onRequestComplete(port);
  }

  private checkTime(): void {
    const { turn } = this.services;
    turn.readClock();
    const nowMs = turn.steadyMs;
    const stalledMs = this.stalls.check(nowMs);
    for (const connection of this.listener.connections) connection.checkTime(nowMs, stalledMs);
  }
}
