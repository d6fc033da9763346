import { UnreadableFile } from "../storage/disk/unreadable-file.ts";
import { SharedEntries } from "../topics/shared-entries.ts";
import type { StateValues } from "../topics/state-values.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import { restoreChannel } from "./channel-recovery.ts";
import { StateRecovery, type StateRecoveryParts } from "./state-recovery.ts";
import { StoredSettings, type StoredSettingsParts } from "./stored-settings.ts";

type ChannelKeeperParts = StoredSettingsParts & StateRecoveryParts;

/**
 * The channels of a partition that several brokers have are only where it is led. Elsewhere they are put away: their rows stay in the metadata
 * store, and their messages in the deferred store.
 */
export class ChannelKeeper {
  constructor(private readonly parts: ChannelKeeperParts) {}

  /**
   * Whether the places can be read at which channels go on. Where one is damaged, another broker may have it: then they can be read later.
   *
   * @param values as for takeUp()
   */
  canTakeUp(partition: TopicPartition, values: StateValues): boolean {
    const { log, id } = partition;
    const recovery = new StateRecovery(this.parts, partition, values);
    const floors = recovery.isNew ? this.parts.metadata.channels(id).map(({ floor }) => floor) : recovery.floors();
    try {
      for (const floor of [partition.released, ...floors]) log.locate(Math.max(log.startSequence, Math.min(floor, log.committedNext)));
    } catch (error) {
      if (!(error instanceof UnreadableFile)) throw error;
      return false;
    }
    return true;
  }

  /**
   * This broker leads a partition: its channels go on where the broker that led it before has left them.
   *
   * @param values what that one has left; a partition that this broker had alone has none, and goes on where its own rows say
   * @param names those that the topic is to have, whether or not there are rows for them. They get all messages that the log has.
   */
  takeUp(partition: TopicPartition, values: StateValues, names: Iterable<string>): void {
    const { metadata, registry, deferred } = this.parts;
    const { topic } = partition;
    deferred.writer.watch ??= new SharedEntries(registry);
    const rows = metadata.channels(partition.id).filter(({ damaged, name }) => damaged !== true && !partition.channels.has(name));
    registry.waitingTopics.release(
      [partition.id],
      rows.map(({ id }) => id),
    );
    const recovery = new StateRecovery(this.parts, partition, values);
    recovery.begin();
    if (!recovery.isNew) recovery.restore();
    else {
      for (const row of rows) restoreChannel(this.parts, registry, partition, row, () => {});
      recovery.share();
    }
    new StoredSettings(this.parts, registry, topic.name).applyToChannels(topic);
    for (const { name } of partition.channels.values())
      for (const consumer of topic.channels.get(name)?.consumers ?? []) partition.channels.get(name)?.addConsumer(consumer);
    for (const channel of topic.channels.values()) if (!partition.channels.has(channel.name)) registry.extendChannel(channel, partition);
    for (const name of names) topic.channel(name, ({ log }) => log.startSequence);
    for (const channel of partition.channels.values()) channel.markDirty();
    partition.releaseToChannels();
  }

  /** Another broker leads a partition. Consumers that have nothing else here are hung up on. */
  putAway(partition: TopicPartition): void {
    const { registry } = this.parts;
    const [replicated] = partition.replicated ?? [];
    // What is put away is not gone.
    if (replicated !== undefined) replicated.state = undefined;
    registry.waitingTopics.hold(
      [partition.id],
      [...partition.channels.values()].map(({ id }) => id),
    );
    for (const part of [...partition.channels.values()]) registry.putAway(part);
  }
}
