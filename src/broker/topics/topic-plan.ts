import { heldIndexes, PLAIN_TOPIC, type TopicSettings, withoutDefaults } from "../storage/metadata/topic-settings.ts";
import { OperatorError } from "./operator-error.ts";
import type { Topic } from "./topic.ts";

/** Where a partition begins that other brokers have already, so that this one's log can be a copy of theirs. */
export interface PartitionOrigin {
  /** The beginning of its ids. */
  readonly prefix: number;
  /** The first message that the others have, and its position in their log. */
  readonly firstSequence: number;
  readonly firstPosition: number;
}

/** The origins of partitions, by their indexes. One that has none begins here, as an empty log with a prefix of its own. */
export type PartitionOrigins = ReadonlyMap<number, PartitionOrigin>;

/** What is to be done so that a topic is as it was asked for. */
export interface TopicPlan {
  readonly settings: TopicSettings;
  /** The indexes of the partitions that are to be made. */
  readonly missing: readonly number[];
  readonly origins?: PartitionOrigins | undefined;
}

/**
 * Plans a topic with a number of partitions. What it has stays.
 *
 * @param topic undefined: there is none of the name yet
 * @param more its other settings, as far as they are given. `held` are the partitions that this broker is to have.
 * @throws OperatorError TOO_FEW_PARTITIONS if the topic has more; MISSING_ARG_PARTITIONS if it is spread over brokers, and nobody says
 *   where its new partitions are
 */
export function planTopic(topic: Topic | undefined, count: number, more: Partial<TopicSettings>): TopicPlan {
  const known = topic?.settings ?? PLAIN_TOPIC;
  if (known.partitions > count) throw new OperatorError("TOO_FEW_PARTITIONS");
  if (known.held !== undefined && more.held === undefined && known.partitions < count) throw new OperatorError("MISSING_ARG_PARTITIONS");
  const existing = topic?.partitions.map(({ index }) => index) ?? [];
  const wanted = more.held ?? known.held;
  const held = wanted === undefined ? undefined : [...new Set([...existing, ...wanted])].sort((a, b) => a - b);
  const settings = withoutDefaults({ ...known, ...more, partitions: count, ...(held !== undefined && { held }) });
  return { settings, missing: heldIndexes(settings).filter((index) => !existing.includes(index)) };
}
