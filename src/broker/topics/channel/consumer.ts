import type { Chunk } from "../../storage/log/chunk.ts";

/** What a channel knows of a client that subscribed to it. */
export interface Consumer {
  /** No other client of this broker has it, nor had it since the start. */
  readonly id: number;
  /** IN_ZONE, IN_REGION or ELSEWHERE (locality.ts): of the consumers that are ready, only the nearest get messages. */
  readonly nearness: number;
  /** Messages that it takes now: what its RDY leaves beside its messages in flight, and 0 while its socket is full. */
  readonly capacity: number;
  /** Percentage of the messages that it wants; 0: all. */
  readonly sampleRate: number;
  /** Time to answer for a message before it is delivered again. */
  readonly msgTimeoutMs: number;
  /** Messages that it has and did not answer for. sendRun() and sendAgain() add to it, the channel takes off. */
  inFlightCount: number;

  /** Sends a contiguous run of `count` messages, which lie in [from, to) of a chunk of the log. */
  sendRun(chunk: Chunk, from: number, to: number, count: number): void;

  /** Sends one message that was delivered before. Its frame, in [from, to), is copied, and carries the number of attempts. */
  sendAgain(buffer: Buffer, from: number, to: number, attempts: number): void;

  /** Ends the connection once the client has got what was sent to it: its channel was deleted. */
  closeGracefully(): void;
}
