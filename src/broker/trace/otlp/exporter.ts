import type { Clock, Timer } from "../../../base/clock.ts";
import type { RandomSource } from "../../../base/random-source.ts";
import type { RateLimitedLog } from "../../../base/rate-limited-log.ts";
import { StartError } from "../../../base/start-error.ts";
import { BUNSQ_VERSION } from "../../../version.ts";
import { RECORD_BYTES } from "../record.ts";
import { batchAt, type TraceBatch, visitNames } from "../trace-batch.ts";
import { eventAt } from "../trace-event.ts";
import type { NamedEvent } from "../trace-search.ts";
import { OpenSpans, type TopicFacts } from "./open-spans.ts";
import { type OtlpSpan, text } from "./span.ts";

/** The path of the collector's call, which is added to the endpoint. */
const TRACES_PATH = "/v1/traces";
/** Batches of records that wait to be made into spans: some 8 MiB. Further ones are dropped. */
const MOST_BATCHES = 25;
/** So many messages of records are looked at in a row, which takes about a millisecond, and so often. */
const MESSAGES_PER_SLICE = 1000;
const SLICE_INTERVAL_MS = 5;
/** Spans that wait to be sent. Further ones are dropped. */
const MOST_SPANS = 8192;
const SPANS_PER_REQUEST = 128;
/** Spans wait so long for others to be sent with. */
const SEND_INTERVAL_MS = 1000;
const REQUEST_TIMEOUT_MS = 10_000;
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 30_000;
/** A stop waits no longer for what is left to be sent. */
const CLOSE_TIMEOUT_MS = 2000;
/** Answers after which the same request may succeed later (https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes). */
const RETRYABLE = new Set([429, 502, 503, 504]);

/** What the exporter needs of its broker. */
export interface OtlpExporterParts {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly rateLimitedLog: Pick<RateLimitedLog, "error">;
  topic(number: number): TopicFacts | undefined;
}

/** Records that were not made into spans yet. */
interface WaitingBatch {
  readonly bytes: Buffer;
  readonly batch: TraceBatch;
  readonly generation: number;
  /** Offset of the next record, and how many of its messages were looked at. */
  at: number;
  done: number;
}

/**
 * Sends spans of traced messages to an OpenTelemetry collector, by OTLP/HTTP in JSON. It gets what is recorded when that is written,
 * and makes spans of it in small slices. Whatever does not fit into its queues, because the collector or this process is slow, is
 * dropped and counted; nothing ever waits for it.
 */
export class OtlpExporter {
  /** Spans that the collector has accepted. */
  sent = 0;
  /** Spans that were dropped because too many waited, or the collector refused them. */
  dropped = 0;
  /** Records that were dropped because too many waited. */
  droppedRecords = 0;

  private readonly batches: WaitingBatch[] = [];
  private readonly spans: OtlpSpan[] = [];
  private readonly open: OpenSpans;
  /** Names by number, and the generation that they are of. */
  private names = new Map<number, string>();
  private generation = 0;
  private topics = new Map<number, TopicFacts | undefined>();
  private sliceTimer: Timer | undefined;
  private sendTimer: Timer | undefined;
  private sending: Promise<void> | undefined;
  private retryMs = FIRST_RETRY_MS;
  private closed = false;

  private constructor(
    readonly url: string,
    /** Name of this broker. */
    private readonly instance: string,
    private readonly parts: OtlpExporterParts,
  ) {
    const { random } = parts;
    this.open = new OpenSpans({
      topic: (number) => this.topicFacts(number),
      end: (span) => this.queue(span),
      random: (target) => random(Buffer.from(target.buffer, target.byteOffset, target.byteLength)),
    });
  }

