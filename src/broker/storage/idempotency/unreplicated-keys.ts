import type { KeyedTopic } from "./key-file.ts";

/** Keys of a topic are kept that replicas have, this many: a replica that catches up gets them with their messages. */
const KEPT_KEYS = 4096;

/** The key of a publish, and the sequence of its first message. */
export interface SequencedKey {
  readonly key: string;
  readonly sequence: number;
}

/** A key of a publish that replicas may lack. */
export interface UnreplicatedKey extends SequencedKey {
  readonly topic: Pick<KeyedTopic, "id">;
}

/** Keys of publishes to replicated topics that replicas may lack, and some more: such a publish may be removed from the log again. */
export class UnreplicatedKeys {
  /** By topic id. */
  private readonly byTopic = new Map<number, UnreplicatedKey[]>();

  /** @param releasable all replicas have what is below this sequence */
  add(key: UnreplicatedKey, releasable: number): void {
    const { id } = key.topic;
    const keys = this.byTopic.get(id) ?? [];
    if (keys.length >= 2 * KEPT_KEYS) {
      // In the order of their sequences, but for those of an earlier run.
      const from = keys.findIndex(({ sequence }) => sequence >= releasable);
      keys.splice(0, Math.min(from < 0 ? keys.length : from, keys.length - KEPT_KEYS));
    }
    keys.push(key);
    this.byTopic.set(id, keys);
  }

  /** The keys of a topic with sequences in [from, to), in their order. */
  between(topicId: number, from: number, to: number): SequencedKey[] {
    const keys = this.byTopic.get(topicId) ?? [];
    const found: SequencedKey[] = [];
    for (let i = keys.length - 1; i >= 0 && keys[i].sequence >= from; i--) if (keys[i].sequence < to) found.push(keys[i]);
    return found.reverse();
  }

  /** Removes the keys of a topic from a sequence on. */
  takeFrom(topicId: number, sequence: number): UnreplicatedKey[] {
    const keys = this.byTopic.get(topicId) ?? [];
    const left = keys.filter((one) => one.sequence < sequence);
    if (left.length > 0) this.byTopic.set(topicId, left);
    else this.byTopic.delete(topicId);
    return keys.filter((one) => one.sequence >= sequence);
  }
}
