import { recordBytes, writeRecord } from "../../frame/layout.ts";
import { MessageBatch } from "../../frame/message-batch.ts";

/** Bytes of the number of messages, and of the size in front of each. */
const WORD = 4;
/** Used by each batch in turn. */
const alike = new MessageBatch();
/** The leader gives each message its time and its id. */
const NO_TIME = { high: 0, low: 0 };

/** The messages of a publish that is forwarded, in memory of their own. */
export interface ForwardedMessages {
  readonly isRecords: boolean;
  readonly messages: Buffer;
  readonly count: number;
}

/** One message with a body in [from, to). @param header encoded (frame/header.ts); empty: none */
export function oneMessage(header: Uint8Array, source: Uint8Array, from: number, to: number): ForwardedMessages {
  if (header.length > 0) {
    const messages = withCount(1, recordBytes(header, to - from));
    writeRecord(messages, viewOf(messages), WORD, header, source, from, to - from, 0, 0, NO_TIME);
    return { isRecords: true, messages, count: 1 };
  }
  const messages = withCount(1, WORD + to - from);
  messages.writeUInt32BE(to - from, WORD);
  messages.set(source.subarray(from, to), 2 * WORD);
  return { isRecords: false, messages, count: 1 };
}

/** The messages of an MPUB's body in [from, to), which begins with their count. */
export function manyMessages(source: Uint8Array, from: number, to: number, count: number): ForwardedMessages {
  return { isRecords: false, messages: Buffer.from(source.subarray(from, to)), count };
}

/** The messages of an MPUB's body that was checked, with the same header. @param header encoded (frame/header.ts); empty: none */
export function alikeMessages(header: Uint8Array, body: Uint8Array): ForwardedMessages {
  const source = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const count = source.readUInt32BE(0);
  if (header.length === 0) return manyMessages(source, 0, source.length, count);
  alike.reset();
  for (let at = WORD; at < source.length; ) {
    const from = at + WORD;
    at = from + source.readUInt32BE(at);
    alike.addEncoded(header, from, at);
  }
  return batchMessages(alike, 0, count, source);
}

/** Messages of a batch from `first` on that belong to one part. @param source what they are in */
export function batchMessages(batch: MessageBatch, first: number, count: number, source: Uint8Array): ForwardedMessages {
  let bytes = 0;
  for (let i = 0, message = first; i < count; i++, message = batch.nextOf(message)) bytes += batch.recordBytes(message);
  const messages = withCount(count, bytes);
  const view = viewOf(messages);
  let at = WORD;
  for (let i = 0, message = first; i < count; i++, message = batch.nextOf(message)) {
    at = batch.write(message, source, messages, view, at, 0, 0, NO_TIME);
  }
  return { isRecords: true, messages, count };
}

function withCount(count: number, bytes: number): Buffer {
  const messages = Buffer.allocUnsafeSlow(WORD + bytes);
  messages.writeUInt32BE(count, 0);
  return messages;
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
