import { BodyBudget, BodyPace, type BodyShare, SMALL_BODY_BYTES } from "./body-budget.ts";
import { Refusal } from "./reply.ts";

/** The longest rest of a refused body that is read and dropped so that the connection can stay open (as in Go's net/http). */
const DISCARDED_BYTES = 256 * 1024;
const FIRST_BUFFER_BYTES = 16 * 1024;

const EMPTY = new Uint8Array(0);

/** A body that is being received. */
class IncomingBody {
  readonly pace: BodyPace;
  /** It is complete, or nobody wants it any more. */
  hasEnded = false;
  /** Since when the client is not read, because there is no room; 0: it is read. */
  waitsSinceMs = 0;
  /** Ends the reading. */
  refuse: (refusal: Refusal) => void = () => {};

  /** @param share its part of the budget, which the caller releases when it needs the body no more */
  constructor(
    readonly share: BodyShare,
    windowMs: number,
  ) {
    this.pace = new BodyPace(windowMs);
  }
}

/**
 * Reads the bodies of requests, each within its own limit and all of them within a shared budget, so that many large uploads
 * at once cost time and not memory. A body that has to wait stays with its client, because Bun reads it only on demand. One that
 * comes too slowly is refused.
 */
export class BodyReader {
  readonly budget: BodyBudget;
  private readonly incoming = new Set<IncomingBody>();

  /** @param slowMs for how long a body may come too slowly */
  constructor(
    budgetBytes: number,
    private readonly slowMs: number,
  ) {
    this.budget = new BodyBudget(budgetBytes);
  }

  /** Refuses the bodies that come too slowly. To be called regularly. @param stalledMs for how long nothing was read before */
  checkTime(nowMs: number, stalledMs: number): void {
    for (const body of this.incoming) {
      if (stalledMs > 0) body.pace.excuse(nowMs - stalledMs, nowMs);
      if (body.waitsSinceMs === 0 && body.pace.isLate(nowMs)) body.refuse(new Refusal(408, "REQUEST_TIMEOUT", true));
    }
  }

  /**
   * Reads the body of a request.
   *
   * @param share the body's part of the budget; to be released when the body is needed no more
   * @param declared its announced length; undefined if it comes in chunks
   * @returns rejects with Refusal 413 `tooBig` for a body in chunks that exceeds the limit, with Refusal 408 for one that comes too
   *   slowly, or with another error if the client disconnects
   */
  read(
    request: Request,
    share: BodyShare,
    declared: number | undefined,
    limitBytes: number,
    tooBig: string,
  ): Promise<Uint8Array> | Uint8Array {
    if (declared === 0) return EMPTY;
    const body = new IncomingBody(share, this.slowMs);
    body.pace.begin(performance.now(), declared ?? limitBytes);
    this.incoming.add(body);
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    body.refuse = reject;
    const isSmall = declared !== undefined && declared <= SMALL_BODY_BYTES;
    const received = isSmall ? request.bytes() : this.readPieces(request, body, declared, limitBytes, tooBig);
    received.then(resolve, reject);
    const end = () => {
      this.incoming.delete(body);
      body.hasEnded = true;
    };
    promise.then(end, end);
    return promise;
  }

  /** Reads a body as it comes. A body in chunks that exceeds its limit is refused; its connection stays open if the rest is short, as in Go. */
  private async readPieces(
    request: Request,
    body: IncomingBody,
    declared: number | undefined,
    limitBytes: number,
    tooBig: string,
  ): Promise<Uint8Array> {
    const most = declared ?? limitBytes;
    // Pieces are copied into one buffer as they arrive, because a client may send chunks of one byte.
    let buffer = Buffer.allocUnsafe(Math.min(most, FIRST_BUFFER_BYTES));
    let total = 0;
    if (request.body !== null) {
      for await (const piece of request.body) {
        // It came too slowly, and its part of the budget is released.
        if (body.hasEnded) break;
        const filled = total;
        total += piece.length;
        body.pace.note(piece.length);
        if (total > limitBytes + DISCARDED_BYTES) throw new Refusal(413, tooBig, true);
        if (total > limitBytes) continue;
        await this.makeRoom(body, total, most);
        if (total > buffer.length) {
          const larger = Buffer.allocUnsafe(Math.min(most, Math.max(total, 2 * buffer.length)));
          larger.set(buffer.subarray(0, filled));
          buffer = larger;
        }
        buffer.set(piece, filled);
      }
    }
    if (total > limitBytes) throw new Refusal(413, tooBig);
    return buffer.subarray(0, total);
  }

  private makeRoom(body: IncomingBody, received: number, most: number): Promise<void> | undefined {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.budget.grow(body.share, received, most, resolve)) return undefined;
    body.waitsSinceMs = performance.now();
    return promise.then(() => {
      body.pace.excuse(body.waitsSinceMs, performance.now());
      body.waitsSinceMs = 0;
    });
  }
}

/** The announced length of a request's body; undefined if it comes in chunks. */
export function declaredBytes(request: Request): number | undefined {
  const length = request.headers.get("content-length");
  // A repeated header comes as "5, 5". Bun has checked that the values are equal, and numbers.
  if (length !== null) return Number.parseInt(length, 10);
  return request.headers.get("transfer-encoding") === null ? 0 : undefined;
}

/** @throws Refusal 413 if the announced length exceeds the limit */
export function checkDeclared(declared: number | undefined, limitBytes: number, tooBig: string): void {
  if (declared !== undefined && declared > limitBytes) throw new Refusal(413, tooBig, declared >= DISCARDED_BYTES);
}
