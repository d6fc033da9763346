/** So much of each body does not count against the budget: the limit on connections bounds it. */
export const SMALL_BODY_BYTES = 64 * 1024;

/** What a body has to bring on average in each window of its pace, unless it is complete. */
const WINDOW_BYTES_PER_MS = 16;
/** A whole body has this long, and for each second more it has to bring this much. */
const BODY_MS = 60_000;
const BODY_BYTES_PER_MS = 64;

/** Whether the body of a request comes fast enough. */
export class BodyPace {
  private startMs = 0;
  private windowStartMs = 0;
  private windowBytes = 0;
  private deadlineMs = 0;

  /** @param windowMs a body that brings less than WINDOW_BYTES_PER_MS for this long is late */
  constructor(private readonly windowMs: number) {}

  /** The body begins. @param nowMs of a clock that nobody sets @param bytes how long it is, or may be */
  begin(nowMs: number, bytes: number): void {
    this.startMs = this.windowStartMs = nowMs;
    this.windowBytes = 0;
    this.deadlineMs = BODY_MS + bytes / BODY_BYTES_PER_MS;
  }

  /** The client was not read for a while, or nothing was: that time is not the client's. */
  excuse(fromMs: number, nowMs: number): void {
    this.startMs += nowMs - fromMs;
    this.windowStartMs = nowMs;
    this.windowBytes = 0;
  }

  /** Bytes of the body have come. */
  note(bytes: number): void {
    this.windowBytes += bytes;
  }

  /** To be called regularly. */
  isLate(nowMs: number): boolean {
    if (nowMs - this.startMs >= this.deadlineMs) return true;
    if (nowMs - this.windowStartMs < this.windowMs) return false;
    if (this.windowBytes < this.windowMs * WINDOW_BYTES_PER_MS) return true;
    this.windowStartMs = nowMs;
    this.windowBytes = 0;
    return false;
  }
}

/** A body's part of the budget. */
export class BodyShare {
  bytes = 0;
  /** Called when the body has the room that it waits for. */
  proceed: (() => void) | undefined;
  wantedBytes = 0;
}

/**
 * The memory for large bodies that are being received. A body takes room as its bytes come, not for the length that it
 * announces. When all room is taken, bodies wait, and any that fits goes first. One of them at a time may exceed the budget: it
 * can be received as a whole, so bodies that have come halfway never wait for each other for ever.
 */
export class BodyBudget {
  private usedBytes = 0;
  /** In order of arrival. */
  private readonly waiting = new Set<BodyShare>();
  private exceeding: BodyShare | undefined;

  constructor(private readonly budgetBytes: number) {}

  /**
   * Makes room for a body that has come so far.
   *
   * @param receivedBytes of the body @param wholeBytes the most that it can have
   * @param proceed called later if there is no room now
   * @returns whether there is room now
   */
  grow(share: BodyShare, receivedBytes: number, wholeBytes: number, proceed: () => void): boolean {
    if (receivedBytes <= SMALL_BODY_BYTES) return true;
    // The memory that bodies are received into doubles when it is full.
    const wanted = Math.min(wholeBytes, 2 * receivedBytes);
    if (receivedBytes <= share.bytes || wanted <= share.bytes) return true;
    share.wantedBytes = wanted;
    if (this.grant(share)) return true;
    share.proceed = proceed;
    this.waiting.add(share);
    return false;
  }

  /** Gives back all that a body has. */
  release(share: BodyShare): void {
    this.waiting.delete(share);
    share.proceed = undefined;
    this.usedBytes -= share.bytes;
    share.bytes = 0;
    if (this.exceeding === share) this.exceeding = undefined;
    for (const other of this.waiting) {
      if (!this.grant(other)) continue;
      this.waiting.delete(other);
      other.proceed?.();
    }
  }

  private grant(share: BodyShare): boolean {
    const more = share.wantedBytes - share.bytes;
    if (this.usedBytes + more > this.budgetBytes) {
      if (this.exceeding !== undefined && this.exceeding !== share) return false;
      this.exceeding = share;
    }
    this.usedBytes += more;
    share.bytes = share.wantedBytes;
    return true;
  }
}
