const SIZE_BYTES = 4;

/** Encodes an answer: its size, then its bytes. Unlike nsqd's frames it has no type (nsq: internal/protocol/protocol.go). */
export function encodeResponse(payload: string | Buffer): Buffer {
  const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
  const response = Buffer.allocUnsafeSlow(SIZE_BYTES + bytes.length);
  response.writeUInt32BE(bytes.length, 0);
  bytes.copy(response, SIZE_BYTES);
  return response;
}
