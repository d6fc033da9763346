import { CONTEXT_BYTES } from "./traceparent.ts";

/**
 * The files of message traces.
 *
 *     N.trace     head and batches, in the order in which things happened; N counts up, and the file with the highest is written
 *     head   := magic "BQTR" | version u32 | 0, 52 bytes | crc32 of the 60 bytes before it u32
 *     batch  := magic "BQTB" | records u32 | bytes of names u32 | number of its first name u32 | 0, 40 bytes
 *               | crc32 of records and names u32 | crc32 of the 60 bytes before it u32 | records | names | 0 up to a multiple of 64
 *     name   := length u8 | text in UTF-8
 *     record := kind u8 | flags u8 | attempts u16 | topic number u32 | time ms f64 | sequence f64 | messages u32 | by u32
 *               | channel u32 | detail u32 | delay ms f64 | entry f64 | 0, 8 bytes
 *
 * All numbers are little-endian, and everything begins at a multiple of 64. A record is about a run of messages with ascending
 * sequences. `by` and `channel` are numbers of names in the same file; 0: none. Names are numbered in the order of the file, and a
 * batch says the number of its first. In a record of a trace context (KIND_CONTEXT, KIND_ENTRY_CONTEXT) the 24 bytes from the delay on
 * are a trace id and the id of a span, and `flags` are the context's. Records of its tracestate (KIND_STATE, KIND_ENTRY_STATE) follow
 * that, each with 36 bytes of the text from `by` on, and `flags` says how many of them count. What entries of the deferred store are
 * about (KIND_DEFERRED, KIND_ENTRY_CONTEXT, KIND_ENTRY_STATE) has the number of the entry for a sequence: the message has none yet.
 */

export const RECORD_BYTES = 64;
export const FILE_MAGIC = 0x52545142;
export const FILE_VERSION = 1;
export const BATCH_MAGIC = 0x42545142;

export const VERSION_AT = 4;
export const BATCH_RECORDS_AT = 4;
export const BATCH_NAMES_AT = 8;
export const BATCH_FIRST_NAME_AT = 12;
export const BATCH_BODY_CRC_AT = 56;
/** The head of a file and that of a batch have it. */
export const HEAD_CRC_AT = 60;

export const KIND_AT = 0;
export const FLAGS_AT = 1;
export const ATTEMPTS_AT = 2;
export const TOPIC_AT = 4;
export const TIME_AT = 8;
export const SEQUENCE_AT = 16;
export const COUNT_AT = 24;
export const BY_AT = 28;
export const CHANNEL_AT = 32;
export const DETAIL_AT = 36;
export const DELAY_AT = 40;
export const ENTRY_AT = 48;
export const CONTEXT_AT = DELAY_AT;
export const CONTEXT_ID_BYTES = CONTEXT_BYTES - 1;
export const STATE_AT = BY_AT;
export const STATE_PIECE_BYTES = RECORD_BYTES - STATE_AT;

/** The most records in a batch, and the most bytes of names. A batch of a file that has more is damaged. */
export const MOST_RECORDS = 4096;
export const MOST_NAME_BYTES = 64 * 1024;
export const MAX_BATCH_BYTES = RECORD_BYTES + MOST_RECORDS * RECORD_BYTES + MOST_NAME_BYTES;

// What happened.
export const KIND_PUBLISHED = 1;
/** A deferred publish was accepted. */
export const KIND_DEFERRED = 2;
/** A deferred publish has joined its topic's log, and has its id now. `entry` is its number in the deferred store. */
export const KIND_JOINED = 3;
export const KIND_DELIVERED = 4;
export const KIND_TOUCHED = 5;
export const KIND_REQUEUED = 6;
export const KIND_TIMED_OUT = 7;
export const KIND_FINISHED = 8;
export const KIND_DISCARDED = 9;
/** The channel was moved to `sequence`, or emptied up to there; `entry` was its floor. Concerns all messages that it had. */
export const KIND_MOVED = 10;
export const KIND_EMPTIED = 11;
export const KIND_DELETED = 12;
/** The publishes from `sequence` on that were not committed were refused; other messages get these sequences. */
export const KIND_REFUSED = 13;
/** The trace context that came with the publish before. */
export const KIND_CONTEXT = 14;
export const KIND_ENTRY_CONTEXT = 15;
/** A piece of the tracestate that came with the trace context before. */
export const KIND_STATE = 16;
export const KIND_ENTRY_STATE = 17;

/** Whether a record is about an entry of the deferred store. */
export function isAboutEntry(kind: number): boolean {
  return kind === KIND_DEFERRED || kind === KIND_ENTRY_CONTEXT || kind === KIND_ENTRY_STATE;
}

// Why, or in which way.
export const DETAIL_NONE = 0;
export const DETAIL_SAMPLED = 1;
export const DETAIL_DISCONNECTED = 2;
export const DETAIL_DAMAGED = 3;
export const DETAIL_TOO_MANY = 4;
export const DETAIL_OPERATOR = 5;
export const DETAIL_TOPIC_EMPTIED = 6;
/** Published one by one: the messages of the record are no batch. */
export const DETAIL_SINGLY = 7;
