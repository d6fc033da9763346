import type { Clock, Timer } from "../../../base/clock.ts";
import type { RateLimitedLog } from "../../../base/rate-limited-log.ts";
import { BUNSQ_VERSION } from "../../../version.ts";
import { type CollectorAnswer, judgeAnswer } from "./collector-answer.ts";
import { type OtlpSpan, text } from "./span.ts";

/** Spans that wait to be sent. Further ones are dropped. */
const MOST_SPANS = 8192;
const SPANS_PER_REQUEST = 128;
/** Spans wait so long for others to be sent with. */
const SEND_INTERVAL_MS = 1000;
const REQUEST_TIMEOUT_MS = 10_000;
/** What is waited after a failure, doubled with each further one, unless the collector says how long. */
const FIRST_RETRY_MS = 2000;
const LONGEST_RETRY_MS = 30_000;
/** A collector that asks for more time than this is tried again earlier. */
const LONGEST_RETRY_AFTER_MS = 300_000;
/** A stop waits no longer for what is left to be sent. */
const CLOSE_TIMEOUT_MS = 2000;

/** What the sender needs of its broker. */
export interface SpanSenderParts {
  readonly clock: Clock;
  readonly rateLimitedLog: Pick<RateLimitedLog, "error">;
}

/**
 * Sends spans to an OpenTelemetry collector, one request at a time. What does not fit into the queue, because the collector is slow or
 * away, is dropped and counted; nothing ever waits for it.
 */
export class SpanSender {
  /** Spans that the collector has accepted. */
  sent = 0;
  /** Spans that were dropped because too many waited, or the collector refused them. */
  dropped = 0;

  private readonly spans: OtlpSpan[] = [];
  private timer: Timer | undefined;
  private sending: Promise<void> | undefined;
  /** Aborts the request that is under way. */
  private request: AbortController | undefined;
  /** What is to be waited before the next request; 0 after a success. */
  private retryMs = 0;
  private closed = false;

  constructor(
    readonly url: string,
    /** Name of this broker. */
    private readonly instance: string,
    private readonly parts: SpanSenderParts,
  ) {}

  /** How many spans wait. */
  get waiting(): number {
    return this.spans.length;
  }

  get isFull(): boolean {
    return this.spans.length >= MOST_SPANS;
  }

  add(span: OtlpSpan): void {
    if (this.isFull) {
      this.dropped++;
      return;
    }
    this.spans.push(span);
    if (this.sending !== undefined || this.closed) return;
    if (this.spans.length >= SPANS_PER_REQUEST && this.retryMs === 0) this.send();
    else this.timer ??= this.parts.clock.callAfter(this.retryMs || SEND_INTERVAL_MS, this.onTimer);
  }

  private readonly onTimer = (): void => {
    this.timer = undefined;
    this.send();
  };

  private cancelTimer(): void {
    if (this.timer !== undefined) this.parts.clock.cancel(this.timer);
    this.timer = undefined;
  }

  private send(): void {
    this.cancelTimer();
    this.sending = this.sendOldest().then(() => {
      this.sending = undefined;
      if (this.spans.length === 0 || this.closed) return;
      const delayMs = this.retryMs || (this.spans.length >= SPANS_PER_REQUEST ? 0 : SEND_INTERVAL_MS);
      this.timer ??= this.parts.clock.callAfter(delayMs, this.onTimer);
    });
  }

  /** Sends the oldest spans. They stay in the queue if it may succeed later. */
  private async sendOldest(): Promise<void> {
    const spans = this.spans.slice(0, SPANS_PER_REQUEST);
    const { failure, mayRetry, retryAfterMs, rejected } = await this.post(this.body(spans));
    if (failure !== undefined) this.parts.rateLimitedLog.error(`OTLP: cannot send spans to ${this.url}: ${failure}`);
    if (mayRetry) {
      const backoffMs = Math.min(LONGEST_RETRY_MS, Math.max(FIRST_RETRY_MS, 2 * this.retryMs));
      this.retryMs = retryAfterMs === undefined ? backoffMs : Math.min(LONGEST_RETRY_AFTER_MS, Math.max(FIRST_RETRY_MS, retryAfterMs));
      return;
    }
    this.retryMs = 0;
    this.spans.splice(0, spans.length);
    const refused = Math.min(rejected, spans.length);
    this.dropped += refused;
    this.sent += spans.length - refused;
  }

  private async post(body: string): Promise<CollectorAnswer> {
    const { clock } = this.parts;
    const request = new AbortController();
    this.request = request;
    const timer = clock.callAfter(REQUEST_TIMEOUT_MS, () => request.abort(new Error(`no answer within ${REQUEST_TIMEOUT_MS} ms`)));
    try {
      const response = await fetch(this.url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
        redirect: "error",
        signal: request.signal,
      });
      return await judgeAnswer(response, clock.wallMs());
    } catch (error) {
      return { failure: (error as Error).message, mayRetry: true, retryAfterMs: undefined, rejected: 0 };
    } finally {
      clock.cancel(timer);
    }
  }

  /** The body of an ExportTraceServiceRequest. */
  private body(spans: OtlpSpan[]): string {
    const attributes = [text("service.name", "bunsq"), text("service.version", BUNSQ_VERSION), text("service.instance.id", this.instance)];
    return JSON.stringify({
      resourceSpans: [{ resource: { attributes }, scopeSpans: [{ scope: { name: "bunsq", version: BUNSQ_VERSION }, spans }] }],
    });
  }

  /** Sends what waits if the collector takes it within CLOSE_TIMEOUT_MS. What it does not take is dropped. */
  async close(): Promise<void> {
    const { clock } = this.parts;
    this.closed = true;
    this.cancelTimer();
    let isLate = false;
    const timer = clock.callAfter(CLOSE_TIMEOUT_MS, () => {
      isLate = true;
      this.request?.abort(new Error("the broker stops"));
    });
    await this.sending;
    while (this.spans.length > 0 && this.retryMs === 0 && !isLate) await this.sendOldest();
    clock.cancel(timer);
    this.dropped += this.spans.length;
    this.spans.length = 0;
  }
}
