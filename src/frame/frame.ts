/**
 * The V2 wire format, which a client and a broker speak over a socket.
 *
 *     frame  := size:u32be  type:u32be  data         size counts type and data
 *     message data := timestamp_ns:u64be  attempts:u16be  id:16 bytes  body
 *
 * Source: https://nsq.io/clients/tcp_protocol_spec.html
 */

/** The four bytes that a client sends first. */
export const MAGIC_V2 = "  V2";

export const FRAME_TYPE_RESPONSE = 0;
export const FRAME_TYPE_ERROR = 1;
export const FRAME_TYPE_MESSAGE = 2;
/**
 * A message with a header (header.ts): on disk, and to clients that negotiated it. It reads "HDR" and 2, so that no few flipped bits
 * make one kind of record of the other.
 */
export const FRAME_TYPE_WITH_HEADER = 0x48445202;

/** Whether a type word is that of a message, with a header or without. */
export function isMessageType(type: number): boolean {
  return type === FRAME_TYPE_MESSAGE || type === FRAME_TYPE_WITH_HEADER;
}

/** The size word and the type word in front of every frame's data. */
export const FRAME_HEADER_BYTES = 8;
export const MESSAGE_ID_BYTES = 16;

/** Offsets of the parts of a message frame from the frame's first byte. */
export const TIMESTAMP_OFFSET = 8;
export const ATTEMPTS_OFFSET = 16;
export const ID_OFFSET = 18;
export const BODY_OFFSET = 34;

/** The bytes of a message frame before its body. This is a message's whole overhead on the wire and on disk. */
export const MESSAGE_OVERHEAD_BYTES = BODY_OFFSET;

/** The size word of a message frame is the length of the body plus this. */
export const MESSAGE_SIZE_OVERHEAD = MESSAGE_OVERHEAD_BYTES - 4;

/**
 * Makes a response or error frame.
 *
 * @param type FRAME_TYPE_RESPONSE or FRAME_TYPE_ERROR
 * @param data the frame's payload; a string is sent as UTF-8
 */
export function encodeFrame(type: number, data: string | Uint8Array): Buffer {
  const payload = typeof data === "string" ? Buffer.from(data) : data;
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payload.length);
  frame.writeUInt32BE(payload.length + 4, 0);
  frame.writeUInt32BE(type, 4);
  frame.set(payload, FRAME_HEADER_BYTES);
  return frame;
}
