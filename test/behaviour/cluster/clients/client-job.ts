/**
 * What a client's program is to do, as JSON in its first argument. It ends when its standard input does.
 *
 * A publisher publishes the bodies of 0, 1, 2 … A number that was not acknowledged is published again until it is. It prints
 *     a FIRST COUNT   these numbers are acknowledged
 *     u FIRST COUNT   a publish of these may have happened, and is repeated
 *     s               there is nothing under way any more, and nothing new comes; after "stop" on its standard input
 * A consumer finishes each message and prints
 *     d MS N N N …    these numbers were delivered and finished, in this order, up to this time (ms of the wall clock)
 *     f MS N          this number came with its first attempt, though it was requeued to come at this time
 *     x TEXT          a body that nobody published
 * Both may print lines that begin with another letter: what they complain of, for a failure's report.
 */
export interface ClientJob {
  readonly act: "publish" | "consume";
  /** `host:port` of the brokers' TCP sides, for clients that do not ask lookups when they publish. */
  readonly brokers: readonly string[];
  /** `host:port` of the lookups' HTTP sides. */
  readonly lookups: readonly string[];
  readonly topic: string;
  readonly channel: string;
  /** Messages a second. */
  readonly rate: number;
  /** Messages in one publish. */
  readonly batch: number;
  /** Above 0: number n has key n modulo this, and is published when the one before it of its key is acknowledged. */
  readonly keys: number;
  /** Above 0: the delay, ms, of odd numbers at their publish, which are published one by one, and of even ones at their first attempt. */
  readonly delayMs: number;
}
