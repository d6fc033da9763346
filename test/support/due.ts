import { expectNothing } from "./in-process.ts";
import type { Frame, RawClient } from "./raw-client.ts";
import type { SteppedClock } from "./stepped-clock.ts";

/** Nothing may be later than this, by the broker's clock. */
const LATE_MS = 5;

/** The next message of a consumer, which comes when `delayMs` have passed by the broker's clock, and not a millisecond before. */
export async function messageAfter(clock: SteppedClock, delayMs: number, consumer: RawClient): Promise<Frame> {
  await clock.pass(delayMs - 1);
  await expectNothing(consumer);
  await clock.pass(1 + LATE_MS);
  return consumer.message();
}
