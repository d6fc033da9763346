import { OK_FRAME, repeat } from "./wire.ts";

/** Counts a server's replies on one connection without parsing them. Throws if a reply is not a success. */
export interface ReplyCounter {
  /** @returns how many replies are complete with `data` */
  count(data: Buffer): number;
}

/** Long enough for nearly all `data` events to be compared in one call. */
const PATTERN_FRAMES = 4096;
const OK_PATTERN = repeat(OK_FRAME, PATTERN_FRAMES);
const LONGEST_COMPARE = OK_PATTERN.length - OK_FRAME.length;

/**
 * Replies of the TCP protocol. Every success is the same ten bytes, so the stream is compared with a long repetition of them: one
 * memcmp per `data` event, for any number of replies.
 */
export class OkFrameCounter implements ReplyCounter {
  /** Received bytes of the current frame: [0, 10). */
  private partial = 0;

  count(data: Buffer): number {
    for (let at = 0; at < data.length; at += LONGEST_COMPARE) {
      const end = Math.min(data.length, at + LONGEST_COMPARE);
      // LONGEST_COMPARE is a multiple of a frame, so `partial` is right for each part.
      if (OK_PATTERN.compare(data, at, end, this.partial, this.partial + end - at) !== 0) {
        throw new Error(`not OK: ${printable(data.subarray(at, end))}`);
      }
    }
    const bytes = this.partial + data.length;
    this.partial = bytes % OK_FRAME.length;
    return (bytes - this.partial) / OK_FRAME.length;
  }
}

const HTTP_SUCCESS = Buffer.from("HTTP/1.1 200 ");
const HTTP_LONGEST_REPLY_BYTES = 4096;

/**
 * Replies over HTTP. The length is taken from the first reply. A server's replies to equal requests differ only in the digits of
 * their dates, so each later reply must have the same length, begin with the same status and end with `OK`.
 */
export class HttpReplyCounter implements ReplyCounter {
  private replyBytes = 0;
  private arriving: Buffer = Buffer.alloc(0);

  count(data: Buffer): number {
    const bytes = this.arriving.length === 0 ? data : Buffer.concat([this.arriving, data]);
    if (this.replyBytes === 0) this.replyBytes = httpReplyLength(bytes);
    let at = 0;
    let replies = 0;
    while (this.replyBytes > 0 && at + this.replyBytes <= bytes.length) {
      const end = at + this.replyBytes;
      const success =
        bytes.compare(HTTP_SUCCESS, 0, HTTP_SUCCESS.length, at, at + HTTP_SUCCESS.length) === 0 &&
        bytes[end - 2] === 0x4f &&
        bytes[end - 1] === 0x4b;
      if (!success) throw new Error(`not 200 OK: ${printable(bytes.subarray(at))}`);
      at = end;
      replies++;
    }
    this.arriving = at === bytes.length ? bytes.subarray(0, 0) : Buffer.from(bytes.subarray(at));
    return replies;
  }
}

/** The length of the first reply in `bytes`; 0 if its head is incomplete. */
function httpReplyLength(bytes: Buffer): number {
  const head = bytes.indexOf("\r\n\r\n");
  if (head < 0) {
    if (bytes.length > HTTP_LONGEST_REPLY_BYTES) throw new Error(`no end of the reply's head: ${printable(bytes)}`);
    return 0;
  }
  const length = /\r\ncontent-length: *(\d+)/i.exec(bytes.toString("latin1", 0, head));
  if (length === null) throw new Error(`a reply without Content-Length: ${printable(bytes)}`);
  return head + 4 + Number(length[1]);
}

/** The first bytes as text, for errors. */
export function printable(bytes: Buffer): string {
  return JSON.stringify(bytes.toString("latin1", 0, 120));
}
