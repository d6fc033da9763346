import type { KeyedTopic } from "./key-file.ts";

/** A key of a publish that replicas may lack. */
export interface UnreplicatedKey {
  readonly topic: Pick<KeyedTopic, "id">;
  readonly key: string;
  /** That of the first message of the publish. */
  readonly sequence: number;
}

/** Keys of publishes to replicated topics that replicas may lack: such a publish may be removed from the log again. */
export class UnreplicatedKeys {
  /** By topic id. */
  private readonly byTopic = new Map<number, UnreplicatedKey[]>();

  /** @param releasable all replicas have what is below this sequence */
  add(key: UnreplicatedKey, releasable: number): void {
    const { id } = key.topic;
    const keys = this.byTopic.get(id) ?? [];
    // In the order of their sequences, but for those of an earlier run.
    const from = keys.findIndex(({ sequence }) => sequence >= releasable);
    keys.splice(0, from < 0 ? keys.length : from);
    keys.push(key);
    this.byTopic.set(id, keys);
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
