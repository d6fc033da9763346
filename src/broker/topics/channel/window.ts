/** The slot holds no message. */
export const FREE = 0;
/** A consumer has it. */
export const IN_FLIGHT = 1;
/** It waits to be delivered again. */
export const READY = 2;
/** It was requeued with a delay. With a long delay it leaves the window for the deferred store. */
export const DEFERRED = 3;
/** It is finished, or left the window for the deferred store. */
export const DONE = 4;

const FIRST_CAPACITY = 1024;
/** For fewer slots than this a loop is faster than TypedArray.fill(). */
const FEW = 16;
/** Up to this capacity a window grows whenever it is full: half a megabyte of state costs less than moving stragglers. */
const FREE_GROWTH_CAPACITY = 1 << 14;
/** 32 MB of state for one channel. A channel with more unfinished messages moves the oldest to the deferred store. */
const LARGEST_CAPACITY = 1 << 20;

const NO_KEYS = new Int32Array(0);
const NO_LINKS = new Float64Array(0);

/**
 * The state of a channel's messages between its floor (all messages below are finished) and its cursor (the next message to
 * deliver): parallel typed arrays, indexed by sequence modulo a power of two.
 *
 * The channel's hot loops read and write the arrays. Only methods of this class move the floor and the cursor.
 */
export class Window {
  /** All messages below are finished. */
  floor: number;
  /** Sequence of the next message to deliver for the first time. */
  cursor: number;
  mask = FIRST_CAPACITY - 1;
  state = new Uint8Array(FIRST_CAPACITY);
  /** Deliveries so far. */
  attempts = new Uint16Array(FIRST_CAPACITY);
  /** Id of the consumer that has it in flight. */
  owner = new Int32Array(FIRST_CAPACITY);
  /** Position of its record in the log. */
  position = new Float64Array(FIRST_CAPACITY);
  /** When it times out (in flight) or falls due (deferred), ms. */
  deadlineMs = new Float64Array(FIRST_CAPACITY);
  /** When it was last delivered, ms. TOUCH may extend the deadline up to --max-msg-timeout from then. */
  deliveredAtMs = new Float64Array(FIRST_CAPACITY);
  /** When it was published, ns (latency-recorder.ts). Undefined in a broker that does not measure latencies. */
  publishedNs: Float64Array | undefined;
  /** Entry of its key, in a channel that chooses its messages (selective/selection.ts); empty in any other. */
  key = NO_KEYS;
  /** Sequence of the next message of its key; -1: there is none. */
  next = NO_LINKS;
  /** Slots that are in flight, ready or deferred. */
  unfinished = 0;
  /** Offset of the end of the last frame that takeRun() took. */
  runEnd = 0;

  /** @param timed also keeps when messages were published */
  constructor(floor: number, timed = false) {
    this.floor = this.cursor = floor;
    this.publishedNs = timed ? new Float64Array(FIRST_CAPACITY) : undefined;
  }

  /** From now on it keeps which messages are of one key. */
  link(): void {
    this.key = new Int32Array(this.capacity);
    this.next = new Float64Array(this.capacity);
  }

  private get isLinked(): boolean {
    return this.key.length > 0;
  }

  get capacity(): number {
    return this.mask + 1;
  }

  /** How many more messages fit before the floor has to move. */
  get room(): number {
    return this.floor + this.mask + 1 - this.cursor;
  }

  has(sequence: number): boolean {
    return sequence >= this.floor && sequence < this.cursor;
  }

  /**
   * Marks the records from offset `from` of a chunk on as delivered to `owner`, in order: at most `limit` of them, and no more
   * once `maxBytes` are reached, but at least one. The caller has made sure that there is room for `limit`.
   * This loop and the kernel's copy are the whole cost of a delivery.
   *
   * @returns how many were taken; `runEnd` is the offset of the last one's end
   */
  takeRun(
    view: DataView,
    chunkStart: number,
    from: number,
    to: number,
    limit: number,
    maxBytes: number,
    owner: number,
    nowMs: number,
    deadlineMs: number,
  ): number {
    const { mask, position } = this;
    const stop = Math.min(to, from + maxBytes);
    const first = this.cursor & mask;
    let at = from;
    let i = first;
    let count = 0;
    while (count < limit && at < stop) {
      position[i] = chunkStart + at;
      at += 4 + view.getUint32(at);
      i = (i + 1) & mask;
      count++;
    }
    // Values that are the same for the whole run are filled in, not stored message by message.
    const untilEnd = Math.min(first + count, mask + 1);
    this.fillRun(first, untilEnd, owner, nowMs, deadlineMs);
    if (first + count > untilEnd) this.fillRun(0, first + count - untilEnd, owner, nowMs, deadlineMs);
    this.cursor += count;
    this.unfinished += count;
    this.runEnd = at;
    return count;
  }

