/** What the broker had read this long before a kill is saved. Promised are 150 ms; the machine may be slow. */
const SAVED_MS = 300;
/** Clocks are read in two processes, and rounded to a millisecond in one of them. */
const EARLY_TOLERANCE_MS = 5;
/** With this process stalled longer, a delivery may have timed out before it was read. */
const READ_LATE_MS = 200;
const MAX_REPORTED = 15;

/** What is known of one message. */
interface MessageFacts {
  life: number;
  isAcked: boolean;
  /** How often it was delivered in the life that it was delivered in last; 0: never. */
  attempts: number;
  deliveredLife: number;
  /** When it was finished; undefined: it must come, or come again. */
  finishedMs: number | undefined;
  finishedLife: number;
  /** Whether the broker may not have had the FIN, or may have had it too late. */
  isUnsure: boolean;
}

/** A message that a consumer has. */
export interface HeldMessage {
  readonly line: Line;
  readonly number: number;
  readonly attempts: number;
  readonly consumer: object;
  /** The broker does not deliver it again before. */
  untilMs: number;
}

/**
 * The messages of one key, or of one partition where that is what the channel keeps in order. They have the numbers 0, 1, … in the order
 * of their publishes. Checks each delivery as it is read.
 */
export class Line {
  readonly messages: MessageFacts[] = [];
  /** No message below comes any more. */
  private base = 0;
  private held: HeldMessage | undefined;
  /** It has nothing delivered before this, because of a requeue. */
  private notBeforeMs = 0;
  private requeuedMs = 0;

  constructor(
    private readonly ledger: LineLedger,
    readonly name: string,
  ) {}

  /** A message is about to be published. @returns its number */
  publish(): number {
    const { life } = this.ledger;
    this.messages.push({ life, isAcked: false, attempts: 0, deliveredLife: -1, finishedMs: undefined, finishedLife: -1, isUnsure: false });
    this.ledger.publishedCount++;
    return this.messages.length - 1;
  }

  acknowledge(number: number): void {
    this.messages[number].isAcked = true;
  }

  /** A consumer has read a message. @returns undefined if it is nothing that it has to answer */
  deliver(number: number, attempts: number, consumer: object, nowMs: number, timeoutMs: number): HeldMessage | undefined {
    const { ledger, messages, held } = this;
    const message = messages[number];
    if (message === undefined) {
      ledger.violation(`${this.name}: ${number} was never published`);
      return undefined;
    }
    const isOfThisLife = message.deliveredLife === ledger.life;
    if (isOfThisLife && attempts <= message.attempts) {
      // It timed out before it was read here, and was read by another consumer since.
      if (ledger.stallMs() < READ_LATE_MS) this.wrong(number, `comes with attempts ${attempts} after ${message.attempts}`);
      return undefined;
    }
    ledger.deliveredCount++;
    if (message.attempts > 0 || message.deliveredLife >= 0) ledger.repeatedCount++;
    if (held !== undefined && nowMs < held.untilMs) {
      this.wrong(number, `is delivered while ${held.number} is in flight, for ${(held.untilMs - nowMs).toFixed(0)} ms more`);
    }
    if (nowMs < this.notBeforeMs - EARLY_TOLERANCE_MS) {
      this.wrong(number, `is delivered ${(this.notBeforeMs - nowMs).toFixed(0)} ms too early`);
    }
    this.checkOrder(number);
    message.attempts = attempts;
    message.deliveredLife = ledger.life;
    this.notBeforeMs = 0;
    // Half of the time-out is left to a message that was read late.
    this.held = { line: this, number, attempts, consumer, untilMs: nowMs + timeoutMs / 2 - ledger.stallMs() };
    return this.held;
  }

  private checkOrder(number: number): void {
    const { messages, ledger } = this;
    if (number < this.base) {
      const { finishedMs, finishedLife } = messages[number];
      const ending = ledger.endings[finishedLife];
      const when =
        finishedMs === undefined
          ? "it was not finished"
          : ending === undefined
            ? "finished in this life"
            : `finished ${(ending - finishedMs).toFixed(0)} ms before a kill`;
      return this.wrong(number, `comes behind ${this.base} (${when})`);
    }
    for (let before = this.base; before < number; before++) {
      const { isAcked, attempts, finishedMs } = messages[before];
      if (finishedMs === undefined && (isAcked || attempts > 0)) this.wrong(number, `comes before ${before}`);
    }
    this.base = number;
    const message = messages[number];
    if (message.finishedMs === undefined) return;
    if (message.finishedLife === ledger.life && !message.isUnsure) this.wrong(number, "comes again in the life that it was finished in");
    // The broker does not know of this FIN; then it knows of no later one either.
    for (let i = number; i < messages.length; i++) messages[i].finishedMs = undefined;
  }

