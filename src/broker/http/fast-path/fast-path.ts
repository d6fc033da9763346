import type { Logger } from "../../../base/logger.ts";
import type { Timestamp } from "../../../frame/layout.ts";
import { type HttpFront, type HttpLimits, HttpLoad } from "../../../http/server/server.ts";
import { formatAddress, parseAddress } from "../../../net/address.ts";
import { ClientListener } from "../../../net/client-listener.ts";
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
export class ExpressLane implements HttpFront {
  readonly load: HttpLoad;
  readonly answers = new ExpressAnswers();
  readonly idleTimeoutMs: number;
  /** The clients that were handed over, by the port that their requests come from at Bun.serve(). */
  readonly clients = new Map<number, Pick<Bun.Socket<unknown>, "remoteAddress" | "remotePort">>();
  stopping = false;

  private readonly listener: ClientListener<ExpressConnection>;
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
    this.listener = ClientListener.listen<ExpressConnection>(parseAddress(services.options.httpAddress), "http-address", {
      accept: (socket) => new ExpressConnection(this, socket),
      onDefect: (error) => services.logger.error(`error in HTTP handler - ${error.stack}`),
      onClosed: () => {
        if (this.stopping && this.listener.connections.size === 0) this.allClosed();
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

  serverAt(port: number): void {
    this.serverPort = port;
  }

  clientAt(port: number): string | undefined {
    const client = this.clients.get(port);
    if (client === undefined) return undefined;
    // Undefined, whatever their types say, when the client is gone.
    const { remoteAddress: host, remotePort }: { remoteAddress?: string; remotePort?: number } = client;
    return host === undefined || remotePort === undefined ? "gone" : formatAddress(host, remotePort);
  }

  async stop(): Promise<void> {
    this.stopping = true;
    this.listener.stop();
    const closed = new Promise<void>((resolve) => {
      this.allClosed = resolve;
    });
    for (const connection of [...this.listener.connections]) connection.leave();
    if (this.listener.connections.size > 0) {
      const timer = setTimeout(() => {
        for (const connection of [...this.listener.connections]) connection.abort();
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

  private checkTime(): void {
    const nowMs = performance.now();
    for (const connection of this.listener.connections) connection.checkTime(nowMs);
  }
}