  /** Marks the slots [from, to) as in flight, for the first time. */
  private fillRun(from: number, to: number, owner: number, nowMs: number, deadlineMs: number): void {
    if (to - from < FEW) {
      for (let i = from; i < to; i++) {
        this.state[i] = IN_FLIGHT;
        this.attempts[i] = 1;
        this.owner[i] = owner;
        this.deadlineMs[i] = deadlineMs;
        this.deliveredAtMs[i] = nowMs;
      }
      return;
    }
    this.state.fill(IN_FLIGHT, from, to);
    this.attempts.fill(1, from, to);
    this.owner.fill(owner, from, to);
    this.deadlineMs.fill(deadlineMs, from, to);
    this.deliveredAtMs.fill(nowMs, from, to);
  }

  /**
   * Finishes up to `count` messages from `first` on, as long as they are in flight with `owner`.
   *
   * @returns how many were finished. If fewer than asked, the next one is not in flight, or not with the owner
   */
  finishRun(first: number, count: number, owner: number): number {
    if (first < this.floor) return 0;
    const { mask, state, owner: owners } = this;
    const end = Math.min(first + count, this.cursor);
    let sequence = first;
    for (; sequence < end; sequence++) {
      const i = sequence & mask;
      if (state[i] !== IN_FLIGHT || owners[i] !== owner) break;
      state[i] = DONE;
    }
    this.unfinished -= sequence - first;
    if (first === this.floor && sequence > first) {
      this.floor = sequence;
      this.advance();
    }
    return sequence - first;
  }

  /** Finishes one message. If it was the oldest, the floor moves up to the next unfinished one. */
  finish(sequence: number): void {
    this.state[sequence & this.mask] = DONE;
    this.unfinished--;
    if (sequence === this.floor) this.advance();
  }

  /** Moves the cursor to `sequence`, and counts the messages in between as finished. Unless nothing is unfinished, they must fit. */
  skipTo(sequence: number): void {
    if (this.unfinished === 0) {
      this.floor = this.cursor = sequence;
      return;
    }
    for (; this.cursor < sequence; this.cursor++) this.state[this.cursor & this.mask] = DONE;
  }

  /** Discards all state, and goes on at `sequence`. */
  reset(sequence: number): void {
    this.state.fill(FREE);
    this.unfinished = 0;
    this.floor = this.cursor = sequence;
  }

  /** Doubles the capacity, if it is small or at least half of it is unfinished. @returns false if it must not grow */
  grow(): boolean {
    const { capacity } = this;
    if (capacity >= LARGEST_CAPACITY) return false;
    if (capacity >= FREE_GROWTH_CAPACITY && this.unfinished < capacity / 2) return false;
    const old = { ...this };
    const mask = capacity * 2 - 1;
    this.mask = mask;
    this.state = new Uint8Array(mask + 1);
    this.attempts = new Uint16Array(mask + 1);
    this.owner = new Int32Array(mask + 1);
    this.position = new Float64Array(mask + 1);
    this.deadlineMs = new Float64Array(mask + 1);
    this.deliveredAtMs = new Float64Array(mask + 1);
    const publishedNs = old.publishedNs === undefined ? undefined : new Float64Array(mask + 1);
    this.publishedNs = publishedNs;
    if (old.key.length > 0) this.link();
    for (let sequence = this.floor; sequence < this.cursor; sequence++) {
      const from = sequence & old.mask;
      const to = sequence & mask;
      this.state[to] = old.state[from];
      this.attempts[to] = old.attempts[from];
      this.owner[to] = old.owner[from];
      this.position[to] = old.position[from];
      this.deadlineMs[to] = old.deadlineMs[from];
      this.deliveredAtMs[to] = old.deliveredAtMs[from];
      if (publishedNs !== undefined && old.publishedNs !== undefined) publishedNs[to] = old.publishedNs[from];
      if (old.key.length === 0) continue;
      this.key[to] = old.key[from];
      this.next[to] = old.next[from];
    }
    return true;
  }

  /** Frees the memory of a past burst, if nothing is unfinished. */
  shrink(): void {
    if (this.unfinished > 0 || this.capacity === FIRST_CAPACITY) return;
    const fresh = new Window(this.cursor, this.publishedNs !== undefined);
    if (this.isLinked) fresh.link();
    Object.assign(this, fresh);
  }

  private advance(): void {
    const { state, mask } = this;
    let floor = this.floor;
    while (floor < this.cursor && state[floor & mask] === DONE) floor++;
    this.floor = floor;
  }
}
