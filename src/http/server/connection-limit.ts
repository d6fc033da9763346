import type { DescriptorShare } from "../../base/descriptor-budget.ts";
import type { Logger } from "../../base/logger.ts";
import { HTTP } from "./request-id.ts";

/** What a connection is doing while it is idle, and for how long it must be idle before it is closed for another one, ms. */
export const IDLE_AFTER_MS = {
  /** Nothing has come since the client connected, or a part of a request. */
  unfinished: 0,
  /** A request was passed on, and Bun.serve() has not said that it is complete. It takes some turns of the event loop to do so. */
  passedOn: 100,
  /** The last request is answered. */
  answered: 1000,
};

/** What a client's connection goes through. */
export type HttpTransport = "tcp" | "tls" | "unix";

/** A client's connection. */
export interface LimitedConnection {
  /** When something last came or went, ms; Infinity while a request is being carried out. */
  readonly idleSinceMs: number;
  /** For how long it must be idle before it may be closed for another one, ms. */
  readonly idleAfterMs: number;
  /** Ends the connection. Its socket is closed when this returns. */
  closeIdle(): void;
}

export interface ConnectionLimitParts {
  readonly options: { readonly maxHttpConnections: number };
  readonly rateLimitedLog: Pick<Logger, "error">;
  readonly descriptors: { readonly limit: number };
  readonly clientDescriptors: { readonly http: Pick<DescriptorShare, "take" | "giveBack"> };
  readonly turn: { readonly steadyMs: number };
}

/**
 * The HTTP and HTTPS connections of a broker, of which there may be as many as --max-http-connections says and as there are
 * descriptors for. For one more the connection that has been idle longest is closed. If none is idle, the new one is refused.
 */
export class ConnectionLimit {
  /** Clients that were turned away. */
  refused = 0;
  /** Idle connections that were closed to make room for others. */
  closedIdle = 0;
  /** Open connections by what they go through. */
  readonly openBy: Record<HttpTransport, number> = { tcp: 0, tls: 0, unix: 0 };
  private readonly connections = new Map<LimitedConnection, HttpTransport>();

  constructor(private readonly parts: ConnectionLimitParts) {}

  get open(): number {
    return this.connections.size;
  }

  /** Makes room for one more connection. @returns false if there is none: the client is to be turned away */
  makeRoom(): boolean {
    const { maxHttpConnections } = this.parts.options;
    if (maxHttpConnections > 0 && this.connections.size >= maxHttpConnections && !this.closeLongestIdle()) {
      this.parts.rateLimitedLog.error(
        `HTTP: refusing clients: ${maxHttpConnections} are connected and not idle, see -max-http-connections`,
        HTTP,
      );
    } else if (this.takeDescriptors(1)) return true;
    this.refused++;
    return false;
  }

  /** Adds a connection for which there was room. */
  add(connection: LimitedConnection, transport: HttpTransport = "tcp"): void {
    this.connections.set(connection, transport);
    this.openBy[transport]++;
  }

  /** A connection that was added is closed. */
  remove(connection: LimitedConnection): void {
    const transport = this.connections.get(connection);
    if (transport === undefined) return;
    this.connections.delete(connection);
    this.openBy[transport]--;
    this.giveBackDescriptors(1);
  }

  /** Takes descriptors for sockets. @returns false if there are none, and no idle connection to take them from */
  takeDescriptors(count: number): boolean {
    const { clientDescriptors, descriptors, rateLimitedLog } = this.parts;
    while (!clientDescriptors.http.take(count)) {
      if (this.closeLongestIdle()) continue;
      rateLimitedLog.error(`HTTP: refusing clients: this process may have ${descriptors.limit} open files, see ulimit -n`, HTTP);
      return false;
    }
    return true;
  }

  giveBackDescriptors(count: number): void {
    this.parts.clientDescriptors.http.giveBack(count);
  }

  private closeLongestIdle(): boolean {
    let longest: LimitedConnection | undefined;
    let longestMs = -1;
    const nowMs = this.parts.turn.steadyMs;
    for (const connection of this.connections.keys()) {
      const idleMs = nowMs - connection.idleSinceMs;
      if (idleMs <= longestMs || idleMs < connection.idleAfterMs) continue;
      longest = connection;
      longestMs = idleMs;
    }
    if (longest === undefined) return false;
    this.closedIdle++;
    this.parts.rateLimitedLog.error("HTTP: closing idle connections: there are too many, see -max-http-connections and ulimit -n", HTTP);
    longest.closeIdle();
    return true;
  }
}
