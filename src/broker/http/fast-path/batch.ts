import { MpubCheck } from "../../../frame/mpub.ts";
import type { PendingPublish } from "../../acks/pending-publish.ts";
import type { BrokerOptions } from "../../options.ts";
import type { Publishing } from "../../topics/publishing.ts";
import type { TopicPartition } from "../../topics/topic-partition.ts";
import type { Origin } from "../../trace/trace-name.ts";
import { batchOfLines } from "../lines.ts";

/** Bytes of the number of messages at the start of a batch. */
const COUNT_BYTES = 4;

/** Used by each request in turn: nothing of it is needed between two requests. */
const check = new MpubCheck();

/**
 * Appends the body of a /mpub, which is in [from, to).
 *
 * @param binary its form is that of the command MPUB; else it has a message per line
 * @param header of all its messages, encoded (frame/header.ts); empty: none
 * @returns undefined for a batch that is empty, or is to be refused
 */
export function appendBatch(
  partition: TopicPartition,
  binary: boolean,
  bytes: Buffer,
  from: number,
  to: number,
  publishing: Publishing,
  { maxMsgSizeBytes, maxBodySizeBytes }: Pick<BrokerOptions, "maxBodySizeBytes" | "maxMsgSizeBytes">,
  origin: Origin | undefined,
  header: Uint8Array,
): PendingPublish | undefined {
  if (binary) {
    const isWalked = check.reset().resume(bytes, from, to, maxMsgSizeBytes, maxBodySizeBytes);
    if (!isWalked || check.error !== undefined) return undefined;
    return publishing.appendBatch(partition, "", bytes, from + COUNT_BYTES, from + check.offset, check.count, origin, header);
  }
  const batch = batchOfLines(bytes.subarray(from, to), maxMsgSizeBytes);
  if (batch === undefined || batch.length === COUNT_BYTES) return undefined;
  const lines = Buffer.from(batch.buffer, batch.byteOffset, batch.byteLength);
  return publishing.appendBatch(partition, "", lines, COUNT_BYTES, lines.length, lines.readUInt32BE(0), origin, header);
}
