import { BODY_OFFSET } from "./frame.ts";
import { SEQUENCE_SPAN } from "./id.ts";

/**
 * Numbers of Youzan's protocol. An id of a message there has 16 bytes:
 *
 *     internal id u64 = partition (bits 50 to 59) | sequence modulo 2^40, plus 1; then trace id u64
 */
export const PARTITION_BIT = 50;
const PARTITION_SHIFT = PARTITION_BIT - 32;
/** What a record has more in Youzan's log: size, timestamp, attempts and id. */
const RAW_OVERHEAD = BODY_OFFSET - 4;

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

/** The sequence modulo 2^40 in Youzan's internal id at `at`; -1 for an id that no message has. */
export function sequenceInId(bytes: Buffer, at: number): number {
  const sequence = (bytes.readUInt32BE(at) % 2 ** PARTITION_SHIFT) * 2 ** 32 + bytes.readUInt32BE(at + 4) - 1;
  return sequence < SEQUENCE_SPAN ? sequence : -1;
}

/** Writes Youzan's internal id. It is never 0. @param sequence of the message */
export function writeInternalId(view: DataView, at: number, partition: number, sequence: number): void {
  const number = (sequence % SEQUENCE_SPAN) + 1;
  view.setUint32(at, partition * 2 ** PARTITION_SHIFT + Math.floor(number / 2 ** 32));
  view.setUint32(at + 4, number % 2 ** 32);
}

/** Youzan's internal id. @param sequence of the message */
export function internalId(partition: number, sequence: number): bigint {
  return (BigInt(partition) << BigInt(PARTITION_BIT)) + BigInt((sequence % SEQUENCE_SPAN) + 1);
}
