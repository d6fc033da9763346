import {
  DETAIL_DAMAGED,
  DETAIL_DISCONNECTED,
  DETAIL_OPERATOR,
  DETAIL_SAMPLED,
  DETAIL_SINGLY,
  DETAIL_TOO_MANY,
  DETAIL_TOPIC_EMPTIED,
  KIND_CONTEXT,
  KIND_DEFERRED,
  KIND_DELETED,
  KIND_DELIVERED,
  KIND_DISCARDED,
  KIND_EMPTIED,
  KIND_ENTRY_CONTEXT,
  KIND_ENTRY_STATE,
  KIND_FINISHED,
  KIND_JOINED,
  KIND_MOVED,
  KIND_PUBLISHED,
  KIND_REFUSED,
  KIND_REQUEUED,
  KIND_STATE,
  KIND_TIMED_OUT,
  KIND_TOUCHED,
} from "./record.ts";
import type { NamedEvent } from "./trace-search.ts";
import { formatTraceparent } from "./traceparent.ts";

type LifeKind = "published" | "deferred" | "delivered" | "touched" | "requeued" | "timed_out" | "finished" | "moved" | "discarded";

/** One event of a message's life, as GET /message/trace answers it. */
export interface LifeEvent {
  /** ms since 1970 */
  time: number;
  kind: LifeKind;
  /** null: it concerns all channels */
  channel: string | null;
  /** Deliveries so far. */
  attempts: number | null;
  /** Who: a client or an operator. */
  by: string | null;
  delay_ms: number | null;
  detail: string | null;
}

const LIFE_KINDS = new Map<number, LifeKind>([
  [KIND_PUBLISHED, "published"],
  [KIND_DEFERRED, "deferred"],
  [KIND_JOINED, "published"],
  [KIND_DELIVERED, "delivered"],
  [KIND_TOUCHED, "touched"],
  [KIND_REQUEUED, "requeued"],
  [KIND_TIMED_OUT, "timed_out"],
  [KIND_FINISHED, "finished"],
  [KIND_DISCARDED, "discarded"],
]);

const DETAILS = new Map([
  [DETAIL_SAMPLED, "left out by the consumer's sample rate"],
  [DETAIL_DISCONNECTED, "its consumer disconnected"],
  [DETAIL_DAMAGED, "damaged on the disk"],
  [DETAIL_TOO_MANY, "more than --mem-queue-size messages waited"],
  [DETAIL_OPERATOR, "an operator's call"],
  [DETAIL_TOPIC_EMPTIED, "the topic was emptied"],
]);

/**
 * The life of one message.
 *
 * @param events what was recorded about it, oldest first
 * @param channel only what concerns this channel; undefined: all
 */
export function lifeOf(events: readonly NamedEvent[], sequence: number, channel?: string): LifeEvent[] {
  const life = new Life(sequence);
  for (const event of events) life.add(event);
  return life.events.filter((event) => channel === undefined || event.channel === null || event.channel === channel);
}

class Life {
  events: LifeEvent[] = [];
  /** Channels that have the message unfinished, as far as the trace tells. */
  private readonly unfinished = new Set<string>();
  private readonly finished = new Set<string>();
  /** The event before was a piece of a tracestate. */
  private isInState = false;
  /** Deliveries so far, by channel. A record of a run that was finished does not say them. */
  private readonly attempts = new Map<string, number>();

  constructor(private readonly sequence: number) {}

  add(event: NamedEvent): void {
    if (event.state === undefined) this.isInState = false;
    switch (event.kind) {
      case KIND_REFUSED:
        // What was published under this sequence was refused: it was another message.
        this.events = this.events.filter(({ kind }) => kind === "deferred");
        return;
      case KIND_CONTEXT:
      case KIND_ENTRY_CONTEXT:
        return this.addContext(event);
      case KIND_STATE:
      case KIND_ENTRY_STATE:
        return this.addState(event);
      case KIND_EMPTIED:
      case KIND_MOVED:
      case KIND_DELETED:
        return this.addRestart(event);
      case KIND_DEFERRED:
        // Numbers of entries that could not be stored are given again.
        this.events = [];
        break;
      case KIND_JOINED:
        return this.push(event, "published", { by: this.events[0]?.by ?? null, detail: "it was due and joined the topic's log" });
    }
    const kind = LIFE_KINDS.get(event.kind);
    if (kind === undefined) return;
    const isOfBatch = event.kind === KIND_PUBLISHED && event.count > 1 && event.detail !== DETAIL_SINGLY;
    const detail = isOfBatch ? `one of ${event.count} in a batch` : (DETAILS.get(event.detail) ?? null);
    this.push(event, kind, { detail });
    const { channelName } = event;
    if (channelName === undefined) return;
    if (kind === "finished" || kind === "discarded") {
      this.unfinished.delete(channelName);
      this.finished.add(channelName);
    } else if (kind !== "touched") {
      this.unfinished.add(channelName);
    }
  }

  private push(event: NamedEvent, kind: LifeKind, more: Partial<LifeEvent>): void {
    this.events.push({
      time: event.timeMs,
      kind,
      channel: event.channelName ?? null,
      attempts: this.attemptsOf(event, kind),
      by: event.byName ?? null,
      delay_ms: kind === "requeued" || kind === "deferred" ? event.delayMs : null,
      detail: null,
      ...more,
    });
  }

  private attemptsOf({ attempts, channelName = "" }: NamedEvent, kind: LifeKind): number | null {
    if (attempts === 0) return kind === "finished" ? (this.attempts.get(channelName) ?? null) : null;
    this.attempts.set(channelName, attempts);
    return attempts;
  }

  /** The context belongs to the publish before it. */
  private addContext({ context }: NamedEvent): void {
    const last = this.events[this.events.length - 1];
    if (last === undefined || context === undefined) return;
    const text = `traceparent ${formatTraceparent(context)}`;
    last.detail = last.detail === null ? text : `${last.detail}; ${text}`;
  }

  /** The tracestate belongs to the context before it. It is in one record or several. */
  private addState({ state }: NamedEvent): void {
    const last = this.events[this.events.length - 1];
    if (last === undefined || last.detail === null || state === undefined) return;
    last.detail += this.isInState ? state : `; tracestate ${state}`;
    this.isInState = true;
  }

  /** The channel was moved, emptied or deleted. That concerns the message if the channel had it, or gets it again. */
  private addRestart(event: NamedEvent): void {
    const { sequence, unfinished, finished } = this;
    const { channelName } = event;
    if (channelName === undefined) return;
    // What is known of the message comes first: it may be in the deferred store, below the channel's floor.
    const had = unfinished.has(channelName) || (sequence >= event.entry && !finished.has(channelName) && this.events.length > 0);
    const isBehind = sequence < event.sequence;
    if (event.kind === KIND_MOVED && !isBehind) {
      // One that was waiting still is.
      if (!unfinished.has(channelName) && !finished.has(channelName)) return;
      finished.delete(channelName);
      unfinished.delete(channelName);
      return this.push(event, "moved", {
        detail: `the channel was moved to sequence ${event.sequence}: it gets the message as if for the first time`,
      });
    }
    if (!had || !isBehind) return;
    unfinished.delete(channelName);
    finished.add(channelName);
    if (event.kind === KIND_MOVED)
      this.push(event, "moved", { detail: `the channel was moved to sequence ${event.sequence}, behind the message` });
    else this.push(event, "discarded", { detail: event.kind === KIND_EMPTIED ? "the channel was emptied" : "the channel was deleted" });
  }
}
