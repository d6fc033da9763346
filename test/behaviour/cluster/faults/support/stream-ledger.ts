/** What was finished this long before a fault is saved at all replicas. Promised are 300 ms; a consumer prints each 20 ms. */
const SAVED_MS = 320;
/** Client, leader, follower and the reader of this, each of which may stand still for as long as the last one is known to have. */
const PROCESSES = 4;
const MAX_REPORTED = 12;

const ACKNOWLEDGED = 1;
/** It may be in the log more than once, because its publish was repeated. */
const REPEATED = 2;

/** A time in which something was broken, and what it broke healed, ms of the wall clock. */
export interface FaultWindow {
  readonly fromMs: number;
  /** Infinity: it goes on. */
  untilMs: number;
}

/** The numbers that one publisher has published, and that one consumer has got. */
export class StreamLedger {
  private readonly certain: string[] = [];
  /** What is wrong unless a fault is known of later that explains it. */
  private suspects: { readonly atMs: number; readonly what: string; readonly isDelivery: boolean }[] = [];
  acknowledgedCount = 0;
  deliveredCount = 0;
  /** Deliveries of what was finished before: because a publish was repeated, and because a FIN was lost with a fault. */
  publishedAgainCount = 0;
  deliveredAgainCount = 0;
  private states = new Uint8Array(1 << 16);
  /** When each number was finished last; 0: never. */
  private finishedMs = new Float64Array(1 << 16);
  private end = 0;
  /** The last number of each key that was delivered; -1: none. */
  private readonly lasts: Int32Array;

  /**
   * @param keys above 0: deliveries of numbers that are the same modulo this are in order
   * @param windows when faults were; the list grows
   * @param stallMs how long this machine stood still lately, at most
   */
  constructor(
    readonly name: string,
    private readonly keys: number,
    private readonly windows: readonly FaultWindow[],
    private readonly stallMs: () => number,
  ) {
    this.lasts = new Int32Array(keys).fill(-1);
  }

  /** Takes a line of a client's program, as client-job.ts describes them. */
  read(line: string): void {
    const numbers = line.split(" ");
    switch (numbers[0]) {
      case "a":
        return this.mark(Number(numbers[1]), Number(numbers[2]), ACKNOWLEDGED);
      case "u":
        return this.mark(Number(numbers[1]), Number(numbers[2]), REPEATED);
      case "d":
        for (let i = 2; i < numbers.length; i++) this.deliver(Number(numbers[i]), Number(numbers[1]));
        return;
      case "f":
        return this.beginAgain(Number(numbers[1]), Number(numbers[2]));
      case "x":
        return this.violate(`a body that nobody published: ${line.slice(2, 200)}`);
    }
  }

  /** What was wrong. To be asked when all faults so far are in the list of windows. */
  get violations(): string[] {
    const left: string[] = [];
    for (const { atMs, what, isDelivery } of this.suspects) {
      if (!this.isNearFault(atMs)) left.push(`${this.name}: ${what}, ${this.nearest(atMs)}`);
      else if (isDelivery) this.deliveredAgainCount++;
    }
    this.suspects = [];
    this.certain.push(...left);
    return this.certain.slice(0, MAX_REPORTED);
  }

  /** Numbers that are acknowledged and were never delivered. */
  missing(): number[] {
    const missing: number[] = [];
    for (let n = 0; n < this.end; n++) {
      if (((this.states[n] as number) & ACKNOWLEDGED) !== 0 && this.finishedMs[n] === 0) missing.push(n);
    }
    return missing;
  }

  private mark(first: number, count: number, state: number): void {
    this.grow(first + count);
    for (let n = first; n < first + count; n++) this.states[n] = (this.states[n] as number) | state;
    if (state === ACKNOWLEDGED) this.acknowledgedCount += count;
  }

  private deliver(number: number, atMs: number): void {
    this.grow(number + 1);
    this.deliveredCount++;
    const before = this.finishedMs[number] as number;
    const isRepeated = ((this.states[number] as number) & REPEATED) !== 0;
    if (before > 0) {
      if (this.isNearFault(before)) this.deliveredAgainCount++;
      else if (isRepeated) this.publishedAgainCount++;
      else this.suspect(before, `${number} was delivered again, and finished ${(atMs - before).toFixed(0)} ms before`, true);
    }
    if (this.keys > 0) this.checkOrder(number, before > 0, isRepeated);
    this.finishedMs[number] = atMs;
  }

  /** A message that was requeued has come as if it never had before. */
  private beginAgain(dueMs: number, number: number): void {
    const isRepeated = ((this.states[number] as number) & REPEATED) !== 0;
    if (!isRepeated) this.suspect(dueMs, `${number} has lost its attempts after it was requeued`, false);
  }

  /** A number may come when all before it of its key are finished, and come again while none behind it has come. */
  private checkOrder(number: number, isAgain: boolean, isRepeated: boolean): void {
    const key = number % this.keys;
    const last = this.lasts[key] as number;
    if (isAgain) {
      if (number < last && !isRepeated) this.violate(`${number} came again behind ${last} of its key`);
      return;
    }
    const next = last < 0 ? key : last + this.keys;
    if (number !== next) this.violate(`${number} came where ${next} of its key had to`);
    this.lasts[key] = Math.max(last, number);
  }

  private isNearFault(finishedMs: number): boolean {
    const earlyMs = SAVED_MS + PROCESSES * this.stallMs();
    return this.windows.some(({ fromMs, untilMs }) => finishedMs >= fromMs - earlyMs && finishedMs <= untilMs);
  }

  private nearest(finishedMs: number): string {
    const next = this.windows.find(({ fromMs }) => fromMs > finishedMs);
    return next === undefined ? "after the last fault" : `${(next.fromMs - finishedMs).toFixed(0)} ms before a fault`;
  }

  private grow(end: number): void {
    this.end = Math.max(this.end, end);
    if (end <= this.states.length) return;
    const length = Math.max(end, this.states.length * 2);
    const states = new Uint8Array(length);
    states.set(this.states);
    const finished = new Float64Array(length);
    finished.set(this.finishedMs);
    this.states = states;
    this.finishedMs = finished;
  }

  private suspect(atMs: number, what: string, isDelivery: boolean): void {
    this.suspects.push({ atMs, what, isDelivery });
  }

  private violate(what: string): void {
    if (this.certain.length < MAX_REPORTED) this.certain.push(`${this.name}: ${what}`);
  }
}
