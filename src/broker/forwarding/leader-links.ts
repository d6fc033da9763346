import type { ForwardAnswer, ForwardedPublish } from "./forwarded-publish.ts";

/** How a publish ended that was given to a link. */
export type LinkAnswer =
  | Exclude<ForwardAnswer, { readonly kind: "unknown" }>
  /** As of ForwardAnswer. knowsKeys: it recognizes a repetition by its idempotency key. */
  | { readonly kind: "unknown"; readonly reason: string; readonly knowsKeys: boolean }
  /**
   * The connection could not be made, or is lost.
   *
   * wasSent: the other broker may have it. knowsKeys: it recognizes a repetition by its idempotency key.
   */
  | { readonly kind: "lost"; readonly wasSent: boolean; readonly knowsKeys: boolean };

/** The ways to the brokers that lead partitions. */
export interface LeaderLinks {
  /**
   * Sends a publish. Those to one broker arrive in the order in which they were given.
   *
   * @param uid of the broker's data path
   * @param done called once, never from within this call
   */
  send(uid: string, publish: ForwardedPublish, done: (answer: LinkAnswer) => void): void;
}
