import { STATUS_CODES } from "node:http";
import { freeBuffer } from "../../base/free-buffer.ts";
import { encodeJson } from "../../base/go/json.ts";
import type { Logger } from "../../base/logger.ts";
import { runToEnd } from "../../base/run-to-end.ts";
import { MetricText } from "../../http/metrics/metric-text.ts";
import { one, processMetrics } from "../../http/metrics/process-metrics.ts";
import { HTTP } from "../../http/server/request-id.ts";
import { parseListenAddress } from "../../net/address.ts";
import { type ClientConnection, ClientListener } from "../../net/client-listener.ts";
import { Farewells } from "../../net/farewells.ts";
import { WAITING_TOPICS } from "../metrics/exposition/broker-families.ts";
import type { BrokerOptions } from "../options.ts";
import { brokerInfo } from "./info.ts";

/** The head of a request may be this long. */
const MAX_HEAD_BYTES = 8192;
/** This many clients at a time. The others are cut: files need the descriptors. */
const MAX_CLIENTS = 64;
/** A client whose request has not come within this time is cut. */
const REQUEST_TIMEOUT_MS = 5000;

const TEXT = "text/plain; charset=utf-8";
const JSON_TYPE = "application/json; charset=utf-8";

/** How far the opening of a data path is. */
export interface OpeningState {
  /** What is done, and how far it is. */
  readonly reason: string;
  /** Undefined: it is not known yet how many topics there are. */
  readonly progress: { readonly opened: number; readonly total: number } | undefined;
}

/**
 * Serves --http-address while the broker's data path is opened, which may take minutes: what supervisors ask is answered, and
 * every other call is refused. One request a connection, by hand: the API's own server is made of the parts of an open broker.
 */
export class OpeningHttp {
  private readonly listener: ClientListener<OpeningConnection>;
  private readonly farewells = new Farewells();
  private readonly startTimeMs = Date.now();

  /** @throws StartError if it cannot listen on the address */
  constructor(
    private readonly options: BrokerOptions,
    private readonly state: OpeningState,
    logger: Logger,
  ) {
    this.listener = ClientListener.listen<OpeningConnection>(parseListenAddress(options.httpAddress), "http-address", {
      accept: (socket) => {
        if (this.listener.connections.size < MAX_CLIENTS) return new OpeningConnection(socket, this);
        socket.terminate();
        return undefined;
      },
      onDefect: (error) => logger.error(`error in HTTP handler - ${error.stack}`, HTTP),
    });
    logger.info(`HTTP: ${this.listener.where} answers /ready, and refuses other calls, until the data path is open`, HTTP);
  }

  /** 0 for a unix socket. */
  get port(): number {
    return this.listener.port;
  }

  /** Cuts all connections, and frees the address before it returns. */
  stop(): void {
    this.listener.stop(true);
  }

  /** Answers a request, and ends its connection. @param head the first bytes of the request */
  answer(socket: Bun.Socket<OpeningConnection | undefined>, head: string): void {
    const [, method = "", target = ""] = /^([A-Z]+) (\S+) HTTP\/1\.[01]\r\n/.exec(head) ?? [];
    const { status, type, body } = this.reply(method, target.split("?", 1)[0] ?? "");
    const lines = [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      "Connection: close",
      `Content-Type: ${type}`,
      ...(type === JSON_TYPE ? ["X-NSQ-Content-Type: nsq; version=1.0"] : []),
      `Content-Length: ${Buffer.byteLength(body)}`,
    ];
    this.farewells.say(socket, Buffer.from(`${lines.join("\r\n")}\r\n\r\n${method === "HEAD" ? "" : body}`), false);
  }

  private reply(method: string, path: string): { status: number; type: string; body: string } {
    if (method === "") return { status: 400, type: TEXT, body: "400 Bad Request" };
    const isGet = method === "GET";
    if (path === "/ready" && (isGet || method === "HEAD")) return { status: 503, type: TEXT, body: `NOK - ${this.state.reason}` };
    if (path === "/ping" && isGet) return { status: 200, type: TEXT, body: "OK" };
    if (path === "/info" && isGet) return { status: 200, type: JSON_TYPE, body: encodeJson(this.info()) };
    if (path === "/metrics" && isGet) return { status: 200, type: "text/plain; version=0.0.4; charset=utf-8", body: this.metrics() };
    return { status: 503, type: JSON_TYPE, body: encodeJson({ message: "RECOVERING" }) };
  }

  private info() {
    const { options, startTimeMs } = this;
    const tcp = parseListenAddress(options.tcpAddress);
    return brokerInfo({ options, startTimeMs, httpPort: this.port, tcpPort: "unix" in tcp ? 0 : tcp.port });
  }

  private metrics(): string {
    const text = new MetricText("text");
    const { progress } = this.state;
    runToEnd(processMetrics(text));
    if (progress !== undefined) one(text, WAITING_TOPICS, progress.total - progress.opened);
    text.end();
    return new TextDecoder().decode(text.take());
  }
}

/** A client that asks while the data path is opened. */
class OpeningConnection implements ClientConnection {
  private head = "";
  private isAnswered = false;
  private readonly timer: ReturnType<typeof setTimeout>;

  constructor(
    private readonly socket: Bun.Socket<OpeningConnection | undefined>,
    private readonly server: OpeningHttp,
  ) {
    this.timer = setTimeout(() => this.abort(), REQUEST_TIMEOUT_MS);
  }

  receive(data: Buffer): void {
    if (!this.isAnswered) this.head += data.toString("latin1", 0, MAX_HEAD_BYTES - this.head.length);
    freeBuffer(data);
    if (this.isAnswered || (!this.head.includes("\r\n\r\n") && this.head.length < MAX_HEAD_BYTES)) return;
    this.isAnswered = true;
    clearTimeout(this.timer);
    this.server.answer(this.socket, this.head);
    this.head = "";
  }

  onDrain(): void {}

  onInputEnd(): void {
    if (!this.isAnswered) this.abort();
  }

  onSocketClosed(): void {
    clearTimeout(this.timer);
  }

  abort(): void {
    this.socket.terminate();
  }
}
