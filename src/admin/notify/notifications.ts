import { encodeJson } from "../../base/go/json.ts";
import type { Logger } from "../../base/logger.ts";
import type { RateLimitedLog } from "../../base/rate-limited-log.ts";
import { requestUrl, shownUrl } from "../upstream/url-request.ts";

/** An action that an operator has carried out, in nsqadmin's JSON. */
export interface AdminAction {
  action: string;
  topic: string;
  channel?: string;
  node?: string;
  /** s since 1970 */
  timestamp: number;
  user?: string;
  /** `host:port` */
  remote_ip: string;
  user_agent: string;
  /** The URL of the request with which the operator acted. */
  url: string;
  /** Name of this host. */
  via: string;
}

/** What notifications are sent with. */
export interface NotificationParts {
  readonly options: { readonly httpClientConnectTimeoutMs: number; readonly httpClientRequestTimeoutMs: number };
  readonly upstream: { readonly tls: Bun.TLSOptions };
  readonly logger: Logger;
  readonly rateLimitedLog: Pick<RateLimitedLog, "error">;
  /** Waits, or returns early if the signal is aborted. For tests. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** Actions that wait while the endpoint is down. Beyond it the oldest is dropped. */
const MOST_WAITING = 1000;
const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 60_000;
/** How long stop() tries to send what waits. */
const FAREWELL_MS = 2000;
/** Answers are not read. */
const ANSWER_BYTES = 64 * 1024;

/**
 * Tells an endpoint of each action, one after the other, in their order. If it is down or answers with 5xx, 408 or 429, it is
 * asked again, later and later, up to once a minute. Nobody waits for it, and nothing else fails because of it.
 */
export class Notifications {
  private readonly waiting: AdminAction[] = [];
  private readonly stopped = new AbortController();
  private sending: Promise<void> | undefined;
  private readonly shown: string;

  constructor(
    private readonly endpoint: URL,
    private readonly parts: NotificationParts,
  ) {
    this.shown = shownUrl(endpoint);
  }

  add(action: AdminAction): void {
    if (this.waiting.length >= MOST_WAITING) {
      this.waiting.shift();
      this.parts.rateLimitedLog.error(`notifications: more than ${MOST_WAITING} wait for ${this.shown}; the oldest is dropped`);
    }
    this.waiting.push(action);
    this.sending ??= this.sendAll().finally(() => {
      this.sending = undefined;
    });
  }

  /** Ends within two seconds. What could not be sent by then is lost, and the log says how much that is. */
  async stop(): Promise<void> {
    const timer = setTimeout(() => this.stopped.abort(), FAREWELL_MS);
    await this.sending;
    clearTimeout(timer);
    if (this.waiting.length > 0) this.parts.logger.error(`notifications: ${this.waiting.length} could not be sent to ${this.shown}`);
  }

  private async sendAll(): Promise<void> {
    const { signal } = this.stopped;
    let delayMs = FIRST_DELAY_MS;
    for (let action = this.waiting[0]; action !== undefined && !signal.aborted; action = this.waiting[0]) {
      if (await this.send(action)) {
        delayMs = FIRST_DELAY_MS;
        // It may have been dropped meanwhile.
        if (this.waiting[0] === action) this.waiting.shift();
        continue;
      }
      await (this.parts.sleep ?? sleep)(delayMs, signal);
      delayMs = Math.min(2 * delayMs, LONGEST_DELAY_MS);
    }
  }

  /** @returns whether that is done, for better or worse; false: it is to be tried again */
  private async send(action: AdminAction): Promise<boolean> {
    const { options, logger } = this.parts;
    const { httpClientConnectTimeoutMs: connectTimeoutMs, httpClientRequestTimeoutMs: requestTimeoutMs } = options;
    logger.info(`POSTing notification to ${this.shown}`);
    const failed = (why: string) => this.parts.rateLimitedLog.error(`failed to POST notification to ${this.shown} - ${why}`);
    try {
      const { status, statusText } = await requestUrl(
        {
          url: this.endpoint,
          tls: this.parts.upstream.tls,
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: encodeJson(action),
        },
        { connectTimeoutMs, requestTimeoutMs, responseBytes: ANSWER_BYTES },
        this.stopped.signal,
      );
      if (status < 300) return true;
      const isTemporary = status >= 500 || status === 408 || status === 429;
      failed(`got response ${statusText}${isTemporary ? "" : `; ${action.action} is not sent again`}`);
      return !isTemporary;
    } catch (error) {
      failed((error as Error).message);
      return false;
    }
  }
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    if (signal.aborted) end();
    else signal.addEventListener("abort", end);
  });
}
