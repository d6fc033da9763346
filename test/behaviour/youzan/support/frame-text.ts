import { FRAME_TYPE_MESSAGE, FRAME_TYPE_RESPONSE } from "../../../../src/frame/frame.ts";

/** Which parts the message frames of a connection have. */
export interface FrameParts {
  /** A version byte, and a header. */
  isExtended: boolean;
  /** Offset and raw size. */
  isDetailed: boolean;
}

const OFFSET = "(offset)";

/**
 * A frame as text, to be compared: without its time stamp and offset. The time is another, and the offset counts the bytes of another
 * log; all other bytes are there.
 *
 * @param frame without its size word
 * @param shift how much larger its ids are than those to compare with
 */
export function frameText(frame: Buffer, parts: FrameParts, shift: bigint): string {
  const type = frame.readUInt32BE(0);
  const data = frame.subarray(4);
  if (type === FRAME_TYPE_MESSAGE) return messageText(data, parts, shift);
  const text = data.toString("latin1");
  if (type !== FRAME_TYPE_RESPONSE) return `error ${shiftIds(text, shift)}`;
  if (data.length === 30 && text.startsWith("OK")) return `OK ${ids(data, 2, shift)} ${OFFSET} size ${data.readUInt32BE(26)}`;
  return `response ${text}`;
}

function messageText(data: Buffer, { isExtended, isDetailed }: FrameParts, shift: bigint): string {
  let at = 26;
  let text = `message attempts ${data.readUInt16BE(8)} ${ids(data, 10, shift)}`;
  if (isExtended) {
    const version = data[at++] ?? -1;
    const length = version === 0 ? 0 : 2 + data.readUInt16BE(at);
    text += ` version ${version} header ${data.toString("hex", at, at + length)}`;
    at += length;
  }
  if (isDetailed) {
    text += ` ${OFFSET} size ${data.readUInt32BE(at + 8)}`;
    at += 12;
  }
  return `${text} body ${data.toString("latin1", at)}`;
}

function ids(bytes: Buffer, at: number, shift: bigint): string {
  return `id ${(bytes.readBigUInt64BE(at) - shift).toString(16)} trace ${bytes.toString("hex", at + 8, at + 16)}`;
}

/** Errors show ids as lists of bytes. */
function shiftIds(text: string, shift: bigint): string {
  return text.replace(/\[(\d+(?: \d+){15})\]/, (_, list: string) => {
    const id = Buffer.from(list.split(" ").map(Number));
    return `[${shiftId(id, shift).join(" ")}]`;
  });
}

/** What an id is in a log whose ids are smaller. An id that is 0 stays so. */
export function shiftId(id: Buffer, shift: bigint): Buffer {
  const shifted = Buffer.from(id);
  const number = id.readBigUInt64BE(0);
  if (number > 0n) shifted.writeBigUInt64BE(number - shift, 0);
  return shifted;
}
