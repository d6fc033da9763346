import {
  DETAIL_NONE,
  KIND_DEFERRED,
  KIND_DELETED,
  KIND_DELIVERED,
  KIND_DISCARDED,
  KIND_EMPTIED,
  KIND_FINISHED,
  KIND_JOINED,
  KIND_MOVED,
  KIND_PUBLISHED,
  KIND_REFUSED,
  KIND_REQUEUED,
  KIND_TIMED_OUT,
  KIND_TOUCHED,
} from "./record.ts";
import { type Origin, TraceName } from "./trace-name.ts";
import type { Tracer } from "./tracer.ts";

/** The trace of a topic, while that is traced. Messages in a row are one record. */
export class TopicTrace {
  constructor(
    private readonly tracer: Tracer,
    private readonly topicNumber: number,
  ) {}

  /** The name with a text, for an origin. */
  named(text: string): TraceName {
    return this.tracer.named(text);
  }

  published(origin: Origin | undefined, sequence: number, count: number): void {
    const { tracer, topicNumber } = this;
    const hasContext = origin?.traceContext !== undefined;
    if (count === 1 && !hasContext && tracer.addToPublish(topicNumber, origin?.traceName, sequence)) return;
    tracer.add(KIND_PUBLISHED, topicNumber, undefined, origin?.traceName, sequence, count, 0, DETAIL_NONE, 0, 0);
    if (origin?.traceContext !== undefined) tracer.addContext(topicNumber, sequence, count, false, origin.traceContext, origin.traceState);
  }

  /** @param entry number of the publish in the deferred store */
  deferred(origin: Origin | undefined, entry: number, delayMs: number): void {
    const { tracer, topicNumber } = this;
    tracer.add(KIND_DEFERRED, topicNumber, undefined, origin?.traceName, entry, 1, 0, DETAIL_NONE, delayMs, entry);
    if (origin?.traceContext !== undefined) tracer.addContext(topicNumber, entry, 1, true, origin.traceContext, origin.traceState);
  }

  /** A deferred publish has joined the log. */
  joined(entry: number, sequence: number): void {
    this.tracer.add(KIND_JOINED, this.topicNumber, undefined, undefined, sequence, 1, 0, DETAIL_NONE, 0, entry);
  }

  /** The publishes from a sequence on were refused, because they could not be written. */
  refused(sequence: number): void {
    this.tracer.add(KIND_REFUSED, this.topicNumber, undefined, undefined, sequence, 0xffffffff, 0, DETAIL_NONE, 0, 0);
  }

  /** Messages were dropped before any channel got them. */
  discarded(sequence: number, count: number, detail: number): void {
    this.tracer.add(KIND_DISCARDED, this.topicNumber, undefined, undefined, sequence, count, 0, detail, 0, 0);
  }
}

/** The trace of a channel, while that or its topic is traced. */
export class ChannelTrace {
  private readonly channel: TraceName;

  constructor(
    private readonly tracer: Tracer,
    private readonly topicNumber: number,
    channelName: string,
  ) {
    this.channel = new TraceName(channelName);
  }

  delivered(by: TraceName, sequence: number, count: number, attempts: number): void {
    this.tracer.add(KIND_DELIVERED, this.topicNumber, this.channel, by, sequence, count, attempts, DETAIL_NONE, 0, 0);
  }

  touched(by: TraceName, sequence: number, attempts: number): void {
    this.tracer.add(KIND_TOUCHED, this.topicNumber, this.channel, by, sequence, 1, attempts, DETAIL_NONE, 0, 0);
  }

  requeued(by: TraceName | undefined, sequence: number, attempts: number, delayMs: number, detail = DETAIL_NONE): void {
    this.tracer.add(KIND_REQUEUED, this.topicNumber, this.channel, by, sequence, 1, attempts, detail, delayMs, 0);
  }

  timedOut(by: TraceName | undefined, sequence: number, attempts: number): void {
    this.tracer.add(KIND_TIMED_OUT, this.topicNumber, this.channel, by, sequence, 1, attempts, DETAIL_NONE, 0, 0);
  }

  finished(by: TraceName | undefined, sequence: number, count: number, attempts: number, detail = DETAIL_NONE): void {
    this.tracer.add(KIND_FINISHED, this.topicNumber, this.channel, by, sequence, count, attempts, detail, 0, 0);
  }

  discarded(sequence: number, count: number, detail: number): void {
    this.tracer.add(KIND_DISCARDED, this.topicNumber, this.channel, undefined, sequence, count, 0, detail, 0, 0);
  }

  /** The channel goes on at another message, and has discarded all that it had. @param floor its floor before */
  restarted(isEmptied: boolean, sequence: number, floor: number): void {
    const kind = isEmptied ? KIND_EMPTIED : KIND_MOVED;
    this.tracer.add(kind, this.topicNumber, this.channel, undefined, sequence, 1, 0, DETAIL_NONE, 0, floor);
  }

  /** The channel was deleted. @param end of what it had */
  deleted(end: number, floor: number): void {
    this.tracer.add(KIND_DELETED, this.topicNumber, this.channel, undefined, end, 1, 0, DETAIL_NONE, 0, floor);
  }
}
