import { FRAME_HEADER_BYTES, FRAME_TYPE_RESPONSE } from "../../frame/frame.ts";
import { rawBytes, writeInternalId } from "../../frame/youzan.ts";
import { PendingPublish } from "../acks/pending-publish.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";

const OK = Buffer.from("OK");
const ID_AT = FRAME_HEADER_BYTES + OK.length;
const FRAME_BYTES = ID_AT + 8 + 8 + 8 + 4;

/**
 * Youzan's answer to a publish with a trace id, which says where the message is:
 *
 *     "OK" | internal id u64 | trace id u64 | offset u64 | raw size u32
 *
 * Of several messages it has the first one's id and offset, and the sum of sizes.
 *
 * @param partition of the topic
 * @param position of the first message in its log
 */
export function tracedFrame(partition: number, sequence: number, position: number, traceId: bigint, sizeBytes: number): Buffer {
  const frame = Buffer.alloc(FRAME_BYTES);
  frame.writeUInt32BE(FRAME_BYTES - 4, 0);
  frame.writeUInt32BE(FRAME_TYPE_RESPONSE, 4);
  frame.set(OK, FRAME_HEADER_BYTES);
  writeInternalId(new DataView(frame.buffer, frame.byteOffset, frame.length), ID_AT, partition, sequence);
  frame.writeBigUInt64BE(traceId, ID_AT + 8);
  frame.writeBigUInt64BE(BigInt(position), ID_AT + 16);
  frame.writeUInt32BE(sizeBytes, ID_AT + 24);
  return frame;
}

/** The answer to a publish with a trace id that this broker carries out. It is to be made before the message is appended. */
export class TracedAnswer {
  private readonly sequence: number;
  private readonly position: number;
  private sizeBytes = 0;

  constructor(private readonly partition: TopicPartition) {
    this.sequence = partition.log.next;
    this.position = partition.log.end;
  }

  /** Adds a message. @param textBytes of the JSON in its header */
  add(bodyBytes: number, textBytes: number): void {
    this.sizeBytes += rawBytes(bodyBytes, textBytes, this.partition.topic.settings.extended === true);
  }

  /** A pending publish with this answer in place of OK. */
  to({ target, command }: PendingPublish, traceId: bigint): PendingPublish {
    return new PendingPublish(target, command, tracedFrame(this.partition.index, this.sequence, this.position, traceId, this.sizeBytes));
  }
}
