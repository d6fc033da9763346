import { Refusal } from "./reply.ts";

/** Of a body that is refused so much is thrown away at the most for the sake of the connection (Go: net/http). */
const DISCARDED_BYTES = 256 * 1024;
/** Below this a body is not counted against the budget: the limit on requests at a time bounds these. */
export const SMALL_BODY_BYTES = 64 * 1024;
const FIRST_BUFFER_BYTES = 16 * 1024;

const EMPTY = new Uint8Array(0);

/**
 * Reads the bodies of requests, each within a limit of its own and all together within a budget, so that many large
 * uploads at once cost time instead of memory: what waits its turn stays in the clients, since Bun reads on only
 * when it is asked to.
 */
export class BodyReader {
  private reservedBytes = 0;
  /** First come, first served. */
  private readonly waiting: { bytes: number; proceed: () => void }[] = [];

  constructor(private readonly budgetBytes: number) {}

  /**
   * Room for a request's body; undefined if it is there at once. Every call needs a release() of the same number.
   * A body larger than the whole budget has to wait until it is the only one.
   */
  reserve(bytes: number): Promise<void> | undefined {
    if (this.tryReserve(bytes)) return undefined;
    return new Promise((proceed) => this.waiting.push({ bytes, proceed }));
  }

  /** The same without a wait. @returns false: there is no room now */
  tryReserve(bytes: number): boolean {
    if (this.waiting.length > 0 || !this.fits(bytes)) return false;
    this.reservedBytes += bytes;
    return true;
  }

  release(bytes: number): void {
    this.reservedBytes -= bytes;
    while (this.waiting.length > 0 && this.fits(this.waiting[0].bytes)) {
      const next = this.waiting.shift()!;
      this.reservedBytes += next.bytes;
      next.proceed();
    }
  }

  private fits(bytes: number): boolean {
    return this.reservedBytes === 0 || this.reservedBytes + bytes <= this.budgetBytes;
  }
}

/** How long a request's body is going to be; undefined: as many chunks as come. */
export function declaredBytes(request: Request): number | undefined {
  const length = request.headers.get("content-length");
  // A header that is repeated comes as "5, 5": Bun has seen to it that they are equal, and numbers.
  if (length !== null) return Number.parseInt(length, 10);
  return request.headers.get("transfer-encoding") === null ? 0 : undefined;
}

/** Whether a body is small enough to be read without a look at the budget. */
export function isSmall(declared: number | undefined): declared is number {
  return declared !== undefined && declared <= SMALL_BODY_BYTES;
}

/** Reads a small body. @returns rejects when the client goes away or stalls */
export function readSmall(request: Request, declared: number): Promise<Uint8Array> | Uint8Array {
  return declared === 0 ? EMPTY : request.bytes();
}

/**
 * Reads a body that is not small, of at most `limitBytes`. One in chunks is refused where it crosses the limit; the
 * connection outlives that if the rest is short, as Go's does.
 *
 * @returns rejects with Refusal 413 `tooBig`; otherwise when the client goes away or stalls
 */
export async function readLarge(request: Request, declared: number | undefined, limitBytes: number, tooBig: string): Promise<Uint8Array> {
  return declared === undefined ? readChunks(request, limitBytes, tooBig) : request.bytes();
}

/** @throws Refusal 413 for a body that says itself to be longer than the limit */
export function checkDeclared(declared: number | undefined, limitBytes: number, tooBig: string): void {
  if (declared !== undefined && declared > limitBytes) throw new Refusal(413, tooBig, declared >= DISCARDED_BYTES);
}

async function readChunks(request: Request, limitBytes: number, tooBig: string): Promise<Uint8Array> {
  // Copied together as they come: a client may make its chunks as small as a byte.
  let buffer = Buffer.allocUnsafe(Math.min(limitBytes, FIRST_BUFFER_BYTES));
  let total = 0;
  if (request.body !== null) {
    for await (const chunk of request.body) {
      const filled = total;
      total += chunk.length;
      if (total > limitBytes + DISCARDED_BYTES) throw new Refusal(413, tooBig, true);
      if (total > limitBytes) continue;
      if (total > buffer.length) {
        const larger = Buffer.allocUnsafe(Math.min(limitBytes, Math.max(total, 2 * buffer.length)));
        larger.set(buffer.subarray(0, filled));
        buffer = larger;
      }
      buffer.set(chunk, filled);
    }
  }
  if (total > limitBytes) throw new Refusal(413, tooBig);
  return buffer.subarray(0, total);
}
