import type { Timer } from "../base/clock.ts";
import { Connection, type ConnectionOwner } from "./connection.ts";
import type { ConnectionSettings } from "./connection-options.ts";
import { ClientError } from "./errors.ts";
import type { LinkEvent } from "./events.ts";

const FIRST_RETRY_MS = 100;
/** Clients that lost the same broker must not all come back at the same moment. */
const JITTER = 0.3;
/** Brokers that take whoever comes and hang up at once would otherwise be tried without a pause, each because of another one. */
const HURRY_SPACING_MS = 1_000;

/** Who uses a link. */
export interface LinkOwner extends ConnectionOwner {
  /** The connection is open. What this returns is done before the link counts as up; if it throws, the connection is given up. */
  prepare(connection: Connection): void;
  /** A connection could not be opened; another attempt is planned. */
  onConnectFailed(error: ClientError): void;
  emit(event: LinkEvent): void;
}

/** A broker that a client wants to be connected with: opens a connection, and opens it again when it was lost. */
export class Link {
  connection: Connection | undefined;
  private readonly stopper = new AbortController();
  private attempts = 0;
  private openedAtMs = 0;
  private hurriedAtMs = Number.NEGATIVE_INFINITY;
  private retryTimer: Timer | undefined;

  constructor(
    readonly broker: string,
    private readonly settings: ConnectionSettings,
    private readonly owner: LinkOwner,
  ) {}

  get isStopped(): boolean {
    return this.stopper.signal.aborted;
  }

  start(): void {
    void this.connect();
  }

  /** The connection was lost. */
  onLost(error: ClientError | undefined): void {
    const { clock, maxReconnectMs } = this.settings;
    this.connection = undefined;
    // A broker that refuses what comes first, such as SUB, is not to be asked all the time.
    if (clock.steadyMs() - this.openedAtMs > maxReconnectMs) this.attempts = 0;
    this.owner.emit({ type: "disconnected", broker: this.broker, error });
    if (!this.isStopped) this.retry();
  }

  /** Connects now, if it waits: the broker may do now what it refused. Once a second at most. */
  hurry(): void {
    const { clock } = this.settings;
    const nowMs = clock.steadyMs();
    if (nowMs - this.hurriedAtMs < HURRY_SPACING_MS) return;
    this.hurriedAtMs = nowMs;
    this.attempts = 0;
    if (this.retryTimer === undefined) return;
    clock.cancel(this.retryTimer);
    this.retryTimer = undefined;
    void this.connect();
  }

  /** Opens no connection any more. The one that is open stays until it is ended. */
  stop(): void {
    this.stopper.abort();
    if (this.retryTimer !== undefined) this.settings.clock.cancel(this.retryTimer);
    this.retryTimer = undefined;
  }

  /** Never rejects. */
  private async connect(): Promise<void> {
    const { broker, settings, owner, stopper } = this;
    try {
      const connection = await Connection.open(broker, settings, stopper.signal);
      if (this.isStopped) return connection.destroy();
      this.connection = connection;
      this.openedAtMs = settings.clock.steadyMs();
      owner.emit({ type: "connected", broker, features: connection.features });
      owner.prepare(connection);
      connection.start(owner);
    } catch (thrown) {
      this.connection?.destroy();
      this.connection = undefined;
      const error =
        thrown instanceof ClientError ? thrown : new ClientError("CONNECT_FAILED", (thrown as Error).message, { broker, cause: thrown });
      if (this.isStopped) return owner.onConnectFailed(error);
      const retryMs = this.retry();
      owner.emit({ type: "connect-failed", broker, error, retryMs });
      owner.onConnectFailed(error);
    }
  }

  /** Plans the next attempt. @returns when */
  private retry(): number {
    const pauseMs = Math.min(this.settings.maxReconnectMs, FIRST_RETRY_MS * 2 ** Math.min(this.attempts, 20));
    const retryMs = Math.round(pauseMs * (1 - JITTER * Math.random()));
    this.attempts++;
    this.retryTimer = this.settings.clock.callAfter(retryMs, () => {
      this.retryTimer = undefined;
      void this.connect();
    });
    return retryMs;
  }
}
