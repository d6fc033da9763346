import type { Logger } from "../../../base/logger.ts";
import type { Timestamp } from "../../../frame/layout.ts";
import { type HttpFront, type HttpLimits, HttpLoad } from "../../../http/server/server.ts";
import { formatAddress, listenError, parseAddress } from "../../../net/address.ts";
import { type ConnectionOwner, remoteAddressOf, SocketGuard } from "../../../net/guarded-socket.ts";
import type { Holder } from "../../acks/group-commit.ts";
import type { PublishError } from "../../acks/pending-publish.ts";
import type { BrokerOptions } from "../../options.ts";
import type { ChunkPool } from "../../storage/log/chunk.ts";
import type { Topic } from "../../topics/topic.ts";
import { ExpressConnection } from "./connection.ts";
import type { HandOver } from "./proxy.ts";
import { ExpressAnswers } from "./responses.ts";

/** Connections are looked at this often: who is idle is closed. */
const SURVEY_INTERVAL_MS = 500;

/** What the fast path needs of its broker. */
export interface FastPathServices {
  readonly options: BrokerOptions;
  readonly logger: Logger;
  /** For errors that may come many times a second. */
  readonly rateLimitedLog: { error(text: string): void };
  readonly turn: FastPathTurn;
  readonly registry: {
    /** The topic whose name stands in [from, to), if there is one; no string is made to find it. */
    knownTopic(bytes: Uint8Array, from: number, to: number): Topic | undefined;
    /** An existing topic, or a new one. The caller has checked the name. @throws PublishError when it cannot be made */
    topic(name: string): Topic;
  };
  readonly publishing: {
    /** Why a publish to a topic is refused at present. */
    refusalFor(topic: Topic): PublishError | undefined;
  };
  /** Acknowledgements that wait for the next commit. */
  readonly acks: { hold(acks: Holder): void };
  readonly chunks: ChunkPool;
}

/** The turn of the event loop that is under way. */
interface FastPathTurn {
  /** The broker's time, ms. */
  readonly nowMs: number;
  /** Time by a clock that nobody sets, ms. */
  readonly steadyMs: number;
  /** Time for message timestamps, ns. */
  readonly time: Timestamp;
  readClock(): void;
  /** Asks for a tick at the end of this turn. */
  schedule(): void;
}

/**
 * The express lane: takes the connections to the broker's HTTP address, publishes what is plainly `POST /pub` or
 * `POST /mpub` itself, and hands everything else over to Bun.serve(), which listens on the loopback for it alone.
 *
 * Bun.serve() takes 11 to 13 µs of CPU for a request with a body before anything is done for it; here a whole publish
 * is a recv, a look at some hundred bytes, and its share of the turn's commit and of a send.
 */
export class ExpressLane implements HttpFront, ConnectionOwner<ExpressConnection> {
  readonly port: number;
  readonly where: string;
  readonly load: HttpLoad;
  readonly answers = new ExpressAnswers();
  readonly idleTimeoutMs: number;
  /** The clients that were handed over, by the port that their requests come from at Bun.serve(). */
  readonly clients = new Map<number, Pick<Bun.Socket<unknown>, "remoteAddress" | "remotePort">>();
  stopping = false;

  private readonly listener: Bun.TCPSocketListener<ExpressConnection | undefined>;
  private readonly connections = new Set<ExpressConnection>();
  private readonly survey: ReturnType<typeof setInterval>;
  private serverPort = 0;
  private allClosed: () => void = () => {};

  /** @throws StartError when the address cannot be had */
  constructor(
    readonly services: FastPathServices,
    readonly limits: HttpLimits,
  ) {
    this.load = new HttpLoad(limits);
    this.idleTimeoutMs = limits.idleTimeoutS === 0 ? Number.POSITIVE_INFINITY : limits.idleTimeoutS * 1000;
    const address = parseAddress(services.options.httpAddress);
    try {
      this.listener = Bun.listen<ExpressConnection | undefined>({
        ...address,
        // Who has ended its side still gets its answers.
        allowHalfOpen: true,
        socket: {
          ...new SocketGuard<ExpressConnection>(this).events,
          open: (socket) => this.accept(socket),
        },
      });
    } catch (error) {
      throw listenError("http-address", address, error);
    }
    this.port = this.listener.port;
    this.where = formatAddress(address.hostname, this.port);
    this.survey = setInterval(() => this.checkTime(), SURVEY_INTERVAL_MS);
    this.survey.unref();
  }

  serverAt(port: number): void {
    this.serverPort = port;
  }

  clientAt(port: number): string | undefined {
    const client = this.clients.get(port);
    if (client === undefined) return undefined;
    return remoteAddressOf(client) ?? "gone";
  }

  async stop(): Promise<void> {
    this.stopping = true;
    this.listener.stop();
    const closed = new Promise<void>((resolve) => {
      this.allClosed = resolve;
    });
    for (const connection of [...this.connections]) connection.leave();
    if (this.connections.size > 0) {
      const timer = setTimeout(() => {
        for (const connection of [...this.connections]) connection.abort();
      }, this.limits.stopTimeoutMs);
      await closed;
      clearTimeout(timer);
    }
    clearInterval(this.survey);
  }

  /** Gives the address back; nobody was served yet. */
  abandon(): void {
    this.listener.stop(true);
    clearInterval(this.survey);
  }

  /** Makes a connection to Bun.serve(). */
  connect(handOver: HandOver): void {
    const failed = (error: Error): void => {
      this.services.rateLimitedLog.error(`HTTP: cannot hand requests over within the program: ${error.message}`);
      handOver.serverClosed();
    };
    Bun.connect<HandOver>({
      hostname: "127.0.0.1",
      port: this.serverPort,
      allowHalfOpen: true,
      data: handOver,
      socket: {
        open: (socket) => socket.data.connected(socket),
        data: (socket, data) => socket.data.fromServer(data),
        drain: (socket) => socket.data.serverDrained(),
        end: (socket) => {
          socket.end();
        },
        close: (socket) => socket.data.serverClosed(),
        error: () => {},
      },
    }).catch(failed);
  }

  /** Some of a connection's acknowledgements wait for the next commit. */
  holdAcks(acks: Holder): void {
    this.services.acks.hold(acks);
    this.services.turn.schedule();
  }

  private accept(socket: Bun.Socket<ExpressConnection | undefined>): void {
    const connection = new ExpressConnection(this, socket);
    socket.data = connection;
    this.connections.add(connection);
  }

  readClock(): void {
    this.services.turn.readClock();
  }

  onFault(_connection: ExpressConnection, error: Error): void {
    this.services.logger.error(`error in HTTP handler - ${error.stack}`);
  }

  onSocketError(): void {}

  onSocketClosed(connection: ExpressConnection): void {
    connection.onSocketClosed();
    this.connections.delete(connection);
    if (this.stopping && this.connections.size === 0) this.allClosed();
  }

  private checkTime(): void {
    const nowMs = performance.now();
    for (const connection of this.connections) connection.checkTime(nowMs);
  }
}
