import { ATTEMPTS_OFFSET, BODY_OFFSET, FRAME_TYPE_MESSAGE, ID_OFFSET, MESSAGE_ID_BYTES, TIMESTAMP_OFFSET } from "../../frame/frame.ts";
import { HEADER_LENGTH_BYTES, hasHeader, textStart, traceIdAt } from "../../frame/header.ts";
import { readSequence } from "../../frame/id.ts";
import { copyBytes, writeWithoutHeader } from "../../frame/layout.ts";
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
   * @param recordView of the same bytes
   * @param position of the record in its log
   * @param target has `to - from + extraBytes` bytes at `at`
   * @returns where the frame ends in `target`
   */
  encode(
    record: Buffer,
    recordView: DataView,
    from: number,
    to: number,
    position: number,
    target: Buffer,
    view: DataView,
    at: number,
  ): number;
}

/** NSQ's frames. */
export const PLAIN_ENCODER: MessageEncoder = {
  extraBytes: 0,

  encode(
    record: Buffer,
    recordView: DataView,
    from: number,
    to: number,
    _position: number,
    target: Buffer,
    view: DataView,
    at: number,
  ): number {
    return writeWithoutHeader(record, recordView, from, to, target, view, at);
  },
};

/** Version bytes of Youzan's extended frames. */
const NO_HEADER = 0;
const JSON_HEADER = 4;
/** Offset of the trace id in a frame. */
const TRACE_OFFSET = ID_OFFSET + MESSAGE_ID_BYTES / 2;

/** Youzan's frames of one partition, as one client gets them. */
export class ExtendedEncoder implements MessageEncoder {
  readonly extraBytes = 16;

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

  encode(
    record: Buffer,
    recordView: DataView,
    from: number,
    to: number,
    position: number,
    target: Buffer,
    view: DataView,
    at: number,
  ): number {
    view.setInt32(at + 4, FRAME_TYPE_MESSAGE);
    view.setInt32(at + TIMESTAMP_OFFSET, recordView.getInt32(from + TIMESTAMP_OFFSET));
    view.setInt32(at + TIMESTAMP_OFFSET + 4, recordView.getInt32(from + TIMESTAMP_OFFSET + 4));
    view.setInt16(at + ATTEMPTS_OFFSET, recordView.getInt16(from + ATTEMPTS_OFFSET));
    writeInternalId(view, at + ID_OFFSET, this.partition, readSequence(record, from + ID_OFFSET));
    let bodyFrom = from + BODY_OFFSET;
    let textFrom = bodyFrom;
    let traceAt = -1;
    if (hasHeader(record, from)) {
      const headerFrom = bodyFrom + HEADER_LENGTH_BYTES;
      bodyFrom = headerFrom + recordView.getInt32(bodyFrom);
      textFrom = textStart(record, headerFrom, bodyFrom);
      traceAt = traceIdAt(record, headerFrom, bodyFrom);
    }
    view.setInt32(at + TRACE_OFFSET, traceAt < 0 ? 0 : recordView.getInt32(traceAt));
    view.setInt32(at + TRACE_OFFSET + 4, traceAt < 0 ? 0 : recordView.getInt32(traceAt + 4));
    const textBytes = bodyFrom - textFrom;
    let next = at + BODY_OFFSET;
    if (this.isExtended) {
      if (textBytes === 0) {
        target[next++] = NO_HEADER;
      } else {
        target[next] = JSON_HEADER;
        view.setUint16(next + 1, textBytes);
        next += 3;
        // The body follows the text, as in the record.
        if (!this.isDetailed) bodyFrom = textFrom;
        else copyBytes(record, textFrom, target, next, textBytes);
      }
    }
    if (this.isDetailed) {
      if (this.isExtended) next += textBytes;
      view.setUint32(next, Math.floor(position / 2 ** 32));
      view.setUint32(next + 4, position % 2 ** 32);
      view.setUint32(next + 8, rawBytes(to - bodyFrom, textBytes, this.isTopicExtended));
      next += 12;
    }
    copyBytes(record, bodyFrom, target, next, to - bodyFrom);
    const end = next + to - bodyFrom;
    view.setInt32(at, end - at - 4);
    return end;
  }
}
