/** Delivers what a channel has of one partition to the channel's consumers. */
export interface ChannelDispatcher {
  /** How many messages went to consumers in the broker's zone, in its region, and elsewhere (locality.ts). */
  readonly deliveredBy: [zone: number, region: number, elsewhere: number];
  /** Why messages wait that could be delivered; undefined: none does. */
  readonly readFailure: Error | undefined;
  /** Delivers messages until there are none left, no consumer takes any more, or they cannot be read. */
  dispatch(nowMs: number): void;
  /** Does what may read where new messages are, unless they wait. @returns what it returned; false if it failed to read */
  tryFresh(work: () => boolean): boolean;
  /** New messages could not be delivered: they wait. */
  freshFailed(error: Error): void;
  /** To be called when there is nothing to deliver: what did not fail again goes on. */
  endRetries(): void;
  /** Consumers have come or gone. */
  onConsumersChanged(): void;
  /** The messages that wait were discarded. */
  cancelRetries(): void;
}
