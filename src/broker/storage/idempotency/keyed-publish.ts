/** A topic that publishes with keys go to. */
export interface PublishTarget {
  readonly id: number;
  /** Its messages are in memory only, and so are their keys. */
  readonly ephemeral: boolean;
  /** Its publishes are acknowledged after a sync, which may still refuse them. */
  readonly fsync?: boolean;
  /** Why the last commit of the topic's log refused its publishes. */
  readonly failure: Error | undefined;
  /** Why the last sync refused them. */
  readonly syncFailure?: Error | undefined;
  /** Its replicas have the messages below this sequence; undefined or Infinity: it has no replicas. */
  readonly releasable?: number;
}

/** The key of a publish that is not committed yet. */
export interface PendingKey<Ack> {
  topic: PublishTarget;
  key: string;
  sequence: number;
  ack: Ack;
}

/** The key of a publish that is committed and waits for a sync. */
export interface UnsyncedKey {
  readonly topic: PublishTarget;
  readonly key: string;
  /** The sequence of the first message; negative for a deferred publish. */
  readonly sequence: number;
  /** The sync failed, and the publish was refused: so are its repetitions. */
  refusal: Error | undefined;
}
