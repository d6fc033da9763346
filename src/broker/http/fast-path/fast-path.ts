import type { Logger } from "../../../base/logger.ts";
import { type HttpFront, type HttpLimits, HttpLoad } from "../../../http/server/server.ts";
import { formatAddress, parseAddress } from "../../../net/address.ts";
import { ClientListener } from "../../../net/client-listener.ts";
import type { BrokerOptions } from "../../options.ts";
import { FastPathConnection, type FastPathHost, type PublishServices } from "./connection.ts";
import { type ProxiedSocket, type ProxyHost, TcpProxy } from "./proxy.ts";
import { Responses } from "./responses.ts";

/** Connections are looked at this often: an idle one is closed. */
const SURVEY_INTERVAL_MS = 500;
/** If they were not looked at for this long, the process was stopped or held up. */
const STALL_MS = 1500;

/** What the fast path needs of its broker. */
export interface FastPathServices extends PublishServices {
  readonly options: BrokerOptions;
  readonly logger: Logger;
  /** For errors that may come many times a second. */
  readonly rateLimitedLog: { error(text: string): void };
}

/**
 * The fast path of HTTP: accepts the clients of the broker's HTTP address, carries out plain `POST /pub` and `POST /mpub`
 * itself, and passes everything else on to Bun.serve(), which listens on the loopback for it alone.
 *
 * Bun.serve() takes 11 to 13 µs of CPU for a request with a body before anything is done for it. Here a whole publish costs a
 * recv, a look at some hundred bytes, and its share of the turn's commit and of a send.
 */
export class FastPath implements HttpFront, FastPathHost, ProxyHost {
  readonly load: HttpLoad;
  readonly responses = new Responses();
  readonly idleTimeoutMs: number;
  isStopping = false;

  private readonly listener: ClientListener<FastPathConnection>;
  private readonly survey: ReturnType<typeof setInterval>;
  /** The clients behind proxies, by the ports that their requests come from at Bun.serve(). */
  private readonly clientsByPort = new Map<number, ProxiedSocket>();
  private checkedAtMs = performance.now();
  private serverPort = 0;
  private onAllClosed: () => void = () => {};

  /** @throws StartError if it cannot listen on --http-address */
  constructor(
    readonly services: FastPathServices,
    readonly limits: HttpLimits,
  ) {
    this.load = new HttpLoad(limits);
    this.idleTimeoutMs = limits.idleTimeoutS === 0 ? Number.POSITIVE_INFINITY : limits.idleTimeoutS * 1000;
    this.listener = ClientListener.listen<FastPathConnection>(parseAddress(services.options.httpAddress), "http-address", {
      accept: (socket) => new FastPathConnection(this, socket),
      onDefect: (error) => services.logger.error(`error in HTTP handler - ${error.stack}`),
      onClosed: () => {
        if (this.isStopping && this.listener.connections.size === 0) this.onAllClosed();
      },
    });
    this.survey = setInterval(() => this.checkTime(), SURVEY_INTERVAL_MS);
    this.survey.unref();
  }

  get port(): number {
    return this.listener.port;
  }

  get where(): string {
    return this.listener.where;
  }

  setServerPort(port: number): void {
    this.serverPort = port;
  }

  clientAddress(port: number): string | undefined {
    const client = this.clientsByPort.get(port);
    if (client === undefined) return undefined;
    // Bun's types do not say that both are undefined when the client is gone.
    const { remoteAddress: host, remotePort }: { remoteAddress?: string; remotePort?: number } = client;
    return host === undefined || remotePort === undefined ? "gone" : formatAddress(host, remotePort);
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

  // ---- proxies

  openProxy(client: ProxiedSocket, first: Buffer[], inputEnded: boolean): TcpProxy {
    return new TcpProxy(this, client, first, inputEnded);
  }

  get steadyMs(): number {
    return this.services.turn.steadyMs;
  }

  connect(proxy: TcpProxy): void {
    const onFailure = (error: Error): void => {
      this.services.rateLimitedLog.error(`HTTP: cannot pass requests on within the process: ${error.message}`);
      proxy.onServerClosed();
    };
    Bun.connect<TcpProxy>({
      hostname: "127.0.0.1",
      port: this.serverPort,
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
    }).catch(onFailure);
  }

  setClientAt(port: number, client: ProxiedSocket | undefined): void {
    if (client === undefined) this.clientsByPort.delete(port);
    else this.clientsByPort.set(port, client);
  }

  private checkTime(): void {
    const nowMs = performance.now();
    const stallMs = nowMs - this.checkedAtMs;
    this.checkedAtMs = nowMs;
    if (stallMs > STALL_MS) {
      // The process was stopped or held up. Requests that came meanwhile are read first, and that time counts for no client.
      for (const connection of this.listener.connections) connection.excuse(stallMs);
      return;
    }
    for (const connection of this.listener.connections) connection.checkTime(nowMs);
  }
}
