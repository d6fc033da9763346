import type { Clock, Timer } from "../../../base/clock.ts";
import type { RandomSource } from "../../../base/random-source.ts";
import type { RateLimitedLog } from "../../../base/rate-limited-log.ts";
import { StartError } from "../../../base/start-error.ts";
import { RECORD_BYTES } from "../record.ts";
import { batchAt, type TraceBatch, visitNames } from "../trace-batch.ts";
import { eventAt } from "../trace-event.ts";
import type { NamedEvent } from "../trace-search.ts";
import { OpenSpans, type TopicFacts } from "./open-spans.ts";
import { SpanSender } from "./span-sender.ts";

/** The path of the collector's call, which is added to the endpoint. */
const TRACES_PATH = "/v1/traces";
/** Batches of records that wait to be made into spans: some 8 MiB. Further ones are dropped. */
const MOST_BATCHES = 25;
/** So many messages of records are looked at in a row, which takes about a millisecond, and so often. */
const MESSAGES_PER_SLICE = 1000;
const SLICE_INTERVAL_MS = 5;
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
  /** Records that were dropped because too many waited. */
  droppedRecords = 0;

  private readonly batches: WaitingBatch[] = [];
  private readonly sender: SpanSender;
  private readonly open: OpenSpans;
  /** Names by number, and the generation that they are of. */
  private names = new Map<number, string>();
  private generation = 0;
  private topics = new Map<number, TopicFacts | undefined>();
  private sliceTimer: Timer | undefined;
  private closed = false;

  private constructor(
    url: string,
    instance: string,
    private readonly parts: OtlpExporterParts,
  ) {
    const { random } = parts;
    this.sender = new SpanSender(url, instance, parts);
    this.open = new OpenSpans({
      topic: (number) => this.topicFacts(number),
      end: (span) => this.sender.add(span),
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

  /** Spans that the collector has accepted. */
  get sent(): number {
    return this.sender.sent;
  }

  /** Spans that were dropped because too many waited, or the collector refused them. */
  get dropped(): number {
    return this.sender.dropped;
  }

  /** Spans that wait, for a collector or for their end. */
  get waiting(): { spans: number; messages: number; abandoned: number } {
    return { spans: this.sender.waiting, messages: this.open.size, abandoned: this.open.abandoned };
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

  /** Makes spans of what has come, and sends them if the collector takes them soon. */
  async close(): Promise<void> {
    this.closed = true;
    if (this.sliceTimer !== undefined) this.parts.clock.cancel(this.sliceTimer);
    while (this.batches.length > 0 && !this.sender.isFull) this.advance(this.batches[0], MESSAGES_PER_SLICE);
    await this.sender.close();
  }
}
