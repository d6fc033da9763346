import { NamedList } from "./named-list.ts";
import type { RegisteredNode, Registration } from "./registered-node.ts";
import { SortedList } from "./sorted-list.ts";
import { type TopicSettings, widest } from "./topic-settings.ts";

/** When a node was tombstoned for a topic: an operator is about to delete the topic there, and clients should not find it any more. */
export interface Tombstone {
  /** On a monotonic clock, ms. */
  readonly sinceMs: number;
  /** In wall-clock time, ms since 1970. */
  readonly atMs: number;
}

/** What a node has of a topic. */
interface Held {
  /** Which partitions it has, in ascending order. */
  indexes: number[];
  settings: TopicSettings | undefined;
}

/** Nearly all topics have one partition, of which nothing is noted. */
const FIRST_ONLY: readonly number[] = [0];
const NONE: readonly number[] = [];

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
  /** What its nodes have of it, where that is not just partition 0 of a topic without settings. */
  private held: Map<RegisteredNode, Held> | undefined;

  constructor(
    readonly ordinal: number,
    readonly name: string,
  ) {}

  removeNode(node: RegisteredNode): boolean {
    this.tombstones?.delete(node);
    this.held?.delete(node);
    return this.nodes.remove(node);
  }

  /** The partitions that one of its nodes has, in ascending order; none at a node that does not name partitions. */
  partitionsAt(node: RegisteredNode): readonly number[] {
    return node.namesPartitions ? (this.held?.get(node)?.indexes ?? FIRST_ONLY) : NONE;
  }

  /** How many partitions the topic has as one of its nodes says; 1 for a node that does not say. */
  partitionCountAt(node: RegisteredNode): number {
    return this.held?.get(node)?.settings?.partitions ?? 1;
  }

  /** Notes a partition at a node. @param isNew the node was not registered here before @returns false if it was there already */
  addPartition(node: RegisteredNode, index: number, isNew: boolean): boolean {
    const known = this.held?.get(node);
    if (known === undefined && index === 0) return isNew;
    const { indexes } = known ?? this.note(node, isNew ? [] : [0]);
    if (indexes.includes(index)) return false;
    indexes.push(index);
    indexes.sort((a, b) => a - b);
    return true;
  }

  /** Forgets a partition at a node. @returns whether the node has others left */
  removePartition(node: RegisteredNode, index: number): boolean {
    const left = this.partitionsAt(node).filter((each) => each !== index);
    if (left.length === 0) return false;
    if (this.held?.has(node)) this.note(node, left);
    return true;
  }

  /** Notes what a node says of the topic. */
  setSettings(node: RegisteredNode, settings: TopicSettings): void {
    this.note(node, [...this.partitionsAt(node)]).settings = settings;
  }

  /** What its nodes say of it: of several opinions the widest; undefined if none says anything. */
  get settings(): TopicSettings | undefined {
    let settings: TopicSettings | undefined;
    for (const { settings: other } of this.held?.values() ?? []) {
      if (other !== undefined) settings = settings === undefined ? other : widest(settings, other);
    }
    return settings;
  }

  private note(node: RegisteredNode, indexes: number[]): Held {
    this.held ??= new Map();
    const held = { indexes, settings: this.held.get(node)?.settings };
    this.held.set(node, held);
    return held;
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
