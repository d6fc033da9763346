import type { ScratchBuffer } from "../../base/scratch-buffer.ts";
import { ATTEMPTS_OFFSET } from "../../frame/frame.ts";
import { hasHeader } from "../../frame/header.ts";
import type { Chunk } from "../storage/log/chunk.ts";
import type { TopicLog } from "../storage/log/topic-log.ts";
import { type MessageEncoder, PLAIN_ENCODER } from "./message-encoder.ts";
import type { Outbox } from "./transport/outbox.ts";

/** About this much of a run is encoded at a time. */
const PIECE_BYTES = 256 * 1024;

/**
 * Sends messages to one client in the frames that it understands. NSQ's clients get records as they are, in one piece and without a
 * copy, as long as these have no headers. All other frames are encoded.
 */
export class MessageFraming {
  /** Makes the encoder for a log. Undefined: the client is one of NSQ's. */
  encoderFor: ((log: TopicLog) => MessageEncoder) | undefined;
  private readonly encoders = new Map<TopicLog, MessageEncoder>();

  constructor(
    private readonly outbox: Outbox,
    private readonly scratch: ScratchBuffer,
  ) {}

  /** Sends the records in [from, to) of a chunk of a log. */
  sendRun(log: TopicLog, chunk: Chunk, from: number, to: number): void {
    if (this.encoderFor === undefined && (!log.mayHaveHeaders || !runHasHeaders(chunk, from, to))) this.outbox.writeRun(chunk, from, to);
    else this.encodeRun(this.encoderOf(log), chunk, from, to);
  }

  /**
   * Sends one message that was delivered before. Its record in [from, to) is copied, and `attempts` written into the copy.
   *
   * @param position of the record in its log; 0 if it is not known
   */
  sendAgain(log: TopicLog, record: Buffer, from: number, to: number, attempts: number, position: number): void {
    const { outbox, scratch } = this;
    if (this.encoderFor === undefined && !hasHeader(record, from)) return outbox.writeMessage(record, from, to, attempts, scratch);
    const encoder = this.encoderOf(log);
    // The record may be in the scratch buffer itself.
    const own = record.subarray(from, to);
    const frame = Buffer.allocUnsafe(own.length + encoder.extraBytes);
    const end = encoder.encode(own, viewOf(own), 0, own.length, position, frame, viewOf(frame), 0);
    frame.writeUInt16BE(attempts, ATTEMPTS_OFFSET);
    outbox.write(frame, 0, end);
  }

  private encoderOf(log: TopicLog): MessageEncoder {
    if (this.encoderFor === undefined) return PLAIN_ENCODER;
    let encoder = this.encoders.get(log);
    if (encoder === undefined) {
      encoder = this.encoderFor(log);
      this.encoders.set(log, encoder);
    }
    return encoder;
  }

  private encodeRun(encoder: MessageEncoder, { buffer, view, start }: Chunk, from: number, to: number): void {
    const { extraBytes } = encoder;
    for (let at = from; at < to; ) {
      let end = at;
      let bytes = 0;
      do {
        const recordBytes = 4 + view.getUint32(end);
        bytes += recordBytes + extraBytes;
        end += recordBytes;
      } while (end < to && bytes < PIECE_BYTES);
      const frames = this.scratch.reserve(bytes);
      const frameView = this.scratch.view;
      let used = 0;
      while (at < end) {
        const next = at + 4 + view.getUint32(at);
        used = encoder.encode(buffer, view, at, next, start + at, frames, frameView, used);
        at = next;
      }
      this.outbox.write(frames, 0, used);
    }
  }
}

function runHasHeaders({ buffer, view }: Chunk, from: number, to: number): boolean {
  for (let at = from; at < to; at += 4 + view.getUint32(at)) if (hasHeader(buffer, at)) return true;
  return false;
}

function viewOf({ buffer, byteOffset, length }: Buffer): DataView {
  return new DataView(buffer, byteOffset, length);
}
