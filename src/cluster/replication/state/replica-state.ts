/** Tells the values that a key has had apart: the epoch in which one was set, and the number of that change. */
export interface StateVersion {
  readonly epoch: number;
  readonly number: number;
}

export interface StateKey extends StateVersion {
  /** ASCII, 1 to 255 bytes. */
  readonly key: string;
}

/** A key gets a value. */
export interface StateValue extends StateKey {
  readonly value: Buffer;
}

/** A key gets a value, or is removed where there is none. */
export interface StateChange extends StateKey {
  readonly value: Buffer | undefined;
}

/**
 * What goes along with the messages of a partition, on this broker's disk: values by keys. All replicas have the same, and whoever leads next
 * builds its channels and deferred messages from it.
 */
export interface ReplicaState {
  /** The keys behind one, in ascending order. @param after "": from the first one on */
  keysAfter(after: string, limit: number): readonly StateKey[];
  get(key: string): StateValue | undefined;
  /**
   * Makes changes, which are seen at once, all or none.
   *
   * @param done called later, in the order of the calls: when a kill leaves them or, if the topic has the durability `fsync`, when a
   *   power cut does. With the failure if they were not made: then none is left of any call that had not ended
   */
  apply(changes: readonly StateChange[], done: (failure: Error | undefined) => void): void;
}

/** Channels are named by these keys. What they need of other keys has to be there before them, and may go after them. */
export const CHANNEL_PREFIX = "channel/";
