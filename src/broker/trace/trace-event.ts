import {
  ATTEMPTS_AT,
  BY_AT,
  CHANNEL_AT,
  CONTEXT_AT,
  CONTEXT_ID_BYTES,
  COUNT_AT,
  DELAY_AT,
  DETAIL_AT,
  ENTRY_AT,
  FLAGS_AT,
  KIND_AT,
  KIND_CONTEXT,
  KIND_ENTRY_CONTEXT,
  KIND_ENTRY_STATE,
  KIND_STATE,
  SEQUENCE_AT,
  STATE_AT,
  STATE_PIECE_BYTES,
  TIME_AT,
  TOPIC_AT,
} from "./record.ts";
import { CONTEXT_BYTES } from "./traceparent.ts";

/** One record as an object, for whoever reads a trace. */
export interface TraceEvent {
  readonly kind: number;
  /** Number of the topic. */
  readonly topic: number;
  readonly timeMs: number;
  readonly sequence: number;
  readonly count: number;
  readonly attempts: number;
  readonly detail: number;
  readonly delayMs: number;
  readonly entry: number;
  /** Numbers of names; 0: none. */
  readonly by: number;
  readonly channel: number;
  /** In the record of a trace context. */
  readonly context: Uint8Array | undefined;
  /** In a record of a tracestate: a piece of it. */
  readonly state: string | undefined;
}

/** The record at `at`. */
export function eventAt(bytes: Buffer, at: number): TraceEvent {
  const kind = bytes[at + KIND_AT];
  const isContext = kind === KIND_CONTEXT || kind === KIND_ENTRY_CONTEXT;
  const isState = kind === KIND_STATE || kind === KIND_ENTRY_STATE;
  const isPlain = !isContext && !isState;
  return {
    kind,
    topic: bytes.readUInt32LE(at + TOPIC_AT),
    timeMs: bytes.readDoubleLE(at + TIME_AT),
    sequence: bytes.readDoubleLE(at + SEQUENCE_AT),
    count: bytes.readUInt32LE(at + COUNT_AT),
    attempts: bytes.readUInt16LE(at + ATTEMPTS_AT),
    detail: isState ? 0 : bytes.readUInt32LE(at + DETAIL_AT),
    delayMs: isPlain ? bytes.readDoubleLE(at + DELAY_AT) : 0,
    entry: isPlain ? bytes.readDoubleLE(at + ENTRY_AT) : 0,
    by: isState ? 0 : bytes.readUInt32LE(at + BY_AT),
    channel: isState ? 0 : bytes.readUInt32LE(at + CHANNEL_AT),
    context: isContext ? contextAt(bytes, at) : undefined,
    state: isState ? stateAt(bytes, at) : undefined,
  };
}

function stateAt(bytes: Buffer, at: number): string {
  const length = Math.min(bytes[at + FLAGS_AT], STATE_PIECE_BYTES);
  return bytes.toString("latin1", at + STATE_AT, at + STATE_AT + length);
}

function contextAt(bytes: Buffer, at: number): Uint8Array {
  const context = new Uint8Array(CONTEXT_BYTES);
  context.set(bytes.subarray(at + CONTEXT_AT, at + CONTEXT_AT + CONTEXT_ID_BYTES));
  context[CONTEXT_ID_BYTES] = bytes[at + FLAGS_AT];
  return context;
}
