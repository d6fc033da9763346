import type { Ballast } from "../storage/disk/ballast.ts";
import type { TracedRow, TraceSettings } from "../storage/metadata/trace-settings.ts";
import { ChannelTrace, TopicTrace } from "../trace/topic-trace.ts";
import type { Tracer } from "../trace/tracer.ts";
import type { Channel } from "./channel/channel.ts";
import type { ChannelPartition } from "./channel/channel-partition.ts";
import { OperatorError } from "./operator-error.ts";
import type { Topic } from "./topic.ts";
import type { TopicPartition } from "./topic-partition.ts";

/** What tracing works with. */
export interface TracingParts {
  readonly tracer: Tracer;
  readonly settings: TraceSettings;
  readonly ballast: Ballast;
  /** False where --trace-bytes is 0: nothing is traced, whatever is set. */
  readonly isEnabled: boolean;
}

/**
 * Which topics and channels are traced. Publishes are recorded where their topic is traced, and what a channel does with its
 * messages where the channel or its topic is. The metadata store has the settings by the ids of partitions and of what channels have of
 * them, but for what is ephemeral.
 */
export class Tracing {
  readonly isEnabled: boolean;
  private readonly topics: Set<number>;
  private readonly channels: Set<number>;

  constructor(private readonly parts: TracingParts) {
    this.isEnabled = parts.isEnabled;
    const { topics, channels } = parts.settings.load();
    this.topics = topics;
    this.channels = channels;
  }

  /** Whether a topic as a whole is traced. */
  hasTopic(topic: Topic): boolean {
    return topic.partitions.some(({ id }) => this.topics.has(id));
  }

  /** Whether a channel is traced, whatever its topic is. */
  hasChannel(channel: Channel): boolean {
    return channel.partitions.some(({ id }) => this.channels.has(id));
  }

  /** @throws OperatorError NOT_STORED; nothing has changed then */
  setTopic(topic: Topic, on: boolean): void {
    if (!topic.ephemeral)
      this.store(
        topic.partitions.map(({ id }) => ({ topicId: id, channelId: 0 })),
        on,
      );
    for (const partition of topic.partitions) {
      change(this.topics, partition.id, on);
      this.beginPartition(partition);
      for (const channel of partition.channels.values()) this.beginChannelPartition(channel);
    }
  }

  /** @throws OperatorError NOT_STORED; nothing has changed then */
  setChannel(channel: Channel, on: boolean): void {
    if (channel.persistent)
      this.store(
        channel.partitions.map(({ id, partition }) => ({ topicId: partition.id, channelId: id })),
        on,
      );
    for (const part of channel.partitions) {
      change(this.channels, part.id, on);
      this.beginChannelPartition(part);
    }
  }

  /** Applies the setting to a partition that was made, restored, or given another one. */
  beginPartition(partition: TopicPartition): void {
    const isTraced = this.isEnabled && this.topics.has(partition.id);
    partition.trace = isTraced ? new TopicTrace(this.parts.tracer, partition.number) : undefined;
  }

  /** Applies the settings of its topic and its channels to a partition that was added. If they cannot be stored, a restart forgets that. */
  followTopic(partition: TopicPartition): void {
    const { topic } = partition;
    if (this.hasTopic(topic)) this.setTopic(topic, true);
    for (const channel of topic.channels.values()) if (this.hasChannel(channel)) this.setChannel(channel, true);
  }

  /** Applies the setting to what a channel has of a partition and was made, restored, or given another one. */
  beginChannelPartition(channel: ChannelPartition): void {
    const { partition, name, inFlight } = channel;
    const isTraced = this.isEnabled && (this.channels.has(channel.id) || this.topics.has(partition.id));
    inFlight.trace = isTraced ? new ChannelTrace(this.parts.tracer, partition.number, name) : undefined;
  }

  private store(rows: readonly TracedRow[], on: boolean): void {
    const { ballast, settings } = this.parts;
    try {
      ballast.use(() => settings.set(rows, on));
    } catch {
      throw new OperatorError("NOT_STORED");
    }
  }
}

function change(set: Set<number>, id: number, on: boolean): void {
  if (on) set.add(id);
  else set.delete(id);
}
