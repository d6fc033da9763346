/** How many messages a seek made a channel discard. */
export interface Discarded {
  inFlight: number;
  /** Waiting to be delivered again. */
  requeued: number;
  /** Requeued with a delay. */
  deferred: number;
}
