/** What is saved up while nothing is delivered: the messages and bytes of this time. */
const BURST_MS = 100;
/** Nobody is woken more often because of a rate. */
const SHORTEST_WAIT_MS = 10;
const BYTES_PER_KB = 1024;

/**
 * Bounds what a channel delivers per second, by two token buckets: messages, and bytes of records. Both fill up with the broker's time,
 * when they are looked at. A run may take more bytes than there are, since its size is known afterwards; the next ones wait for that.
 *
 * All partitions of the channel take from it. Those that wait are served in turn.
 */
export class RateLimit {
  private messages: number;
  private bytes: number;
  private readonly mostMessages: number;
  private readonly mostBytes: number;
  private readonly messagesPerMs: number;
  private readonly bytesPerMs: number;
  /** Bytes of a message, by those that were delivered last. It is not known at first, so the first one goes alone. */
  private meanBytes: number;
  private filledAtMs: number;
  /** What partitions wait with. */
  private readonly waiting: object[] = [];

  /** @param messagesPerSecond 0: no limit @param kilobytesPerSecond 0: no limit */
  constructor(messagesPerSecond: number, kilobytesPerSecond: number, nowMs: number) {
    this.messagesPerMs = messagesPerSecond === 0 ? Number.POSITIVE_INFINITY : messagesPerSecond / 1000;
    this.bytesPerMs = kilobytesPerSecond === 0 ? Number.POSITIVE_INFINITY : (kilobytesPerSecond * BYTES_PER_KB) / 1000;
    this.mostMessages = this.messages = Math.max(1, this.messagesPerMs * BURST_MS);
    this.mostBytes = this.bytes = Math.max(1, this.bytesPerMs * BURST_MS);
    this.meanBytes = Number.POSITIVE_INFINITY;
    this.filledAtMs = nowMs;
  }

  /** How many messages may be delivered at once. */
  get available(): number {
    const { messages, bytes } = this;
    if (messages < 1 || bytes < 1) return 0;
    return bytes === Number.POSITIVE_INFINITY
      ? Math.floor(messages)
      : Math.min(Math.floor(messages), 1 + Math.floor(bytes / this.meanBytes));
  }

  /** Whether a partition may deliver messages now. If not, it is to ask again at readyAtMs(). */
  admits(wait: object, nowMs: number): boolean {
    this.fill(nowMs);
    const { waiting } = this;
    if (this.available > 0 && (waiting.length === 0 || waiting[0] === wait)) {
      waiting.shift();
      return true;
    }
    this.wait(wait);
    return false;
  }

  /** A partition has messages left that it may not deliver yet. */
  wait(wait: object): void {
    if (!this.isWaiting(wait)) this.waiting.push(wait);
  }

  isWaiting(wait: object): boolean {
    return this.waiting.includes(wait);
  }

  /** A partition has nothing more to deliver. */
  leave(wait: object): void {
    const at = this.waiting.indexOf(wait);
    if (at >= 0) this.waiting.splice(at, 1);
  }

  /** Counts messages that were delivered. @param bytes of their records */
  spend(count: number, bytes: number): void {
    this.messages -= count;
    this.bytes -= bytes;
    this.meanBytes = Math.max(1, bytes / count);
  }

  /** When messages may be delivered next. */
  readyAtMs(nowMs: number): number {
    const waitMs = Math.max(untilOneMs(this.messages, this.messagesPerMs), untilOneMs(this.bytes, this.bytesPerMs), SHORTEST_WAIT_MS);
    return nowMs + Math.ceil(waitMs);
  }

  private fill(nowMs: number): void {
    const passedMs = Math.max(0, nowMs - this.filledAtMs);
    this.filledAtMs = nowMs;
    if (passedMs === 0) return;
    this.messages = Math.min(this.mostMessages, this.messages + passedMs * this.messagesPerMs);
    this.bytes = Math.min(this.mostBytes, this.bytes + passedMs * this.bytesPerMs);
  }
}

/** How long it takes until there is one of them. */
function untilOneMs(tokens: number, perMs: number): number {
  return tokens >= 1 ? 0 : (1 - tokens) / perMs;
}
