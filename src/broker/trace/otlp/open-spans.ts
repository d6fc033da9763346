import { SEQUENCE_SPAN } from "../../../frame/id.ts";
import {
  KIND_CONTEXT,
  KIND_DEFERRED,
  KIND_DELETED,
  KIND_EMPTIED,
  KIND_ENTRY_CONTEXT,
  KIND_ENTRY_STATE,
  KIND_JOINED,
  KIND_MOVED,
  KIND_PUBLISHED,
  KIND_REFUSED,
  KIND_STATE,
} from "../record.ts";
import type { NamedEvent } from "../trace-search.ts";
import { CONTEXT_BYTES, SAMPLED, SPAN_ID_BYTES, TRACE_ID_BYTES } from "../traceparent.ts";
import { MAX_TRACESTATE_BYTES } from "../tracestate.ts";
import { eventName, isEnd, type OtlpSpan, type SpanFacts, type SpanMoment, spanJson } from "./span.ts";

/** Messages that are followed at the same time. Beyond that the span of the oldest is given up. */
const MOST_OPEN = 50_000;
/** The most events of a span, as in OpenTelemetry's SDKs. */
const MOST_MOMENTS = 128;
const HEX_DIGITS_OF_PREFIX = 6;
const HEX_DIGITS_OF_SEQUENCE = 10;

/** What is known of a topic. */
export interface TopicFacts {
  readonly name: string;
  /** The beginning of its messages' ids. */
  readonly prefix: number;
  readonly channels: number;
}

/** A message whose life is not over. */
interface OpenMessage {
  readonly topicNumber: number;
  readonly sequence: number;
  startMs: number;
  by: string | undefined;
  /** Trace id (16), parent span id (8) and flags (1); without a parent, zeros for its id. */
  context: Uint8Array | undefined;
  /** The tracestate that came with the context. */
  state: string;
  /** What happened before any channel got it. */
  readonly before: SpanMoment[];
  readonly channels: Map<string, SpanMoment[]>;
  ended: number;
}

/** What open spans need of their exporter. */
export interface OpenSpansParts {
  /** Undefined for a topic that is gone. */
  topic(number: number): TopicFacts | undefined;
  /** Takes a span that has ended. */
  end(span: OtlpSpan): void;
  random(target: Uint8Array): void;
}

/**
 * Makes spans of what was recorded: one for each channel of each message, from the publish to its end there. All spans of a message
 * have the trace id that came with it, or else one of their own.
 */
export class OpenSpans {
  /** Messages whose spans were given up. */
  abandoned = 0;
  private readonly messages = new Map<string, OpenMessage>();
  /** Deferred publishes, by topic and entry. */
  private readonly entries = new Map<string, OpenMessage>();

  constructor(private readonly parts: OpenSpansParts) {}

  get size(): number {
    return this.messages.size + this.entries.size;
  }

  /** Takes a record, as far as it is about one message. @param sequence of that; for a deferred publish the number of its entry */
  take(event: NamedEvent, sequence: number): void {
    const { kind, topic } = event;
    const key = `${topic} ${sequence}`;
    switch (kind) {
      case KIND_PUBLISHED:
        this.open(this.messages, key, event, sequence);
        return;
      case KIND_DEFERRED:
        this.open(this.entries, key, event, sequence).before.push(moment(event));
        return;
      case KIND_CONTEXT:
      case KIND_ENTRY_CONTEXT: {
        const message = (kind === KIND_CONTEXT ? this.messages : this.entries).get(key);
        if (message !== undefined) message.context = event.context;
        return;
      }
      case KIND_STATE:
      case KIND_ENTRY_STATE: {
        const message = (kind === KIND_STATE ? this.messages : this.entries).get(key);
        // The bound holds whatever the records say.
        if (message !== undefined && message.state.length < MAX_TRACESTATE_BYTES) message.state += event.state ?? "";
        return;
      }
      case KIND_JOINED:
        return this.join(event, key, sequence);
      case KIND_REFUSED:
        return this.refuse(topic, sequence);
      case KIND_EMPTIED:
      case KIND_MOVED:
      case KIND_DELETED:
        return this.restart(event, sequence);
    }
    this.inChannel(event, key, sequence);
  }

