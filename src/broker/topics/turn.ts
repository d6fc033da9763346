import type { Timestamp } from "../../frame/layout.ts";
import type { Channel } from "./channel/channel.ts";
import type { Topic } from "./topic.ts";

/**
 * What topics and channels need of the turn of the event loop that is under way: its time, and a way to leave work for
 * the tick at its end. Each queue…() is called once until the tick has done that work.
 */
export interface Turn {
  /** Time of this turn, by which timeouts and delays go, ms. */
  readonly nowMs: number;
  /** Time at this moment, ms: where no socket brought one here, the turn's may be old. */
  readonly currentMs: number;
  /** What the wall clock said in this turn, ms. */
  readonly wallMs: number;
  /** Time of this turn by a clock that nobody sets, ms. */
  readonly steadyMs: number;
  /** Time of this turn for message timestamps, ns. */
  readonly time: Timestamp;

  /** Reads the clock. To be called at the start of a callback that publishes by itself. */
  readClock(): void;
  /** Asks for a tick at the end of this turn: something was staged in the deferred store, or a publish waits to be answered. */
  schedule(): void;
  /** Asks to be woken at a time: for deadlines and due messages. */
  wakeAt(atMs: number): void;

  /** The topic's log has messages to commit. */
  queueCommit(topic: Topic): void;
  /** The topic has commits that must be synced before they are acknowledged. */
  queueSync(topic: Topic): void;
  /** A floor or a cursor of the topic's channels moved: chunks and segments of its log may be free. */
  queueTrim(topic: Topic): void;
  /** The channel may have something to deliver, and somebody to deliver it to. */
  queueDispatch(channel: Channel): void;
}
