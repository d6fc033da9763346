import { MESSAGE_ID_BYTES } from "../frame/frame.ts";
import { ClientError } from "./errors.ts";

/** Where the parts of a message are in a frame's data. */
const ATTEMPTS_AT = 8;
const ID_AT = 10;
const BODY_AT = 26;
/** A message frame's data is at least this long. */
export const MIN_MESSAGE_BYTES = BODY_AT;

const decoder = new TextDecoder();

/** How a requeued message affects the consumer. */
export interface RequeueOptions {
  /** Whether it counts as a failure, so that the consumer backs off. Default true. */
  backoff?: boolean;
}

/** What an answer says about the consumer's health; "none" for answers that are not about the message. */
export type Outcome = "finished" | "failed" | "requeued" | "none";

/** Where a message came from, and where its answer goes. */
export interface MessageSource {
  readonly broker: string;
  readonly topic: string;
  readonly channel: string;
  /** Its connection is gone. */
  readonly isOver: boolean;
  /** @param at where the id is in the bytes. @returns false if the connection that the message came on is gone */
  finish(message: Message, bytes: Uint8Array, at: number, outcome: Outcome): boolean;
  requeue(message: Message, bytes: Uint8Array, at: number, delayMs: number | undefined, outcome: Outcome): boolean;
  touch(message: Message, bytes: Uint8Array, at: number): boolean;
}

/** A message that a consumer received. Its broker delivers it again unless it is finished in time. */
export class Message {
  /** How often it was delivered, with this delivery. */
  readonly attempts: number;
  /** Whether it was finished or requeued. */
  isAnswered = false;

  /** @param bytes has the frame's data in [from, to) */
  constructor(
    private readonly source: MessageSource,
    private readonly bytes: Uint8Array,
    private readonly from: number,
    private readonly to: number,
  ) {
    this.attempts = ((bytes[from + ATTEMPTS_AT] as number) << 8) | (bytes[from + ATTEMPTS_AT + 1] as number);
  }

  /** 16 characters. */
  get id(): string {
    const at = this.from + ID_AT;
    let id = "";
    for (let i = 0; i < MESSAGE_ID_BYTES; i++) id += String.fromCharCode(this.bytes[at + i] as number);
    return id;
  }

  /** The body's bytes: a view of what was received. */
  get body(): Uint8Array {
    return this.bytes.subarray(this.from + BODY_AT, this.to);
  }

  /** The body's length, bytes. */
  get size(): number {
    return this.to - this.from - BODY_AT;
  }

  /** When it was published, nanoseconds since 1970. */
  get timestamp(): bigint {
    return new DataView(this.bytes.buffer, this.bytes.byteOffset + this.from, 8).getBigInt64(0);
  }

  /** When it was published. */
  get publishedAt(): Date {
    return new Date(Number(this.timestamp / 1_000_000n));
  }

  get broker(): string {
    return this.source.broker;
  }

  get topic(): string {
    return this.source.topic;
  }

  get channel(): string {
    return this.source.channel;
  }

  /** Whether the connection that it came on is gone, so that it is delivered again and cannot be answered. */
  get isLost(): boolean {
    return this.source.isOver;
  }

  /** The body as UTF-8. */
  text(): string {
    return decoder.decode(this.body);
  }

  /** The body as JSON. @throws SyntaxError */
  json<Value = unknown>(): Value {
    return JSON.parse(this.text()) as Value;
  }

  /** The message is done. @returns false if it was answered before, or if its connection is gone and it is delivered again */
  finish(): boolean {
    return this.source.finish(this, this.bytes, this.from + ID_AT, "finished");
  }

  /**
   * The message is to be delivered again.
   *
   * @param delayMs when; by default after a time that grows with its attempts (`requeueDelayMs`)
   * @returns as finish()
   * @throws ClientError INVALID_OPTION for a delay that is no finite number
   */
  requeue(delayMs?: number, { backoff = true }: RequeueOptions = {}): boolean {
    // The broker would end the connection, with all other messages on it.
    if (delayMs !== undefined && !(Math.abs(delayMs) <= Number.MAX_SAFE_INTEGER)) {
      throw new ClientError("INVALID_OPTION", `invalid delay of ${delayMs} ms`);
    }
    return this.source.requeue(this, this.bytes, this.from + ID_AT, delayMs, backoff ? "failed" : "requeued");
  }

  /** The broker's time for an answer begins anew. @returns as finish() */
  touch(): boolean {
    return this.source.touch(this, this.bytes, this.from + ID_AT);
  }

  /** Finishes it without an effect on the consumer's back-off. @internal */
  finishQuietly(): boolean {
    return this.source.finish(this, this.bytes, this.from + ID_AT, "none");
  }

  /** Requeues it at once, because too many are in flight. @internal */
  giveBack(): boolean {
    return this.source.requeue(this, this.bytes, this.from + ID_AT, 0, "none");
  }
}
