import { partitionName } from "../storage/metadata/partition-name.ts";
import { heldIndexes } from "../storage/metadata/topic-settings.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicRegistry } from "../topics/topic-registry.ts";
import { StoredSettings, type StoredSettingsParts } from "./stored-settings.ts";

/**
 * Gives topics that were restored their settings, and what loss of rows or folders left out, so that each has all of its partitions and
 * each channel all of them: a key goes to a partition by their number.
 */
export class CompleteTopics {
  private settings: StoredSettings | undefined;

  constructor(
    private readonly parts: StoredSettingsParts,
    private readonly registry: TopicRegistry,
  ) {}

  /** Completes all topics that are open, and forgets the settings of those that are gone. */
  completeAll(): void {
    const { registry, stored } = this;
    for (const topic of [...registry.topics.values()]) this.complete(topic);
    if (registry.waiting.size === 0) stored.forgetGone();
  }

  private get stored(): StoredSettings {
    this.settings ??= new StoredSettings(this.parts, this.registry);
    return this.settings;
  }

  /** Completes a topic, unless some of it could not be read yet. @throws what disk and metadata store throw */
  complete(topic: Topic): void {
    const { name, partitions } = topic;
    if (this.registry.waiting.has(name)) return;
    this.stored.applyTo(topic);
    const { settings } = topic;
    const indexes = new Set(partitions.map(({ index }) => index));
    const missing = heldIndexes(settings).filter((index) => !indexes.has(index));
    for (const index of missing) this.registry.countCorrupt(partitionName(name, index));
    if (missing.length > 0) {
      const list = missing.join(", ");
      this.parts.logger.error(
        `TOPIC(${name}): of ${settings.partitions} partitions these are missing: ${list}; their messages are lost, and they begin anew`,
      );
      this.registry.addPartitions(topic, { settings, missing });
    }
    for (const channel of topic.channels.values()) {
      for (const partition of partitions) if (!partition.channels.has(channel.name)) this.registry.extendChannel(channel, partition);
    }
    this.stored.applyToChannels(topic);
  }
}
