import type { Clock, Timer } from "../base/clock.ts";

/**
 * Where there are more connections than messages may be in flight, each connection is asked within this time, ms, and within twice as
 * much with timers that come late by a millisecond each.
 */
const ROUND_MS = 100;
/** The longest that a connection without messages is asked before the next one, ms. */
const MAX_VISIT_MS = 1_000;
/** How long a RDY that was taken back may still be obeyed, ms: at least, beside the round trip. */
const MIN_GRACE_MS = 1;

/** A connection that takes part. */
export interface ReadyConnection {
  /** The largest RDY that its broker accepts. */
  readonly maxReady: number;
  readonly roundTripMs: number;
  /** Messages that were received and not answered. */
  readonly inFlight: number;
  /** Messages that came, so far. */
  readonly received: number;
  sendReady(count: number): void;
}

/** A connection's share. */
interface Share {
  connection: ReadyConnection;
  ready: number;
  /** What its broker may still have in flight until `formerUntilMs`: the RDY before it was lowered. */
  former: number;
  formerUntilMs: number;
  /** When it got its turn; only while turns are taken. */
  visitedAtMs: number;
  /** How many messages had come when it was looked at last. */
  seen: number;
  /** Whether a message came in this turn, or else in the last one; and when the last one was seen. */
  isBusy: boolean;
  busyAtMs: number;
}

/**
 * Distributes max-in-flight over connections by RDY.
 *
 * With as many connections as max-in-flight or fewer, each gets the same share, as in go-nsq: min(max(1, max / n), max). With more
 * connections they take turns: as many as may be in flight have RDY 1, and each one is asked within ROUND_MS. One that has messages
 * keeps its turn longer. RDY is given to another connection only when the round trip of taking it back has passed, so the
 * sum of what brokers may send stays within the maximum.
 */
export class ReadyDistribution {
  private shares: Share[] = [];
  /** Where the next turn begins. */
  private next = 0;
  private timer: Timer | undefined;
  private isPaused = false;
  private isProbing = false;
  /** Some connection has less than its share, because others still have more than theirs. */
  private isShort = false;

  constructor(
    private max: number,
    private readonly clock: Clock,
    private readonly random: () => number,
  ) {}

  get maxInFlight(): number {
    return this.max;
  }

  add(connection: ReadyConnection): void {
    this.shares.push({ connection, ready: 0, former: 0, formerUntilMs: 0, visitedAtMs: 0, seen: 0, isBusy: false, busyAtMs: 0 });
    this.distribute();
  }

  remove(connection: ReadyConnection): void {
    this.shares = this.shares.filter((share) => share.connection !== connection);
    this.distribute();
  }

  setMaxInFlight(max: number): void {
    this.max = max;
    this.distribute();
  }

  /** Takes all RDY back. */
  pause(): void {
    this.isPaused = true;
    this.isProbing = false;
    this.distribute();
  }

  /** Lets one message through, from a connection chosen at random. @returns false without a connection */
  probe(): boolean {
    if (this.shares.length === 0) return false;
    this.isPaused = false;
    this.isProbing = true;
    this.next = Math.floor(this.random() * this.shares.length);
    this.distribute();
    return true;
  }

  resume(): void {
    this.isPaused = false;
    this.isProbing = false;
    this.distribute();
  }

  /** A message was answered, so there may be room for another connection. */
  onAnswered(connection: ReadyConnection): void {
    if (!this.isShort && !this.isTakingTurns) return;
    const share = this.shares.find((one) => one.connection === connection);
    // Its broker has the message in flight until the answer has arrived.
    if (share !== undefined && connection.inFlight >= share.ready) {
      this.promise(share, connection.inFlight + 1, this.clock.steadyMs(), this.graceMs(connection, MAX_VISIT_MS));
    }
    this.distribute();
  }

  /** How many messages are in flight beyond the maximum. */
  get excess(): number {
    let inFlight = 0;
    for (const { connection } of this.shares) inFlight += connection.inFlight;
    return inFlight - this.max;
  }

  /** Whether connections take turns, so that messages beyond the maximum may come. */
  get isTakingTurns(): boolean {
    return !this.isPaused && this.shares.length > this.slots;
  }

  stop(): void {
    this.cancel();
    this.shares = [];
  }

  private get slots(): number {
    return this.isProbing ? Math.min(1, this.max) : this.max;
  }

  private distribute(): void {
    this.cancel();
    const { slots } = this;
    const nowMs = this.clock.steadyMs();
    if (this.isPaused || slots === 0) {
      for (const share of this.shares) this.set(share, 0, nowMs);
    } else if (this.shares.length > slots) {
      this.takeTurns(nowMs, slots);
    } else {
      this.shareOut(nowMs, slots);
    }
  }

