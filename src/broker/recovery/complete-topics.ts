import type { Logger } from "../../base/logger.ts";
import type { Ballast } from "../storage/disk/ballast.ts";
import type { MetadataStore } from "../storage/metadata/metadata-store.ts";
import { partitionName } from "../storage/metadata/partition-name.ts";
import { heldIndexes, PLAIN_TOPIC, type TopicSettings } from "../storage/metadata/topic-settings.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicRegistry } from "../topics/topic-registry.ts";

export interface CompleteTopicsParts {
  readonly metadata: MetadataStore;
  readonly ballast: Ballast;
  readonly logger: Logger;
}

/**
 * Gives topics that were restored what loss of rows or folders left out, so that each has all of its partitions and each channel all
 * of them: a key goes to a partition by their number.
 */
export class CompleteTopics {
  private settings: Map<string, TopicSettings> | undefined;

  constructor(
    private readonly parts: CompleteTopicsParts,
    private readonly registry: TopicRegistry,
  ) {}

  /** Completes all topics that are open, and forgets the settings of those that are gone. */
  completeAll(): void {
    for (const topic of [...this.registry.topics.values()]) this.complete(topic);
    if (this.registry.waiting.size > 0) return;
    for (const name of this.known.keys()) {
      if (!this.registry.topics.has(name)) this.parts.ballast.use(() => this.parts.metadata.topicSettings.remove(name));
    }
  }

  private get known(): Map<string, TopicSettings> {
    this.settings ??= this.parts.metadata.topicSettings.load().settings;
    return this.settings;
  }

  /** Completes a topic, unless some of it could not be read yet. @throws what disk and metadata store throw */
  complete(topic: Topic): void {
    const { name, partitions } = topic;
    if (this.registry.waiting.has(name)) return;
    const indexes = new Set(partitions.map(({ index }) => index));
    const highest = partitions[partitions.length - 1].index;
    const known = this.known.get(name) ?? PLAIN_TOPIC;
    const count = Math.max(known.partitions, highest + 1);
    const settings = { ...known, partitions: count };
    topic.settings = settings;
    const missing = heldIndexes(settings).filter((index) => !indexes.has(index));
    for (const index of missing) this.registry.countCorrupt(partitionName(name, index));
    if (missing.length > 0) {
      const list = missing.join(", ");
      this.parts.logger.error(
        `TOPIC(${name}): of ${count} partitions these are missing: ${list}; their messages are lost, and they begin anew`,
      );
      this.registry.addPartitions(topic, { settings, missing });
    } else if (known.partitions !== count) {
      this.parts.ballast.use(() => this.parts.metadata.topicSettings.save(name, settings));
    }
    for (const channel of topic.channels.values()) {
      for (const partition of partitions) if (!partition.channels.has(channel.name)) this.registry.extendChannel(channel, partition);
    }
  }
}
