import type { PieceBuffer } from "../../../net/piece-buffer.ts";
import type { Chunk } from "../../storage/log/chunk.ts";
import { BAD_TRAILER, ChunkedBody, ENDED, MORE } from "./chunked-body.ts";
import type { RequestHead } from "./request-head.ts";

/** The line that takes the place of Transfer-Encoding. Its number is set when the body is whole; spaces in front of it are allowed. */
const LENGTH_DIGITS = 10;
const LENGTH_LINE = Buffer.from(`Content-Length: ${"".padStart(LENGTH_DIGITS)}\r\n`);
/** No body goes on like this: whoever reads it refuses the request. */
const BAD_CHUNK = "not a chunk\r\n";

/**
 * A publish whose body comes in chunks. The chunks are put together to the same request with a Content-Length, which is then
 * published like any other. Bun.serve() hands a body over as complete before it has seen the trailer section, and then answers 400
 * to that (https://github.com/oven-sh/bun/issues/32887): what was refused would have been published.
 */
export class ChunkedRequest {
  private readonly body = new ChunkedBody();
  private readonly head: Buffer;
  private readonly encodingStart: number;
  private readonly encodingEnd: number;
  private request!: PieceBuffer<Chunk>;
  private headBytes = 0;

  /**
   * @param head what was parsed in `bytes`, which were at `from` then
   * @param limitBytes a longer body is for Bun.serve() to refuse
   */
  constructor(
    head: RequestHead,
    bytes: Buffer,
    from: number,
    private readonly limitBytes: number,
  ) {
    this.head = Buffer.from(bytes);
    this.encodingStart = head.encodingStart - from;
    this.encodingEnd = head.encodingEnd - from;
  }

  /** @param request where the request with a Content-Length is put together */
  begin(request: PieceBuffer<Chunk>): void {
    const { head, encodingStart, encodingEnd } = this;
    this.request = request;
    for (const part of [head.subarray(0, encodingStart), LENGTH_LINE, head.subarray(encodingEnd)]) this.add(part, 0, part.length);
    this.headBytes = request.length;
  }

  /** Adds bytes, up to the end of the request. @returns the offset behind them */
  append(bytes: Buffer, from: number, to: number): number {
    let at = from;
    while (at < to && this.isComing) {
      at = this.body.feed(bytes, at, to);
      this.add(bytes, this.body.dataFrom, this.body.dataTo);
    }
    return at;
  }

  /** More of it is to come. Otherwise it is whole, or for Bun.serve(). */
  get isComing(): boolean {
    return this.body.status === MORE && !this.isTooLarge;
  }

  private get isTooLarge(): boolean {
    return this.bodyBytes > this.limitBytes;
  }

  private get bodyBytes(): number {
    return this.request.length - this.headBytes;
  }

  private add(bytes: Buffer, from: number, to: number): void {
    if (to > from) this.request.append(bytes, from, to, this.request.length + to - from);
  }

  /** The request with a Content-Length; undefined if it is for Bun.serve() as it came. */
  get whole(): Buffer | undefined {
    if (this.body.status !== ENDED || this.isTooLarge) return undefined;
    const { buffer, length } = this.request;
    buffer.write(`${this.bodyBytes}`.padStart(LENGTH_DIGITS), this.encodingStart + LENGTH_LINE.length - 2 - LENGTH_DIGITS, "latin1");
    return buffer.subarray(0, length);
  }

  /** The request as it came so far, in other chunks: the bytes that follow continue it. */
  forServer(): Buffer[] {
    // Its body would count as complete. It must not be published and refused.
    if (this.body.status === BAD_TRAILER) return [this.head, Buffer.from(BAD_CHUNK)];
    const { bodyBytes, headBytes } = this;
    const resume = Buffer.from(this.body.resumeText(bodyBytes), "latin1");
    if (bodyBytes === 0) return [this.head, resume];
    const data = Buffer.from(this.request.buffer.subarray(headBytes, headBytes + bodyBytes));
    return [this.head, Buffer.from(`${bodyBytes.toString(16)}\r\n`), data, resume];
  }
}
