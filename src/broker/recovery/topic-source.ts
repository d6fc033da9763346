import type { TopicPartition } from "../topics/topic-partition.ts";

/** Where a topic is restored from, or some partitions of one. */
export interface TopicSource {
  /** The name of the topic. */
  readonly name: string;
  /** The ids of the partitions in the metadata store or in their topic files; 0: it is not known yet. */
  readonly ids: readonly number[];
  /**
   * Opens the partitions, one at a step. When this throws, their files are as they were, but for repairs that count, and a later call
   * goes on.
   *
   * @returns none if there is no topic: it was deleted
   */
  open(): Generator<void, readonly TopicPartition[]>;
  /** Takes back what open() has opened, also if it threw. */
  forget(): void;
}

/** Opens partitions, one at a step, and pushes each of them to a list, or undefined where there is none. */
export type OpenAll = (opened: (TopicPartition | undefined)[]) => Generator<void, void>;

/**
 * Makes a source.
 *
 * @param begin called before anything is opened, with the list of what is added to the registry from then on
 * @param remove takes a partition out of the registry
 */
export function topicSource(
  { name, ids }: Pick<TopicSource, "name" | "ids">,
  openAll: OpenAll,
  begin: (added: TopicPartition[]) => void,
  remove: (partition: TopicPartition) => void,
): TopicSource {
  let added: TopicPartition[] = [];
  return {
    name,
    ids,
    *open() {
      added = [];
      begin(added);
      const opened: (TopicPartition | undefined)[] = [];
      yield* openAll(opened);
      return opened.filter((partition) => partition !== undefined);
    },
    forget() {
      for (const partition of added.splice(0)) remove(partition);
    },
  };
}
