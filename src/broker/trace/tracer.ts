import type { RateLimitedLog } from "../../base/rate-limited-log.ts";
import { isKernelError } from "../storage/disk/unreadable-file.ts";
import {
  ATTEMPTS_AT,
  BY_AT,
  CHANNEL_AT,
  CONTEXT_AT,
  CONTEXT_ID_BYTES,
  COUNT_AT,
  DELAY_AT,
  DETAIL_AT,
  DETAIL_SINGLY,
  ENTRY_AT,
  FLAGS_AT,
  KIND_AT,
  KIND_CONTEXT,
  KIND_ENTRY_CONTEXT,
  KIND_ENTRY_STATE,
  KIND_PUBLISHED,
  KIND_STATE,
  MAX_BATCH_BYTES,
  MOST_NAME_BYTES,
  MOST_RECORDS,
  RECORD_BYTES,
  SEQUENCE_AT,
  STATE_AT,
  STATE_PIECE_BYTES,
  TIME_AT,
  TOPIC_AT,
} from "./record.ts";
import { sealBatch } from "./trace-batch.ts";
import type { TraceFiles } from "./trace-files.ts";
import { MAX_NAME_BYTES, TraceName } from "./trace-name.ts";

/** Records are written at least this often: a crash loses no older ones. */
const FLUSH_INTERVAL_MS = 100;
/** A record may bring two names: its channel and who did it. */
const NAMES_ROOM = MOST_NAME_BYTES - 2 * (1 + MAX_NAME_BYTES);
/** The most names that are looked up by their text. Beyond them all are forgotten, and get new numbers. */
const MOST_KNOWN_NAMES = 10_000;

/** What the tracer needs of its broker. */
export interface TracerParts {
  readonly files: TraceFiles;
  readonly turn: {
    readonly nowMs: number;
    readonly wallMs: number;
    wakeAt(atMs: number): void;
  };
  readonly rateLimitedLog: Pick<RateLimitedLog, "error">;
  /** `refusal`: so little space is free that publishes are refused. */
  readonly freeSpace: { readonly refusal: Error | undefined };
}

/** Takes each batch before it is written. The bytes are the tracer's again when it returns. */
export type BatchListener = (batch: Buffer, length: number, generation: number) => void;

/**
 * Records what happens to traced messages. Records collect in one block of memory, and are written as a batch at least every
 * FLUSH_INTERVAL_MS, when the block is full, and before a trace is read. What cannot be written is dropped and counted: no
 * message and no publish waits for a trace.
 */
export class Tracer {
  /** How many records were dropped. */
  dropped = 0;
  /** How many were written. */
  written = 0;
  onBatch: BatchListener | undefined;

  /** Three views of the same memory. Every machine that Bun runs on is little-endian, as the files are. */
  private readonly batch = Buffer.from(new ArrayBuffer(MAX_BATCH_BYTES));
  private readonly words = new Uint32Array(this.batch.buffer);
  private readonly doubles = new Float64Array(this.batch.buffer);
  private count = 0;
  private readonly names = Buffer.alloc(MOST_NAME_BYTES);
  private nameBytes = 0;
  private firstName: number;
  private nextName: number;
  /** Names of another generation have no number: the file has changed, or their batch was dropped. */
  private generation = 1;
  private flushAtMs = Number.POSITIVE_INFINITY;
  private readonly known = new Map<string, TraceName>();

  constructor(private readonly parts: TracerParts) {
    this.firstName = this.nextName = parts.files.nextName;
  }

  /** When the records are to be written, ms; Infinity: there are none. */
  get nextFlushMs(): number {
    return this.flushAtMs;
  }

  /** The name with a text. */
  named(text: string): TraceName {
    let name = this.known.get(text);
    if (name === undefined) {
      if (this.known.size >= MOST_KNOWN_NAMES) this.known.clear();
      name = new TraceName(text);
      this.known.set(text, name);
    }
    return name;
  }

  /** Records what happened to `count` messages with ascending sequences. It allocates nothing, unless a name is new to the file. */
  add(
    kind: number,
    topic: number,
    channel: TraceName | undefined,
    by: TraceName | undefined,
    sequence: number,
    count: number,
    attempts: number,
    detail: number,
    delayMs: number,
    entry: number,
  ): void {
    const at = this.begin(topic, sequence, count, channel, by);
    const { words, doubles } = this;
    words[(at + KIND_AT) >> 2] = kind | (attempts << (8 * ATTEMPTS_AT));
    words[(at + DETAIL_AT) >> 2] = detail;
    doubles[(at + DELAY_AT) >> 3] = delayMs;
    doubles[(at + ENTRY_AT) >> 3] = entry;
    doubles[(at + ENTRY_AT + 8) >> 3] = 0;
  }

  /**
   * Adds a message to the last record, if that is about the messages before it that the same client has published in this turn, one by
   * one. So a train of PUBs is one record.
   */
  addToPublish(topic: number, by: TraceName | undefined, sequence: number): boolean {
    const { count, words, doubles } = this;
    if (count === 0) return false;
    const at = RECORD_BYTES * count;
    const messages = words[(at + COUNT_AT) >> 2];
    if (words[(at + KIND_AT) >> 2] !== KIND_PUBLISHED || doubles[(at + SEQUENCE_AT) >> 3] + messages !== sequence) return false;
    if (messages > 1 && words[(at + DETAIL_AT) >> 2] !== DETAIL_SINGLY) return false;
    if (words[(at + TOPIC_AT) >> 2] !== topic || doubles[(at + TIME_AT) >> 3] !== this.parts.turn.wallMs) return false;
    if (by === undefined ? words[(at + BY_AT) >> 2] !== 0 : by.generation !== this.generation || words[(at + BY_AT) >> 2] !== by.number) {
      return false;
    }
    words[(at + COUNT_AT) >> 2] = messages + 1;
    words[(at + DETAIL_AT) >> 2] = DETAIL_SINGLY;
    return true;
  }

