import { Refusal } from "./reply.ts";

/** The longest rest of a refused body that is read and dropped so that the connection can stay open (as in Go's net/http). */
const DISCARDED_BYTES = 256 * 1024;
/** Bodies up to this size do not count against the budget: the limit on concurrent requests bounds them. */
export const SMALL_BODY_BYTES = 64 * 1024;
const FIRST_BUFFER_BYTES = 16 * 1024;

const EMPTY = new Uint8Array(0);

/**
 * Reads the bodies of requests, each within its own limit and all of them within a shared budget, so that many large uploads
 * at once cost time and not memory. A body that has to wait stays with its client, because Bun reads it only on demand.
 */
export class BodyReader {
  private reservedBytes = 0;
  /** In order of arrival. */
  private readonly waiting: { bytes: number; proceed: () => void }[] = [];

  constructor(private readonly budgetBytes: number) {}

  /**
   * Reserves room for a request's body, until release() is called. A body that is larger than the whole budget waits until it is
   * the only one.
   *
   * @returns undefined if there was room, else a promise that resolves when there is
   */
  reserve(bytes: number): Promise<void> | undefined {
    if (this.tryReserve(bytes)) return undefined;
    return new Promise((proceed) => this.waiting.push({ bytes, proceed }));
  }

  /** Reserves room if there is some now, without waiting. @returns whether there was */
  tryReserve(bytes: number): boolean {
    if (this.waiting.length > 0 || !this.fits(bytes)) return false;
    this.reservedBytes += bytes;
    return true;
  }

  unreserve(bytes: number): void {
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

/** The announced length of a request's body; undefined if it comes in chunks. */
export function declaredBytes(request: Request): number | undefined {
  const length = request.headers.get("content-length");
  // A repeated header comes as "5, 5". Bun has checked that the values are equal, and numbers.
  if (length !== null) return Number.parseInt(length, 10);
  return request.headers.get("transfer-encoding") === null ? 0 : undefined;
}

/** Whether a body is so small that it does not count against the budget. */
export function isSmall(declared: number | undefined): declared is number {
  return declared !== undefined && declared <= SMALL_BODY_BYTES;
}

/** Reads a small body. Rejects if the client disconnects or stalls. */
export function readSmall(request: Request, declared: number): Promise<Uint8Array> | Uint8Array {
  return declared === 0 ? EMPTY : request.bytes();
}

/**
 * Reads a large body of at most `limitBytes`. A body in chunks is refused when it exceeds the limit; its connection stays open
 * if the rest is short, as in Go.
 *
 * @returns rejects with Refusal 413 `tooBig`, or with another error if the client disconnects or stalls
 */
export async function readLarge(request: Request, declared: number | undefined, limitBytes: number, tooBig: string): Promise<Uint8Array> {
  return declared === undefined ? readChunks(request, limitBytes, tooBig) : request.bytes();
}

/** @throws Refusal 413 if the announced length exceeds the limit */
export function checkDeclared(declared: number | undefined, limitBytes: number, tooBig: string): void {
  if (declared !== undefined && declared > limitBytes) throw new Refusal(413, tooBig, declared >= DISCARDED_BYTES);
}

async function readChunks(request: Request, limitBytes: number, tooBig: string): Promise<Uint8Array> {
  // Chunks are copied into one buffer as they arrive, because a client may send chunks of one byte.
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
