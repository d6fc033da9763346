import { type BodyBudget, BodyPace, BodyShare } from "../../../http/server/body-budget.ts";
import { type MemoryPool, PieceBuffer, UNKNOWN_LENGTH } from "../../../net/piece-buffer.ts";
import type { Chunk } from "../../storage/log/chunk.ts";
import { ChunkedRequest } from "./chunked-request.ts";
import type { RequestHead } from "./request-head.ts";

/** A head that comes in more pieces is not from a client that publishes much, and each piece costs another look at all of it. */
const MAX_HEAD_PIECES = 64;
/** How long a head may take to come, as with Bun.serve(). */
const HEAD_TIMEOUT_MS = 10_000;

/** What a partial request needs of its server. */
export interface PartialRequestHost {
  readonly pool: MemoryPool<Chunk>;
  readonly budget: BodyBudget;
  /** For how long a body may come too slowly, ms. */
  readonly slowBodyMs: number;
}

/** The request of a connection that comes in pieces, from its first byte to its last. A connection has one, for one request after the other. */
export class PartialRequest {
  readonly bytes: PieceBuffer<Chunk>;
  /** If its body comes in chunks: what puts them together in `bytes`. */
  chunked: ChunkedRequest | undefined;
  /** Whether there is one. */
  isComing = false;
  /** Bytes of the request with its head; unknown while the head is not complete. */
  wholeBytes = UNKNOWN_LENGTH;
  /** Since when the request waits for room; 0: it does not. */
  private waitsSinceMs = 0;
  private sinceMs = 0;
  private headPieces = 0;
  private readonly share = new BodyShare();
  private readonly pace: BodyPace;

  /** @param onRoom called when there is room for a request that waits */
  constructor(
    private readonly host: PartialRequestHost,
    private readonly onRoom: () => void,
  ) {
    this.bytes = new PieceBuffer(host.pool);
    this.pace = new BodyPace(host.slowBodyMs);
  }

  get hasHead(): boolean {
    return this.wholeBytes !== UNKNOWN_LENGTH;
  }

  /** It is not read until there is room for what has come. */
  get isWaiting(): boolean {
    return this.waitsSinceMs !== 0;
  }

  begin(nowMs: number): void {
    this.isComing = true;
    this.sinceMs = nowMs;
    this.headPieces = 0;
  }

  /** The head has come. @param wholeBytes of the request */
  expectBody(wholeBytes: number, nowMs: number): void {
    this.wholeBytes = wholeBytes;
    this.pace.begin(nowMs, wholeBytes);
  }

  /** The head has come, of a request whose body comes in chunks. It is in [from, from + headBytes) of `source`, which may be its own bytes. */
  expectChunks(head: RequestHead, source: Buffer, from: number, headBytes: number, limitBytes: number, nowMs: number): void {
    const chunked = new ChunkedRequest(head, source.subarray(from, from + headBytes), from, limitBytes);
    this.clear();
    this.begin(nowMs);
    this.chunked = chunked;
    chunked.begin(this.bytes);
    this.expectBody(this.bytes.length + limitBytes, nowMs);
  }

  /** Another piece has come without completing the head. @returns false if there were too many */
  countHeadPiece(): boolean {
    return ++this.headPieces <= MAX_HEAD_PIECES;
  }

  /** Makes room for more bytes of the body. @returns false if there is none now: the request waits */
  makeRoom(moreBytes: number, nowMs: number): boolean {
    const { host, share, wholeBytes } = this;
    if (!host.budget.grow(share, this.bytes.length + moreBytes, wholeBytes, this.onRoom)) {
      this.waitsSinceMs = nowMs;
      return false;
    }
    this.pace.note(moreBytes);
    return true;
  }

  /** There is room for what waited. */
  endWait(nowMs: number): void {
    this.pace.excuse(this.waitsSinceMs, nowMs);
    this.waitsSinceMs = 0;
  }

  /** Nothing was read for a while, whatever was sent. */
  excuse(fromMs: number, nowMs: number): void {
    this.sinceMs = nowMs;
    this.pace.excuse(fromMs, nowMs);
  }

  /** Whether it comes too slowly. To be called regularly. */
  isLate(nowMs: number): boolean {
    if (!this.isComing) return false;
    return this.hasHead ? this.pace.isLate(nowMs) : nowMs - this.sinceMs >= HEAD_TIMEOUT_MS;
  }

  /** The request is complete, or nobody wants it any more. */
  clear(): void {
    if (this.share.bytes > 0 || this.isWaiting) this.host.budget.release(this.share);
    this.waitsSinceMs = 0;
    this.chunked = undefined;
    this.bytes.clear();
    this.isComing = false;
    this.wholeBytes = UNKNOWN_LENGTH;
  }
}
