/**
 * - `invalid`: what was asked for makes no sense; the message says why
 * - `unknown-outcome`: etcd did not answer in time. What was asked for may have happened, or may yet happen: look again.
 * - `changing`: something else is under way
 * - `may-lose-messages`: it was not said that this is accepted
 */
export type RefusalReason =
  | "topic-exists"
  | "no-such-topic"
  | "no-such-partition"
  | "no-such-broker"
  | "too-few-brokers"
  | "fewer-partitions"
  | "no-prefixes"
  | "invalid"
  | "may-lose-messages"
  | "changing"
  | "unknown-outcome";

/** Why the cluster did not do what an operator asked for. */
export class ClusterRefusal extends Error {
  override name = "ClusterRefusal";

  constructor(
    readonly reason: RefusalReason,
    message: string,
  ) {
    super(message);
  }
}
