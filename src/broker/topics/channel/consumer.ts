import type { Chunk } from "../../storage/log/chunk.ts";
import type { TopicLog } from "../../storage/log/topic-log.ts";
import type { TraceName } from "../../trace/trace-name.ts";
import type { Order } from "./channel-settings.ts";
import type { ReadyLimits } from "./ready-limits.ts";
import type { HeaderFilter } from "./selective/header-filter.ts";

/** What a client wants of its channel. */
export interface ConsumerWishes {
  /** It gets the messages with this tag alone, and these go to no consumer without it. Undefined: those that nobody else gets. */
  readonly tag?: Buffer | undefined;
  /** It gets the messages alone that this filter takes. */
  readonly filter?: HeaderFilter | undefined;
  /** The channel's order while it is subscribed (Channel.addConsumer()). Undefined: any. */
  readonly order?: Order | undefined;
}

/** What a channel knows of a client that subscribed to it. */
export interface Consumer {
  /** Unique among all clients since the broker started. */
  readonly id: number;
  /** IN_ZONE, IN_REGION or ELSEWHERE (locality.ts). Of the consumers that are ready, only the nearest get messages. */
  readonly nearness: number;
  /** It takes messages of this log alone; undefined: of all partitions. */
  readonly onlyLog: TopicLog | undefined;
  /** How many messages it takes now: its RDY count less its messages in flight, and 0 while its socket takes no bytes. */
  readonly capacity: number;
  /** Percentage of messages that it wants to get; 0: all of them. */
  readonly sampleRate: number;
  /** How long it has for a message before that is delivered again. */
  readonly msgTimeoutMs: number;
  /** What traces of messages call it. */
  readonly traceName: TraceName;
  /** Which messages it wants, and how; undefined: all that come. They do not change while it is subscribed. */
  readonly wishes?: ConsumerWishes | undefined;
  /** It is one of Youzan's, and cannot have messages of a topic whose messages have headers (TopicSettings.extended). */
  readonly lacksHeaders?: boolean;
  /** Messages that it has in flight. sendRun() and sendAgain() increase it, the channel decreases it. */
  inFlightCount: number;

  /** Sends a run of `count` messages, which are in [from, to) of a chunk of a log. */
  sendRun(log: TopicLog, chunk: Chunk, from: number, to: number, count: number): void;

  /**
   * Sends one message that was delivered before. Its record in [from, to) is copied, and `attempts` written into the copy.
   *
   * @param position of the record in the log; 0 if it is not known
   */
  sendAgain(log: TopicLog, buffer: Buffer, from: number, to: number, attempts: number, position: number): void;

  /** Bounds how many messages it has in flight, whatever it asked for. */
  limitReady?(limits: ReadyLimits): void;

  /** Closes the connection after everything was sent that is waiting to be. Called when the channel is deleted. */
  closeGracefully(): void;
}
