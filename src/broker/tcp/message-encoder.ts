import { ATTEMPTS_OFFSET, BODY_OFFSET, FRAME_TYPE_MESSAGE, ID_OFFSET, MESSAGE_ID_BYTES, TIMESTAMP_OFFSET } from "../../frame/frame.ts";
import { bodyAt, HeaderReader, hasHeader } from "../../frame/header.ts";
import { readSequence } from "../../frame/id.ts";
import { writeWithoutHeader } from "../../frame/layout.ts";

/**
 * The frames of messages, for clients that do not get records as they are. NSQ's clients get them so, unless they have headers: those
 * are left out. Youzan's get other frames:
 *
 *     frame := size u32 | type u32 = 2 | timestamp u64 | attempts u16 | internal id u64 | trace id u64
 *              [version u8 = 0 | version u8 = 4, length u16, JSON]      if the client supports headers
 *              [offset u64 | raw size u32]                              after SUB_ADVANCED and SUB_ORDERED
 *              body
 */
export interface MessageEncoder {
  /** How much longer a frame may be than its record. */
  readonly extraBytes: number;

  /**
   * Encodes a record.
   *
   * @param record the record is in [from, to)
   * @param position of the record in its log
   * @param target has `to - from + extraBytes` bytes at `at`
   * @returns where the frame ends in `target`
   */
  encode(record: Buffer, from: number, to: number, position: number, target: Buffer, view: DataView, at: number): number;
}

/** NSQ's frames. */
export const PLAIN_ENCODER: MessageEncoder = {
  extraBytes: 0,

  encode(record: Buffer, from: number, to: number, _position: number, target: Buffer, view: DataView, at: number): number {
    return writeWithoutHeader(record, from, to, target, view, at);
  },
};

/** The partition is in bits 50 to 59 of an internal id. */
const PARTITION_SHIFT = 50 - 32;
/** Version bytes of Youzan's extended frames. */
const NO_HEADER = 0;
const JSON_HEADER = 4;
/** What a record has more in Youzan's log: size, timestamp, attempts and id. */
const RAW_OVERHEAD = BODY_OFFSET - 4;

/** Youzan's frames of one partition, as one client gets them. */
export class ExtendedEncoder implements MessageEncoder {
  readonly extraBytes = 16;
  private readonly header = new HeaderReader();

  /**
   * @param partition its index
   * @param isExtended whether frames have a version byte and a header
   * @param isDetailed whether frames have offset and raw size
   * @param isTopicExtended whether the topic was made for messages with headers, which counts in raw sizes
   */
  constructor(
    private readonly partition: number,
    private readonly isExtended: boolean,
    private readonly isDetailed: boolean,
    private readonly isTopicExtended: boolean,
  ) {}

  encode(record: Buffer, from: number, to: number, position: number, target: Buffer, view: DataView, at: number): number {
    const { header } = this;
    header.read(record, from);
    view.setUint32(at + 4, FRAME_TYPE_MESSAGE);
    record.copy(target, at + TIMESTAMP_OFFSET, from + TIMESTAMP_OFFSET, from + ATTEMPTS_OFFSET + 2);
    writeInternalId(view, at + ID_OFFSET, this.partition, readSequence(record, from + ID_OFFSET));
    header.copyTraceId(target, at + ID_OFFSET + MESSAGE_ID_BYTES / 2);
    let next = at + BODY_OFFSET;
    const textBytes = header.textTo - header.textFrom;
    if (this.isExtended) {
      if (textBytes === 0) {
        target[next++] = NO_HEADER;
      } else {
        target[next] = JSON_HEADER;
        view.setUint16(next + 1, textBytes);
        record.copy(target, next + 3, header.textFrom, header.textTo);
        next += 3 + textBytes;
      }
    }
    const bodyFrom = hasHeader(record, from) ? bodyAt(record, from) : from + BODY_OFFSET;
    if (this.isDetailed) {
      view.setUint32(next, Math.floor(position / 2 ** 32));
      view.setUint32(next + 4, position % 2 ** 32);
      view.setUint32(next + 8, rawBytes(to - bodyFrom, textBytes, this.isTopicExtended));
      next += 12;
    }
    record.copy(target, next, bodyFrom, to);
    const end = next + to - bodyFrom;
    view.setUint32(at, end - at - 4);
    return end;
  }
}

/** What a message takes in Youzan's log, which producers and consumers are told. */
export function rawBytes(bodyBytes: number, textBytes: number, isTopicExtended: boolean): number {
  const headerBytes = textBytes > 0 ? 3 + textBytes : isTopicExtended ? 1 : 0;
  return RAW_OVERHEAD + bodyBytes + headerBytes;
}

/** The partition in Youzan's internal id at `at`; -1 for an id that no message ever has. */
export function partitionInId(bytes: Buffer, at: number): number {
  const high = bytes.readUInt32BE(at);
  // Ids are signed numbers above 0.
  if (high >= 2 ** 31 || (high === 0 && bytes.readUInt32BE(at + 4) === 0)) return -1;
  return high >>> PARTITION_SHIFT;
}

/** The sequence in Youzan's internal id at `at`; -1 for an id that no message has. */
export function sequenceInId(bytes: Buffer, at: number): number {
  return (bytes.readUInt32BE(at) % 2 ** PARTITION_SHIFT) * 2 ** 32 + bytes.readUInt32BE(at + 4) - 1;
}

/** Writes Youzan's internal id. It is never 0. @param sequence of the message, modulo 2^40 */
export function writeInternalId(view: DataView, at: number, partition: number, sequence: number): void {
  const number = sequence + 1;
  view.setUint32(at, partition * 2 ** PARTITION_SHIFT + Math.floor(number / 2 ** 32));
  view.setUint32(at + 4, number % 2 ** 32);
}
