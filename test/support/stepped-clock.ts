import type { Clock, Timer } from "../../src/base/clock.ts";
import { SimulatedClock } from "./simulated-clock.ts";

/** 2026-01-01, in ms since 1970. */
const START_MS = 1_767_225_600_000;
/** A tick may ask for another one, in the turn after it. */
const TURNS_PER_CALL = 3;

/**
 * A clock for a broker with real sockets and a real disk: turns of the event loop are the machine's, and time stands still until the
 * test lets it pass. So a test that waits for sockets may take as long as it likes, and nothing falls due or times out meanwhile.
 */
export class SteppedClock extends SimulatedClock {
  private readonly asked = new Map<Timer, () => void>();
  private wasCalled = false;

  constructor() {
    super(START_MS);
  }

  override callAfter(delayMs: number, callback: () => void): Timer {
    const timer = super.callAfter(delayMs, () => {
      this.asked.delete(timer);
      this.wasCalled = true;
      callback();
    });
    this.asked.set(timer, callback);
    return timer;
  }

  override cancel(timer: Timer): void {
    this.asked.delete(timer);
    super.cancel(timer);
  }

  override callAfterTurn(callback: () => void): void {
    setImmediate(callback);
  }

  /** Lets time pass. What falls due in it is done when it does, in turns of the event loop of its own. */
  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed++) {
      this.wasCalled = false;
      this.advance(1);
      if (this.wasCalled) await turns();
    }
    await turns();
  }

  /** Waits for a broker that stops, without letting time pass: what it wants to be called for then is a poll. */
  async standStill<T>(closing: Promise<T>): Promise<T> {
    let ended = false;
    const end = () => {
      ended = true;
    };
    closing.then(end, end);
    while (!ended) {
      for (const [timer, callback] of [...this.asked]) {
        this.cancel(timer);
        callback();
      }
      await new Promise(setImmediate);
    }
    return closing;
  }
}

/** Ends a broker cleanly. By a SteppedClock it takes no time. */
export async function closeBroker(broker: { close(): Promise<void> }, clock: Clock | undefined): Promise<void> {
  const closing = broker.close();
  await (clock instanceof SteppedClock ? clock.standStill(closing) : closing);
}

async function turns(): Promise<void> {
  for (let i = 0; i < TURNS_PER_CALL; i++) await new Promise(setImmediate);
}