  /** @returns undefined without an endpoint @throws StartError for one that is no URL */
  static from(endpoint: string, instance: string, parts: OtlpExporterParts): OtlpExporter | undefined {
    if (endpoint === "") return undefined;
    const url = URL.parse(endpoint);
    if (url === null || !/^https?:$/.test(url.protocol)) {
      throw new StartError(`invalid -otlp-endpoint "${endpoint}": give a URL such as http://localhost:4318`);
    }
    if (!url.pathname.endsWith(TRACES_PATH)) url.pathname = url.pathname.replace(/\/*$/, TRACES_PATH);
    return new OtlpExporter(url.href, instance, parts);
  }

  /** Spans that wait, for a collector or for their end. */
  get waiting(): { spans: number; messages: number; abandoned: number } {
    return { spans: this.spans.length, messages: this.open.size, abandoned: this.open.abandoned };
  }

  /** Takes a batch of records (tracer.ts). Its bytes are copied. */
  readonly take = (bytes: Buffer, length: number, generation: number): void => {
    const found = batchAt(bytes, 0, length);
    if (typeof found === "string" || this.closed) return;
    if (this.batches.length >= MOST_BATCHES) {
      this.droppedRecords += found.records;
      return;
    }
    this.batches.push({ bytes: Buffer.from(bytes.subarray(0, length)), batch: found, generation, at: found.from, done: 0 });
    this.sliceTimer ??= this.parts.clock.callAfter(SLICE_INTERVAL_MS, this.slice);
  };

  // ---- from records to spans

  private readonly slice = (): void => {
    this.sliceTimer = undefined;
    this.topics.clear();
    let left = MESSAGES_PER_SLICE;
    while (left > 0 && this.batches.length > 0) left -= this.advance(this.batches[0], left);
    if (this.batches.length > 0) this.sliceTimer = this.parts.clock.callAfter(SLICE_INTERVAL_MS, this.slice);
  };

  /** Goes on with a batch by up to `most` messages. @returns how many, but at least 1 */
  private advance(waiting: WaitingBatch, most: number): number {
    const { bytes, batch } = waiting;
    if (waiting.at === batch.from && waiting.done === 0) this.takeNames(waiting);
    if (waiting.at >= batch.namesFrom) {
      this.batches.shift();
      return 1;
    }
    const record = eventAt(bytes, waiting.at);
    const event: NamedEvent = { ...record, byName: this.names.get(record.by), channelName: this.names.get(record.channel) };
    // A refusal is about all sequences from one on.
    const count = record.count === 0xffffffff ? 1 : record.count;
    const taken = Math.min(most, count - waiting.done);
    for (let i = 0; i < taken; i++) this.open.take(event, record.sequence + waiting.done + i);
    waiting.done += taken;
    if (waiting.done >= count) {
      waiting.at += RECORD_BYTES;
      waiting.done = 0;
    }
    return Math.max(1, taken);
  }

  private takeNames({ bytes, batch, generation }: WaitingBatch): void {
    if (generation !== this.generation) {
      this.generation = generation;
      this.names = new Map();
    }
    visitNames(bytes, batch, (number, name) => this.names.set(number, name));
  }

  private topicFacts(number: number): TopicFacts | undefined {
    if (!this.topics.has(number)) this.topics.set(number, this.parts.topic(number));
    return this.topics.get(number);
  }

  private queue(span: OtlpSpan): void {
    if (this.spans.length >= MOST_SPANS) {
      this.dropped++;
      return;
    }
    this.spans.push(span);
    if (this.spans.length >= SPANS_PER_REQUEST && this.retryMs === FIRST_RETRY_MS) this.send();
    else if (this.sending === undefined) this.sendTimer ??= this.parts.clock.callAfter(SEND_INTERVAL_MS, this.onSendTimer);
  }

  // ---- to the collector

  private readonly onSendTimer = (): void => {
    this.sendTimer = undefined;
    this.send();
  };

  private send(): void {
    if (this.sending !== undefined || this.spans.length === 0) return;
    if (this.sendTimer !== undefined) this.parts.clock.cancel(this.sendTimer);
    this.sendTimer = undefined;
    this.sending = this.sendBatch().finally(() => {
      this.sending = undefined;
      if (this.spans.length === 0 || this.closed) return;
      const delayMs = this.retryMs > FIRST_RETRY_MS ? this.retryMs : this.spans.length >= SPANS_PER_REQUEST ? 0 : SEND_INTERVAL_MS;
      this.sendTimer ??= this.parts.clock.callAfter(delayMs, this.onSendTimer);
    });
  }

  /** Sends the oldest spans. They stay in the queue if it may succeed later. */
  private async sendBatch(): Promise<void> {
    const spans = this.spans.slice(0, SPANS_PER_REQUEST);
    const failure = await this.post(this.request(spans));
    if (failure === undefined) {
      this.spans.splice(0, spans.length);
      this.sent += spans.length;
      this.retryMs = FIRST_RETRY_MS;
      return;
    }
    this.parts.rateLimitedLog.error(`OTLP: cannot send spans to ${this.url}: ${failure.why}`);
    if (failure.mayRetry) {
      this.retryMs = Math.min(LONGEST_RETRY_MS, 2 * this.retryMs);
    } else {
      this.spans.splice(0, spans.length);
      this.dropped += spans.length;
    }
  }

  private async post(body: string): Promise<{ why: string; mayRetry: boolean } | undefined> {
    try {
      const response = await fetch(this.url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
        redirect: "error",
        signal: AbortSignal.timeout(this.closed ? CLOSE_TIMEOUT_MS : REQUEST_TIMEOUT_MS),
      });
      await response.body?.cancel();
      return response.ok ? undefined : { why: `it answered ${response.status}`, mayRetry: RETRYABLE.has(response.status) };
    } catch (error) {
      return { why: (error as Error).message, mayRetry: true };
    }
  }

  /** The body of an ExportTraceServiceRequest. */
  private request(spans: OtlpSpan[]): string {
    const attributes = [text("service.name", "bunsq"), text("service.version", BUNSQ_VERSION), text("service.instance.id", this.instance)];
    return JSON.stringify({
      resourceSpans: [{ resource: { attributes }, scopeSpans: [{ scope: { name: "bunsq", version: BUNSQ_VERSION }, spans }] }],
    });
  }

  /** Makes spans of what has come, and sends them if the collector takes them within CLOSE_TIMEOUT_MS. */
  async close(): Promise<void> {
    const { clock } = this.parts;
    this.closed = true;
    for (const timer of [this.sliceTimer, this.sendTimer]) if (timer !== undefined) clock.cancel(timer);
    while (this.batches.length > 0 && this.spans.length < MOST_SPANS) this.advance(this.batches[0], MESSAGES_PER_SLICE);
    let isLate = false;
    let stopWaiting = () => {};
    const late = new Promise<void>((resolve) => {
      stopWaiting = resolve;
    });
    const timer = clock.callAfter(CLOSE_TIMEOUT_MS, () => {
      isLate = true;
      stopWaiting();
    });
    await Promise.race([this.sending, late]);
    while (this.spans.length > 0 && !isLate && this.retryMs === FIRST_RETRY_MS) {
      const before = this.sent;
      await Promise.race([this.sendBatch(), late]);
      if (this.sent === before) break;
    }
    clock.cancel(timer);
    this.dropped += this.spans.length;
  }
}
