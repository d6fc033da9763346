import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";

/** How often it is looked whether clients are done. */
const CHECK_INTERVAL_MS = 50;
/**
 * How long clients that have nothing in flight may stay. A producer that goes on publishing is refused within this time, which tells
 * it for sure that its message is not here; one whose connection just ends must find that out.
 */
const LINGER_MS = 1_000;

/** A client's connection, as a drain sees it. */
export interface DrainedConnection {
  readonly inFlightCount: number;
  /** How many messages it takes at once; 0: it gets none. */
  readyCount: number;
  /** The channel that it consumes. */
  readonly channel: object | undefined;
  /** Ends when everything that the client is to get is sent. */
  closeGracefully(): void;
}

/** What a drain works on. */
export interface DrainParts {
  /** Refuses publishes, SUB and RDY from startDraining() on. */
  readonly publishing: { startDraining(): void };
  readonly listener: {
    readonly connections: ReadonlyMap<number, DrainedConnection>;
    /** Accepts no more clients. */
    stop(): void;
  };
  readonly turn: { readClock(): void };
  readonly logger: Logger;
  readonly clock: Clock;
}

/** How far a drain is. */
export interface DrainProgress {
  /** `drained`: the broker ends now. */
  readonly state: "serving" | "draining" | "drained";
  /** Messages that consumers have and have not answered. */
  readonly inFlight: number;
  readonly consumers: number;
  /** All clients on TCP. */
  readonly connections: number;
  /** Since the drain began, ms. */
  readonly elapsedMs: number;
  /** The bound of the drain, ms; 0 while there is none. */
  readonly timeoutMs: number;
}

/**
 * Ends a broker's service without disturbing its clients, so that it can be stopped or started anew. The lookups are told first,
 * so that no new consumer finds the broker. Then it accepts no clients, consumers and publishes any more, and delivers nothing.
 * Consumers answer the messages that they have, and each connection is closed once its consumer has none. When all are answered, or
 * the time is over, `onDrained` is called, which ends the process. What is not delivered stays on the disk.
 */
export class Drain {
  /** Tells the lookups that the broker leaves. The promise is never rejected. */
  tellLookups: () => Promise<void> = () => Promise.resolve();
  /** Called when the drain has ended, but not after stop(). */
  onDrained: () => void = () => {};

  private state: DrainProgress["state"] = "serving";
  private startMs = 0;
  private timeoutMs = 0;
  /** Since when nothing is in flight; undefined while something is. */
  private quietSinceMs: number | undefined;
  private timer: Timer | undefined;
  private isStopped = false;

  constructor(private readonly parts: DrainParts) {}

  get isDraining(): boolean {
    return this.state !== "serving";
  }

  get progress(): DrainProgress {
    const { state, timeoutMs } = this;
    const { connections } = this.parts.listener;
    let inFlight = 0;
    let consumers = 0;
    for (const connection of connections.values()) {
      inFlight += connection.inFlightCount;
      if (connection.channel !== undefined) consumers++;
    }
    const elapsedMs = this.isDraining ? this.elapsedMs : 0;
    return { state, inFlight, consumers, connections: connections.size, elapsedMs, timeoutMs };
  }

  /** Begins the drain. While one is under way, this does nothing. @param timeoutMs how long consumers may take at the most */
  begin(timeoutMs: number): void {
    if (this.isDraining || this.isStopped) return;
    const { logger, clock } = this.parts;
    this.state = "draining";
    this.startMs = clock.steadyMs();
    this.timeoutMs = timeoutMs;
    logger.info(`DRAIN: telling the lookups, then waiting up to ${timeoutMs / 1000} s for messages in flight`);
    void this.tellLookups().then(() => this.refuse());
  }

  /** The broker is closed: the drain waits no longer. */
  stop(): void {
    this.isStopped = true;
    if (this.timer !== undefined) this.parts.clock.cancel(this.timer);
    this.timer = undefined;
  }

  private get elapsedMs(): number {
    return this.parts.clock.steadyMs() - this.startMs;
  }

  private refuse(): void {
    if (this.isStopped) return;
    const { publishing, listener, logger } = this.parts;
    publishing.startDraining();
    listener.stop();
    for (const connection of listener.connections.values()) connection.readyCount = 0;
    const { inFlight, consumers, connections } = this.progress;
    logger.info(`DRAIN: in flight: ${inFlight}, consumers: ${consumers}, clients: ${connections}`);
    this.check();
  }

  private check(): void {
    const { turn, listener, clock } = this.parts;
    turn.readClock();
    let inFlight = 0;
    for (const connection of [...listener.connections.values()]) {
      inFlight += connection.inFlightCount;
      if (connection.channel !== undefined && connection.inFlightCount === 0) connection.closeGracefully();
    }
    const nowMs = clock.steadyMs();
    if (inFlight > 0) this.quietSinceMs = undefined;
    else this.quietSinceMs ??= nowMs;
    const isQuiet = this.quietSinceMs !== undefined && (listener.connections.size === 0 || nowMs - this.quietSinceMs >= LINGER_MS);
    if (isQuiet || this.elapsedMs >= this.timeoutMs) return this.end(inFlight);
    this.timer = clock.callAfter(CHECK_INTERVAL_MS, () => {
      this.timer = undefined;
      this.check();
    });
  }

  private end(inFlight: number): void {
    const { logger } = this.parts;
    this.state = "drained";
    if (inFlight > 0) logger.warn(`DRAIN: the time is over; still in flight, to be delivered again: ${inFlight}`);
    else logger.info("DRAIN: nothing is in flight");
    this.onDrained();
  }
}