  /** A consumer sends a FIN. */
  finish(of: HeldMessage, nowMs: number): void {
    const message = this.messages[of.number];
    message.finishedMs = nowMs;
    message.finishedLife = this.ledger.life;
    message.isUnsure = nowMs >= of.untilMs;
    if (this.held === of) this.held = undefined;
  }

  /** The broker has refused a FIN or REQ. @param sentMs when that was sent */
  refuse(of: HeldMessage, sentMs: number): void {
    if (sentMs < of.untilMs) return this.wrong(of.number, `was answered in time, attempts ${of.attempts}, and refused`);
    const message = this.messages[of.number];
    if (message.finishedMs === sentMs) message.finishedMs = undefined;
  }

  /** A consumer sends a REQ. */
  requeue(of: HeldMessage, delayMs: number, nowMs: number): void {
    if (this.held !== of) return;
    this.held = undefined;
    if (nowMs >= of.untilMs) return;
    this.requeuedMs = nowMs;
    this.notBeforeMs = delayMs === 0 ? 0 : nowMs + delayMs;
  }

  /** A consumer has left, and may have answered what the broker did not read any more. */
  leave(consumer: object, unread: Iterable<HeldMessage>): void {
    if (this.held?.consumer === consumer) this.held = undefined;
    for (const { number } of unread) this.messages[number].isUnsure = true;
  }

  /** A REQ of a consumer that has left may not have been read. */
  forgetDelay(): void {
    this.notBeforeMs = 0;
  }

  endLife(atMs: number, isKill: boolean): void {
    this.held = undefined;
    if (!isKill) return;
    const savedBeforeMs = atMs - SAVED_MS - this.ledger.stallMs();
    if (this.requeuedMs > savedBeforeMs) this.notBeforeMs = 0;
    for (let i = this.base - 1; i >= 0; i--) {
      const { finishedMs, isUnsure, isAcked, attempts } = this.messages[i];
      if (finishedMs === undefined && !isAcked && attempts === 0) continue;
      if (finishedMs === undefined || (!isUnsure && finishedMs <= savedBeforeMs)) break;
      this.base = i;
    }
  }

  /** Acknowledged messages that are not finished. */
  get missing(): number[] {
    return this.messages.flatMap(({ isAcked, finishedMs }, number) => (isAcked && finishedMs === undefined ? [number] : []));
  }

  /** A publish that was not answered when the broker was killed has only happened if all earlier ones of its line have. */
  checkPrefixes(): void {
    const { messages } = this;
    for (let i = 1; i < messages.length; i++) {
      const [before, after] = [messages[i - 1], messages[i]];
      if (before.life === after.life && before.deliveredLife < 0 && after.deliveredLife >= 0) this.wrong(i, `is there without ${i - 1}`);
    }
  }

  private wrong(number: number, what: string): void {
    this.ledger.violation(`${this.name}: ${number} ${what}`);
  }
}

/** What clients have seen of all lines over several lives of a broker. Times are ms of one clock of the test's. */
export class LineLedger {
  readonly lines: Line[];
  readonly violations: string[] = [];
  /** Number of the broker's current life. */
  life = 0;
  /** When each life ended, ms. */
  readonly endings: number[] = [];
  publishedCount = 0;
  deliveredCount = 0;
  repeatedCount = 0;

  /** @param stallMs how long this process stood still lately, at most */
  constructor(
    names: string[],
    readonly stallMs: () => number,
  ) {
    this.lines = names.map((name) => new Line(this, name));
  }

  violation(what: string): void {
    if (this.violations.length < MAX_REPORTED) this.violations.push(`life ${this.life}: ${what}`);
  }

  endLife(atMs: number, isKill: boolean): void {
    for (const line of this.lines) line.endLife(atMs, isKill);
    this.endings[this.life++] = atMs;
  }

  get missingCount(): number {
    return this.lines.reduce((count, line) => count + line.missing.length, 0);
  }

  endRun(): void {
    for (const line of this.lines) {
      const { missing } = line;
      if (missing.length > 0) this.violation(`${line.name}: ${missing.length} lost, the first is ${missing[0]}`);
      line.checkPrefixes();
    }
  }
}
