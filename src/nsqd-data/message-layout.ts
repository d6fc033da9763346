/**
 * The record of a message in a diskqueue file of Go's nsqd (nsqd/message.go, go-diskqueue: writeOne), big-endian:
 *
 *      0  uint32  size of the rest: 26 bytes and the body
 *      4  int64   time of publishing, in ns since 1970
 *     12  uint16  attempts: how often it was sent to a consumer, 0 for never
 *     14  char16  id, lower-case hex
 *     30  ...     body
 *
 * From the timestamp on, a record of bunsq has the same layout. bunsq has a frame type between size and timestamp, and counts
 * it in the size. bunsq's attempts are 1 for a message that was never sent, because its record is the frame of the first
 * delivery.
 */

/** Bytes of the size word. */
export const SIZE_BYTES = 4;

/** Timestamp, attempts and id; the smallest size that nsqd accepts. */
export const MESSAGE_HEADER_BYTES = 26;

/** Bytes before the body. */
export const BODY_OFFSET = SIZE_BYTES + MESSAGE_HEADER_BYTES;

/** Offsets in a record. */
export const TIMESTAMP_OFFSET = 4;
export const ATTEMPTS_OFFSET = 12;
export const ID_OFFSET = 14;

/** Length of an id. */
export const ID_BYTES = 16;

/** nsqd reads the size as an int32. */
export const MAX_MESSAGE_BYTES = 2 ** 31 - 1;
