/** How long a client may take to read what is left for it before its connection is cut. */
const CLOSE_TIMEOUT_MS = 30_000;
/** How long a client may take to end its side after ours has ended. */
const LINGER_MS = 2000;
/** A deadline may be late by a 500th of the heartbeat interval: otherwise thousands of idle clients wake the broker 100 times a second. */
const SLACK = 1 / 500;

/** What the deadlines of a client depend on. */
export interface TimedClient {
  /** 0: it gets no heartbeats, and is not expected to send anything. */
  readonly heartbeatIntervalMs: number;
  /** Its bytes are wanted. */
  readonly isReading: boolean;
  readonly decoder: { lastCommandMs: number };
  /** When a handshake that is under way has taken too long; 0: none is. */
  handshakeDueMs: number;
}

/** What a client has coming to it because time has passed. */
export type Expired = "cut" | "stalled" | "silent" | "handshake" | "heartbeat" | undefined;

/** When a client is to get a heartbeat, and when it is cut because it is silent, does not read, or does not leave. */
export class ClientDeadlines {
  /** Since when the client has read nothing; 0: nothing waits for it. */
  stalledSinceMs = 0;
  /** Since when the connection is to end; 0: it is not. */
  closingSinceMs = 0;
  /** When our side was ended; 0: it is open. */
  endedMs = 0;
  private nextHeartbeatMs: number;

  constructor(private readonly client: TimedClient) {
    this.nextHeartbeatMs = client.decoder.lastCommandMs + client.heartbeatIntervalMs;
  }

  restartHeartbeat(nowMs: number): void {
    this.nextHeartbeatMs = nowMs + this.client.heartbeatIntervalMs;
  }

  /** When to check next; Infinity: not before something changes. Commands make it later only, so it need not be asked after each. */
  get nextMs(): number {
    const { client, stalledSinceMs } = this;
    const { heartbeatIntervalMs, handshakeDueMs } = client;
    if (this.endedMs !== 0) return this.endedMs + LINGER_MS;
    if (this.closingSinceMs !== 0) return this.closingSinceMs + CLOSE_TIMEOUT_MS;
    if (handshakeDueMs !== 0) return handshakeDueMs;
    if (heartbeatIntervalMs === 0) return Number.POSITIVE_INFINITY;
    let nextMs = this.nextHeartbeatMs;
    if (stalledSinceMs !== 0) nextMs = Math.min(nextMs, stalledSinceMs + heartbeatIntervalMs);
    if (client.isReading) nextMs = Math.min(nextMs, client.decoder.lastCommandMs + 2 * heartbeatIntervalMs);
    const slackMs = heartbeatIntervalMs * SLACK;
    return Math.ceil(nextMs / slackMs) * slackMs;
  }

  /** What is due. A heartbeat counts as sent. */
  check(nowMs: number): Expired {
    const { client, stalledSinceMs, closingSinceMs, endedMs } = this;
    const { heartbeatIntervalMs, handshakeDueMs } = client;
    if (endedMs !== 0) return nowMs - endedMs >= LINGER_MS ? "cut" : undefined;
    if (closingSinceMs !== 0) return nowMs - closingSinceMs >= CLOSE_TIMEOUT_MS ? "cut" : undefined;
    if (handshakeDueMs !== 0) return nowMs >= handshakeDueMs ? "handshake" : undefined;
    if (heartbeatIntervalMs === 0) return undefined;
    if (stalledSinceMs !== 0 && nowMs - stalledSinceMs >= heartbeatIntervalMs) return "stalled";
    if (client.isReading && nowMs - client.decoder.lastCommandMs >= 2 * heartbeatIntervalMs) return "silent";
    if (nowMs < this.nextHeartbeatMs) return undefined;
    // From when it was due, so that delays do not add up. Those that were missed are left out.
    const nextMs = this.nextHeartbeatMs + heartbeatIntervalMs;
    this.nextHeartbeatMs = nextMs > nowMs ? nextMs : nowMs + heartbeatIntervalMs;
    return "heartbeat";
  }

  /** For `byMs` the broker neither read nor sent: that counts for no client. */
  excuse(byMs: number, nowMs: number): void {
    const { client } = this;
    if (this.stalledSinceMs !== 0) this.stalledSinceMs = Math.min(nowMs, this.stalledSinceMs + byMs);
    if (this.closingSinceMs !== 0) this.closingSinceMs = Math.min(nowMs, this.closingSinceMs + byMs);
    if (this.endedMs !== 0) this.endedMs = Math.min(nowMs, this.endedMs + byMs);
    if (client.handshakeDueMs !== 0) client.handshakeDueMs += byMs;
    client.decoder.lastCommandMs = Math.min(nowMs, client.decoder.lastCommandMs + byMs);
  }
}
