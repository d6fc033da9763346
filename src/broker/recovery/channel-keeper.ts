import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { TopicRegistry } from "../topics/topic-registry.ts";
import { restoreChannel } from "./channel-recovery.ts";
import { StoredSettings, type StoredSettingsParts } from "./stored-settings.ts";

interface ChannelKeeperParts extends StoredSettingsParts {
  readonly deferred: DeferredStore;
  readonly registry: TopicRegistry;
}

/**
 * The channels of a partition that several brokers have are only where it is led. Elsewhere they are put away: their rows stay in the metadata
 * store, and their messages in the deferred store.
 */
export class ChannelKeeper {
  constructor(private readonly parts: ChannelKeeperParts) {}

  /**
   * This broker leads a partition: its channels go on where their rows say.
   *
   * @param names those that the topic is to have, whether or not there are rows for them. They get all messages that the log has.
   */
  takeUp(partition: TopicPartition, names: Iterable<string>): void {
    const { metadata, registry } = this.parts;
    const { topic } = partition;
    const rows = metadata.channels(partition.id).filter(({ damaged, name }) => damaged !== true && !partition.channels.has(name));
    registry.waitingTopics.release(
      [partition.id],
      rows.map(({ id }) => id),
    );
    for (const row of rows) {
      restoreChannel(this.parts, registry, partition, row, () => {});
      const part = partition.channels.get(row.name);
      for (const consumer of topic.channels.get(row.name)?.consumers ?? []) part?.addConsumer(consumer);
    }
    for (const channel of topic.channels.values()) if (!partition.channels.has(channel.name)) registry.extendChannel(channel, partition);
    for (const name of names) topic.channel(name, ({ log }) => log.startSequence);
    if (rows.length > 0) new StoredSettings(this.parts, registry).applyToChannels(topic);
    for (const channel of partition.channels.values()) channel.markDirty();
    partition.releaseToChannels();
  }

  /** Another broker leads a partition. Consumers that have nothing else here are hung up on. */
  putAway(partition: TopicPartition): void {
    const { registry } = this.parts;
    registry.waitingTopics.hold(
      [partition.id],
      [...partition.channels.values()].map(({ id }) => id),
    );
    for (const part of [...partition.channels.values()]) registry.putAway(part);
  }
}