  /**
   * Records the trace context that came with a publish.
   *
   * @param ofEntry `sequence` is the number of a deferred publish's entry
   * @param state the tracestate, in ASCII
   */
  addContext(topic: number, sequence: number, count: number, ofEntry: boolean, context: Uint8Array, state: string | undefined): void {
    const at = this.begin(topic, sequence, count, undefined, undefined);
    const { batch, words } = this;
    words[(at + KIND_AT) >> 2] = (ofEntry ? KIND_ENTRY_CONTEXT : KIND_CONTEXT) | (context[CONTEXT_ID_BYTES] << (8 * FLAGS_AT));
    words[(at + DETAIL_AT) >> 2] = 0;
    for (let i = 0; i < CONTEXT_ID_BYTES; i++) batch[at + CONTEXT_AT + i] = context[i];
    if (state === undefined) return;
    for (let from = 0; from < state.length; from += STATE_PIECE_BYTES) {
      this.addState(topic, sequence, count, ofEntry ? KIND_ENTRY_STATE : KIND_STATE, state.slice(from, from + STATE_PIECE_BYTES));
    }
  }

  private addState(topic: number, sequence: number, count: number, kind: number, piece: string): void {
    const at = this.begin(topic, sequence, count, undefined, undefined);
    const { batch, words } = this;
    words[(at + KIND_AT) >> 2] = kind | (piece.length << (8 * FLAGS_AT));
    batch.fill(0, at + STATE_AT, at + RECORD_BYTES);
    batch.write(piece, at + STATE_AT, "latin1");
  }

  private begin(topic: number, sequence: number, count: number, channel: TraceName | undefined, by: TraceName | undefined): number {
    if (this.count === MOST_RECORDS || this.nameBytes > NAMES_ROOM) this.flush();
    const { words, doubles, parts } = this;
    if (this.count === 0) {
      this.flushAtMs = parts.turn.nowMs + FLUSH_INTERVAL_MS;
      parts.turn.wakeAt(this.flushAtMs);
    }
    const channelNumber = channel === undefined ? 0 : channel.generation === this.generation ? channel.number : this.introduce(channel);
    const byNumber = by === undefined ? 0 : by.generation === this.generation ? by.number : this.introduce(by);
    const at = RECORD_BYTES * ++this.count;
    words[(at + TOPIC_AT) >> 2] = topic;
    doubles[(at + TIME_AT) >> 3] = parts.turn.wallMs;
    doubles[(at + SEQUENCE_AT) >> 3] = sequence;
    words[(at + COUNT_AT) >> 2] = count;
    words[(at + BY_AT) >> 2] = byNumber;
    words[(at + CHANNEL_AT) >> 2] = channelNumber;
    return at;
  }

  /** Gives a name its number. */
  private introduce(name: TraceName): number {
    const { names } = this;
    // A character that does not fit is left out whole.
    const length = names.write(name.text, this.nameBytes + 1, MAX_NAME_BYTES, "utf8");
    names[this.nameBytes] = length;
    this.nameBytes += 1 + length;
    name.generation = this.generation;
    name.number = this.nextName++;
    return name.number;
  }

  /** Writes the records if it is time to. */
  flushIfDue(nowMs: number): void {
    if (nowMs >= this.flushAtMs) this.flush();
  }

  /** Writes the records. If that fails, they are dropped. */
  flush(): void {
    if (this.count === 0) return;
    const { batch, count, nameBytes, parts } = this;
    const { files, freeSpace } = parts;
    this.names.copy(batch, RECORD_BYTES * (1 + count), 0, nameBytes);
    const length = sealBatch(batch, count, nameBytes, this.firstName);
    this.count = 0;
    this.nameBytes = 0;
    this.flushAtMs = Number.POSITIVE_INFINITY;
    this.onBatch?.(batch, length, this.generation);
    try {
      // What is left of a disk that is nearly full is for what consumers do.
      if (freeSpace.refusal !== undefined) throw Object.assign(new Error(freeSpace.refusal.message), { code: "ENOSPC" });
      files.append(batch, length);
      this.written += count;
      this.firstName = files.nextName = this.nextName;
      if (files.endIfFull()) this.renumber(files.nextName);
    } catch (error) {
      if (!isKernelError(error)) throw error;
      this.dropped += count;
      parts.rateLimitedLog.error(`TRACE: cannot write: ${error.message}; dropping what was recorded of traced messages`);
      // The names in the batch were dropped, too.
      this.renumber(this.nextName);
    }
  }

  /** Names get new numbers from here on. */
  private renumber(nextName: number): void {
    this.generation++;
    this.firstName = this.nextName = nextName;
  }

  /** Writes what is left, and closes the files. */
  close(): void {
    this.flush();
    this.parts.files.close();
  }
}
