import { NamedList } from "./named-list.ts";
import type { RegisteredNode, Registration } from "./registered-node.ts";
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
  readonly nodes = new SortedList<RegisteredNode>();
  readonly channels = new NamedList<ChannelRegistration>();
  /** Of its producers; undefined while there is none. They stay past their lifetime, as nsqlookupd's do. */
  tombstones: Map<RegisteredNode, Tombstone> | undefined;

  constructor(
    readonly ordinal: number,
    readonly name: string,
  ) {}

  removeNode(node: RegisteredNode): boolean {
    this.tombstones?.delete(node);
    return this.nodes.remove(node);
  }
}

/** A channel, and which producers have it. */
export class ChannelRegistration implements Registration {
  readonly nodes = new SortedList<RegisteredNode>();

  constructor(
    readonly ordinal: number,
    readonly name: string,
    readonly topic: TopicRegistration,
  ) {}

  removeNode(node: RegisteredNode): boolean {
    return this.nodes.remove(node);
  }
}