  private open(among: Map<string, OpenMessage>, key: string, event: NamedEvent, sequence: number): OpenMessage {
    if (this.size >= MOST_OPEN) this.giveUpOldest(this.messages.size >= this.entries.size ? this.messages : this.entries);
    const message: OpenMessage = {
      topicNumber: event.topic,
      sequence,
      startMs: event.timeMs,
      by: event.byName,
      context: undefined,
      state: "",
      before: [],
      channels: new Map(),
      ended: 0,
    };
    among.delete(key);
    among.set(key, message);
    return message;
  }

  private giveUpOldest(among: Map<string, OpenMessage>): void {
    for (const key of among.keys()) {
      among.delete(key);
      this.abandoned++;
      return;
    }
  }

  private join(event: NamedEvent, key: string, sequence: number): void {
    const entryKey = `${event.topic} ${event.entry}`;
    const deferred = this.entries.get(entryKey);
    this.entries.delete(entryKey);
    const message = this.open(this.messages, key, event, sequence);
    if (deferred === undefined) return;
    message.startMs = deferred.startMs;
    message.by = deferred.by;
    message.context = deferred.context;
    message.state = deferred.state;
    message.before.push(...deferred.before, moment(event));
  }

  /** Something happened to a message in a channel, or before it came to any. */
  private inChannel(event: NamedEvent, key: string, sequence: number): void {
    const channel = event.channelName;
    const ends = isEnd(event.kind);
    let message = this.messages.get(key);
    if (message === undefined) {
      // Its publish was not traced, or its span was given up.
      if (ends || channel === undefined) return;
      message = this.open(this.messages, key, event, sequence);
    }
    if (channel === undefined) {
      this.messages.delete(key);
      return this.end(message, "", event);
    }
    const moments = message.channels.get(channel) ?? [];
    if (!ends) {
      message.channels.set(channel, moments);
      if (moments.length >= MOST_MOMENTS) moments.splice(1, 1);
      moments.push(moment(event));
      return;
    }
    this.end(message, channel, event);
    const channels = this.parts.topic(message.topicNumber)?.channels ?? 0;
    if (message.channels.size === 0 && message.ended >= channels) this.messages.delete(key);
  }

  private refuse(topicNumber: number, from: number): void {
    for (const [key, message] of this.messages)
      if (message.topicNumber === topicNumber && message.sequence >= from) this.messages.delete(key);
  }

  /** A channel was emptied, deleted or moved: what it had in hand below the place where it goes on has ended. */
  private restart(event: NamedEvent, target: number): void {
    const channel = event.channelName ?? "";
    for (const message of this.messages.values()) {
      if (message.topicNumber !== event.topic || !message.channels.has(channel)) continue;
      if (message.sequence < target) this.end(message, channel, event);
      else message.channels.get(channel)?.push(moment(event));
    }
  }

  private end(message: OpenMessage, channel: string, event: NamedEvent): void {
    const topic = this.parts.topic(message.topicNumber);
    const moments = message.channels.get(channel) ?? [];
    message.channels.delete(channel);
    message.ended++;
    message.context ??= this.newContext();
    // The caller of the publish does not record its trace.
    if ((message.context[CONTEXT_BYTES - 1] & SAMPLED) === 0) return;
    const spanId = new Uint8Array(SPAN_ID_BYTES);
    this.parts.random(spanId);
    const facts: SpanFacts = {
      context: message.context,
      state: message.state,
      spanId,
      topic: topic?.name ?? "",
      channel,
      messageId: topic === undefined ? "" : idText(topic.prefix, message.sequence),
      publishedBy: message.by,
      startMs: message.startMs,
      endMs: event.timeMs,
      moments: [...message.before, ...moments, moment(event)],
      last: event.kind,
    };
    this.parts.end(spanJson(facts));
  }

  private newContext(): Uint8Array {
    const context = new Uint8Array(CONTEXT_BYTES);
    this.parts.random(context.subarray(0, TRACE_ID_BYTES));
    context[CONTEXT_BYTES - 1] = SAMPLED;
    return context;
  }
}

function moment(event: NamedEvent): SpanMoment {
  const { timeMs, attempts, byName, delayMs, kind } = event;
  return { timeMs, name: eventName(kind), attempts, by: byName, delayMs };
}

function idText(prefix: number, sequence: number): string {
  const low = (sequence % SEQUENCE_SPAN).toString(16).padStart(HEX_DIGITS_OF_SEQUENCE, "0");
  return prefix.toString(16).padStart(HEX_DIGITS_OF_PREFIX, "0") + low;
}