  private shareOut(nowMs: number, slots: number): void {
    const each = Math.min(Math.max(1, Math.floor(slots / this.shares.length)), slots);
    // What is lowered makes room for others.
    for (const share of this.shares) if (share.ready > each) this.set(share, each, nowMs);
    let lateMs = Number.POSITIVE_INFINITY;
    this.isShort = false;
    for (const share of this.shares) {
      const wanted = Math.min(each, share.connection.maxReady);
      if (share.ready >= wanted) continue;
      const room = slots - this.committed(nowMs) + this.committedTo(share, nowMs);
      const possible = Math.min(wanted, room);
      if (possible > share.ready) this.set(share, possible, nowMs);
      if (possible >= wanted) continue;
      this.isShort = true;
      lateMs = this.nextChange(nowMs);
    }
    // Messages that are answered make room, too.
    if (lateMs < Number.POSITIVE_INFINITY) this.plan(Math.max(1, lateMs - nowMs));
  }

  private takeTurns(nowMs: number, slots: number): void {
    const count = this.shares.length;
    const visitMs = Math.min(MAX_VISIT_MS, (ROUND_MS * slots) / count);
    let dueMs = Number.POSITIVE_INFINITY;
    let busy = 0;
    for (const share of this.shares) {
      look(share, nowMs);
      if (share.isBusy) busy++;
    }
    // While others have messages, connections without get half the time, and the rest of it goes to those with.
    const idleMs = busy === 0 ? visitMs : visitMs / 2;
    const busyMs = busy === 0 ? visitMs : visitMs + ((count - busy) * visitMs) / 2 / busy;
    for (const share of this.shares) {
      if (share.ready === 0) continue;
      const graceMs = this.graceMs(share.connection, visitMs);
      const openMs = Math.max(MIN_GRACE_MS, idleMs - graceMs);
      const { visitedAtMs, busyAtMs } = share;
      // One with messages keeps its turn as long as more of them come.
      const endMs = busyAtMs < visitedAtMs ? visitedAtMs + openMs : Math.min(visitedAtMs + busyMs, busyAtMs + openMs);
      if (endMs <= nowMs || share.ready > 1) this.set(share, 0, nowMs, graceMs);
      else dueMs = Math.min(dueMs, endMs);
    }
    for (let free = slots - this.committed(nowMs); free > 0; free--) {
      const share = this.nextInTurn(nowMs);
      if (share === undefined) break;
      share.isBusy = share.busyAtMs > share.visitedAtMs;
      share.visitedAtMs = nowMs;
      this.set(share, 1, nowMs);
      const graceMs = this.graceMs(share.connection, visitMs);
      dueMs = Math.min(dueMs, nowMs + Math.max(MIN_GRACE_MS, idleMs - graceMs));
    }
    dueMs = Math.min(dueMs, this.nextChange(nowMs));
    if (dueMs < Number.POSITIVE_INFINITY) this.plan(Math.max(1, dueMs - nowMs));
  }

  /** The next connection without RDY, and without a message that occupies its place already. */
  private nextInTurn(nowMs: number): Share | undefined {
    const count = this.shares.length;
    for (let i = 0; i < count; i++) {
      const at = (this.next + i) % count;
      const share = this.shares[at] as Share;
      if (this.committedTo(share, nowMs) > 0) continue;
      this.next = (at + 1) % count;
      return share;
    }
    return undefined;
  }

  /** How many messages the brokers may have in flight by what they were told. */
  private committed(nowMs: number): number {
    let sum = 0;
    for (const share of this.shares) sum += this.committedTo(share, nowMs);
    return sum;
  }

  private committedTo({ connection, ready, former, formerUntilMs }: Share, nowMs: number): number {
    const promised = formerUntilMs > nowMs ? Math.max(ready, former) : ready;
    return Math.max(promised, connection.inFlight);
  }

  /** When the next RDY that was taken back counts as gone. */
  private nextChange(nowMs: number): number {
    let nextMs = Number.POSITIVE_INFINITY;
    for (const { formerUntilMs } of this.shares) if (formerUntilMs > nowMs) nextMs = Math.min(nextMs, formerUntilMs);
    return nextMs;
  }

  private graceMs({ roundTripMs }: ReadyConnection, visitMs: number): number {
    // A far broker must not make the round longer: what it sends then is more than the maximum for a round trip.
    return Math.max(MIN_GRACE_MS, Math.min(roundTripMs * 1.5, visitMs / 2));
  }

  private set(share: Share, ready: number, nowMs: number, graceMs = this.graceMs(share.connection, MAX_VISIT_MS)): void {
    if (share.ready === ready) return;
    if (ready < share.ready) this.promise(share, share.ready, nowMs, graceMs);
    share.ready = ready;
    share.connection.sendReady(ready);
  }

  /** Counts messages that a broker may have in flight although it has been told otherwise. */
  private promise(share: Share, count: number, nowMs: number, graceMs: number): void {
    share.former = share.formerUntilMs > nowMs ? Math.max(share.former, count) : count;
    share.formerUntilMs = nowMs + graceMs;
  }

  private plan(delayMs: number): void {
    this.timer = this.clock.callAfter(delayMs, () => {
      this.timer = undefined;
      this.distribute();
    });
  }

  private cancel(): void {
    if (this.timer !== undefined) this.clock.cancel(this.timer);
    this.timer = undefined;
  }
}

/** Notes whether messages have come. */
function look(share: Share, nowMs: number): void {
  const { received } = share.connection;
  if (received === share.seen) return;
  share.seen = received;
  share.isBusy = true;
  share.busyAtMs = nowMs;
}
