import { NamedList } from "./named-list.ts";
import type { Producer, Registration } from "./producer.ts";
import { SortedList } from "./sorted-list.ts";

/** When a producer was tombstoned: its owner is about to delete the topic there, and clients should not find it any more. */
export interface Tombstone {
  /** On a clock that is never set, ms. */
  readonly sinceMs: number;
  /** In wall-clock time, ms since 1970. */
  readonly atMs: number;
}

/**
 * A topic: which producers have it, and its channels.
 *
 * nsqlookupd holds topics and channels as keys of one map, so a topic's channels can outlive it. Here such a topic is
 * kept, not registered, for as long as it has channels.
 */
export class TopicRegistration implements Registration {
  /** Whether the topic itself is there, beside its channels. */
  registered = false;
  readonly producers = new SortedList<Producer>();
  readonly channels = new NamedList<ChannelRegistration>();
  /** Of its producers; undefined while there is none. They stay past their lifetime, as nsqlookupd's do. */
  tombstones: Map<Producer, Tombstone> | undefined;

  constructor(
    readonly number: number,
    readonly name: string,
  ) {}

  leave(producer: Producer): boolean {
    this.tombstones?.delete(producer);
    return this.producers.remove(producer);
  }
}

/** A channel, and which producers have it. */
export class ChannelRegistration implements Registration {
  readonly producers = new SortedList<Producer>();

  constructor(
    readonly number: number,
    readonly name: string,
    readonly topic: TopicRegistration,
  ) {}

  leave(producer: Producer): boolean {
    return this.producers.remove(producer);
  }
}
