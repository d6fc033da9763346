import type { Timestamp } from "../../frame/layout.ts";
import type { ChannelPartition } from "./channel/channel-partition.ts";
import type { TopicPartition } from "./topic-partition.ts";

/**
 * What topics and channels need of the event loop's current turn: its time, and a way to leave work for the tick at its end.
 * Whoever calls one of the queue methods does not call it again for the same one before the tick has done the work.
 */
export interface Turn {
  /** Time of this turn, by which timeouts and delays go, ms. */
  readonly nowMs: number;
  /** Time at this moment, ms. The turn's time may be old where the turn did not begin with a socket. */
  readonly currentMs: number;
  /** What the wall clock said in this turn, ms. */
  readonly wallMs: number;
  /** The time by which things are too old to be kept, ms: the wall clock's, unless that was just set ahead. */
  readonly agingMs: number;
  /** Time of this turn by a clock that nobody sets, ms. */
  readonly steadyMs: number;
  /** Time of this turn for message timestamps, ns. */
  readonly time: Timestamp;

  /** Reads the clock. Code that publishes outside of a socket's callback has to call it first. */
  readClock(): void;
  /** Asks for a tick at the end of this turn, because something was staged in the deferred store or a publish waits to be acknowledged. */
  schedule(): void;
  /** Asks to be woken at a time: for deadlines and due messages. */
  wakeAt(atMs: number): void;

  /** Has the tick commit the partition's log. */
  queueCommit(partition: TopicPartition): void;
  /** Has the partition's log synced before the publishes that were committed are acknowledged. This one may be called repeatedly. */
  queueSync(partition: TopicPartition): void;
  /** Has the chunks and segments freed that the channels do not need any more. */
  queueTrim(partition: TopicPartition): void;
  /** Has the tick dispatch the channel's messages. */
  queueDispatch(channel: ChannelPartition): void;
}
