import type { Ballast } from "../storage/disk/ballast.ts";
import type { TraceSettings } from "../storage/metadata/trace-settings.ts";
import { ChannelTrace, TopicTrace } from "../trace/topic-trace.ts";
import type { Tracer } from "../trace/tracer.ts";
import type { Channel } from "./channel/channel.ts";
import { OperatorError } from "./operator-error.ts";
import type { Topic } from "./topic.ts";

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
 * messages where the channel or its topic is. The metadata store has the settings, but for what is ephemeral.
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
    return this.topics.has(topic.id);
  }

  /** Whether a channel is traced, whatever its topic is. */
  hasChannel(channel: Channel): boolean {
    return this.channels.has(channel.id);
  }

  /** @throws OperatorError NOT_STORED; nothing has changed then */
  setTopic(topic: Topic, on: boolean): void {
    if (!topic.ephemeral) this.store(topic.id, 0, on);
    change(this.topics, topic.id, on);
    this.beginTopic(topic);
    for (const channel of topic.channels.values()) this.beginChannel(channel);
  }

  /** @throws OperatorError NOT_STORED; nothing has changed then */
  setChannel(channel: Channel, on: boolean): void {
    if (channel.persistent) this.store(channel.topic.id, channel.id, on);
    change(this.channels, channel.id, on);
    this.beginChannel(channel);
  }

  /** Applies the setting to a topic that was made, restored, or given another one. */
  beginTopic(topic: Topic): void {
    topic.trace = this.isEnabled && this.hasTopic(topic) ? new TopicTrace(this.parts.tracer, topic.number) : undefined;
  }

  /** Applies the setting to a channel that was made, restored, or given another one. */
  beginChannel(channel: Channel): void {
    const isTraced = this.isEnabled && (this.hasChannel(channel) || this.hasTopic(channel.topic));
    channel.inFlight.trace = isTraced ? new ChannelTrace(this.parts.tracer, channel.topic.number, channel.name) : undefined;
  }

  private store(topicId: number, channelId: number, on: boolean): void {
    const { ballast, settings } = this.parts;
    try {
      ballast.use(() => settings.set(topicId, channelId, on));
    } catch {
      throw new OperatorError("NOT_STORED");
    }
  }
}

function change(set: Set<number>, id: number, on: boolean): void {
  if (on) set.add(id);
  else set.delete(id);
}
