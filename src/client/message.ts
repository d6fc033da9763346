import { MESSAGE_ID_BYTES } from "../frame/frame.ts";
import { ClientError } from "./errors.ts";
import { type MessageHeaders, NO_HEADER, type ReadHeader, readHeader } from "./message-header.ts";

/** Where the parts of a message are in a frame's data. */
const ATTEMPTS_AT = 8;
const ID_AT = 10;
const BODY_AT = 26;
/** Ids of 16 bytes have the message's number first, and then its trace id. */
const TRACE_ID_AT = 18;
const NUMBER_BYTES = 8;
/** The partition is in bits 50 to 59 of the number. */
const PARTITION_SHIFT = 50 - 32;
/** The byte in front of a body without a header; with one, its length and it follow. */
const NO_HEADER_VERSION = 0;
const HEADER_AT = BODY_AT + 3;

/** Where the body of a message begins, whose data is in [from, to); beyond `to` if it is too short. @param hasHeaders messages may have headers */
export function bodyStart(bytes: Uint8Array, from: number, to: number, hasHeaders: boolean): number {
  const at = from + BODY_AT;
  if (!hasHeaders) return at;
  if (at >= to || bytes[at] === NO_HEADER_VERSION) return at + 1;
  return from + HEADER_AT + (((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number));
}

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
  /** Messages have headers and ids of 16 bytes. */
  readonly hasHeaders: boolean;
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
  private header: ReadHeader | undefined;

  /** @param bytes has the frame's data in [from, to). @param bodyFrom of bodyStart() */
  constructor(
    private readonly source: MessageSource,
    private readonly bytes: Uint8Array,
    private readonly from: number,
    private readonly bodyFrom: number,
    private readonly to: number,
  ) {
    this.attempts = ((bytes[from + ATTEMPTS_AT] as number) << 8) | (bytes[from + ATTEMPTS_AT + 1] as number);
  }

  /** 16 hex digits. With headers, they are the partition and the message's number in it. */
  get id(): string {
    const at = this.from + ID_AT;
    let id = "";
    if (this.source.hasHeaders) {
      for (let i = 0; i < NUMBER_BYTES; i++) id += (this.bytes[at + i] as number).toString(16).padStart(2, "0");
      return id;
    }
    for (let i = 0; i < MESSAGE_ID_BYTES; i++) id += String.fromCharCode(this.bytes[at + i] as number);
    return id;
  }

  /** The body's bytes: a view of what was received. */
  get body(): Uint8Array {
    return this.bytes.subarray(this.bodyFrom, this.to);
  }

  /** The body's length, bytes. */
  get size(): number {
    return this.to - this.bodyFrom;
  }

  /** When it was published, nanoseconds since 1970. */
  get timestamp(): bigint {
    return this.view(0).getBigInt64(0);
  }

  // ---- what it carries, for a consumer that asks for headers

  /** Its headers; none if the consumer did not ask for headers. */
  get headers(): MessageHeaders {
    return this.readHeader().headers;
  }

  /** The key that it was published with; undefined: none, or the consumer did not ask for headers. */
  get key(): string | undefined {
    return this.readHeader().key;
  }

  /** The tag that it was published with; undefined as for the key. */
  get tag(): string | undefined {
    return this.readHeader().tag;
  }

  /** The trace id that it was published with; undefined as for the key. */
  get traceId(): bigint | undefined {
    if (!this.source.hasHeaders) return undefined;
    const traceId = this.view(TRACE_ID_AT).getBigUint64(0);
    return traceId === 0n ? undefined : traceId;
  }

  /** The partition that it is in; undefined if the consumer did not ask for headers. */
  get partition(): number | undefined {
    return this.source.hasHeaders ? this.view(ID_AT).getUint32(0) >>> PARTITION_SHIFT : undefined;
  }

  /** Its header as it was published; undefined: none. @internal */
  get headerText(): string | undefined {
    const at = this.from + HEADER_AT;
    return this.source.hasHeaders && this.bodyFrom > at ? decoder.decode(this.bytes.subarray(at, this.bodyFrom)) : undefined;
  }

  private readHeader(): ReadHeader {
    if (this.header === undefined) {
      const text = this.headerText;
      this.header = text === undefined ? NO_HEADER : readHeader(text);
    }
    return this.header;
  }

  private view(at: number): DataView {
    return new DataView(this.bytes.buffer, this.bytes.byteOffset + this.from + at, 8);
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
