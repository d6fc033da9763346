import { NamedList } from "./named-list.ts";
import type { RegisteredNode, Registration } from "./registered-node.ts";
import { SortedList } from "./sorted-list.ts";

/** When a node was tombstoned for a topic: an operator is about to delete the topic there, and clients should not find it any more. */
export interface Tombstone {
  /** On a monotonic clock, ms. */
  readonly sinceMs: number;
  /** In wall-clock time, ms since 1970. */
  readonly atMs: number;
}

/**
 * A topic, with the nodes that have it and its channels.
 *
 * nsqlookupd keeps topics and channels as keys of one map, so a topic's channels can outlive the topic. Here such a topic is
 * kept for as long as it has channels, but it is not registered.
 */
export class TopicRegistration implements Registration {
  /** Whether the topic itself exists, and not only its channels. */
  registered = false;
  readonly nodes = new SortedList<RegisteredNode>();
  readonly channels = new NamedList<ChannelRegistration>();
  /** The tombstones of its nodes; undefined if there are none. They are kept after their lifetime, as in nsqlookupd. */
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

/** A channel, with the nodes that have it. */
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
