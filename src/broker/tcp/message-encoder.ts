import { ATTEMPTS_OFFSET, BODY_OFFSET, FRAME_TYPE_MESSAGE, ID_OFFSET, MESSAGE_ID_BYTES, TIMESTAMP_OFFSET } from "../../frame/frame.ts";
import { bodyAt, HeaderReader, hasHeader } from "../../frame/header.ts";
import { readSequence } from "../../frame/id.ts";
import { writeWithoutHeader } from "../../frame/layout.ts";
import { rawBytes, writeInternalId } from "../../frame/youzan.ts";

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

/** Version bytes of Youzan's extended frames. */
const NO_HEADER = 0;
const JSON_HEADER = 4;

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
