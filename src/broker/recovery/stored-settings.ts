import type { Logger } from "../../base/logger.ts";
import type { Ballast } from "../storage/disk/ballast.ts";
import type { MetadataStore } from "../storage/metadata/metadata-store.ts";
import { PLAIN_TOPIC, type TopicSettings, withoutDefaults } from "../storage/metadata/topic-settings.ts";
import type { Channel } from "../topics/channel/channel.ts";
import { ChannelSettings } from "../topics/channel/channel-settings.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicRegistry } from "../topics/topic-registry.ts";

export interface StoredSettingsParts {
  readonly metadata: MetadataStore;
  readonly ballast: Ballast;
  readonly logger: Logger;
}

/** The settings of topics and channels that an earlier run left. Damaged ones are told, and replaced by what is left of the topic. */
export class StoredSettings {
  private readonly topics: Map<string, TopicSettings>;
  /** JSON by topic and channel. */
  private readonly channels = new Map<string, Map<string, string>>();

  /** @param of the topic that is asked for; undefined: any */
  constructor(
    private readonly parts: StoredSettingsParts,
    private readonly registry: TopicRegistry,
    of?: string,
  ) {
    const { topicSettings, channelSettings } = parts.metadata;
    const { settings, damaged } = topicSettings.load(of);
    this.topics = settings;
    for (const name of damaged) this.damagedTopic(name);
    for (const { topic, channel, settings, damaged } of channelSettings.load(of)) {
      if (damaged) this.damagedChannel(topic, channel);
      else this.channelsOf(topic).set(channel, settings);
    }
  }

  private channelsOf(topic: string): Map<string, string> {
    const known = this.channels.get(topic) ?? new Map<string, string>();
    this.channels.set(topic, known);
    return known;
  }

  private damagedTopic(name: string): void {
    this.registry.countCorrupt(name);
    this.parts.logger.error(`TOPIC(${name}): its settings in the metadata store are damaged; set them again`, { topic: name });
    this.parts.ballast.use(() => this.parts.metadata.topicSettings.remove(name));
  }

  private damagedChannel(topic: string, channel: string): void {
    this.registry.countCorrupt(topic);
    this.parts.logger.error(
      `CHANNEL(${channel}) of ${topic}: its settings in the metadata store are damaged; it delivers as by default until they are set again`,
      { topic, channel },
    );
    this.parts.ballast.use(() => this.parts.metadata.channelSettings.remove(topic, channel));
  }

  /**
   * Applies those of a topic, whose partitions were opened. Without a row, a topic that had one has the partitions that are there: the
   * others may be at other brokers.
   */
  applyTo(topic: Topic): void {
    const { name } = topic;
    const indexes = topic.partitions.map(({ index }) => index);
    const highest = indexes[indexes.length - 1];
    const known = this.topics.get(name);
    if (known !== undefined || highest === 0) {
      const { partitions, held } = known ?? PLAIN_TOPIC;
      const all = held === undefined ? undefined : [...new Set([...held, ...indexes])].sort((a, b) => a - b);
      topic.settings = withoutDefaults({
        ...known,
        partitions: Math.max(partitions, highest + 1),
        ...(all !== undefined && { held: all }),
      });
    } else {
      topic.settings = withoutDefaults({ partitions: highest + 1, held: indexes });
      this.registry.countCorrupt(name);
      this.parts.logger.error(
        `TOPIC(${name}): the metadata store has lost its settings; it goes on with its partitions ${indexes.join(", ")}, as if there were ` +
          `${highest + 1} in all: check how many it has, and set the others again`,
        { topic: name },
      );
    }
    if (Bun.deepEquals(topic.settings, known ?? PLAIN_TOPIC)) return;
    this.parts.ballast.use(() => this.parts.metadata.topicSettings.save(name, topic.settings));
  }

  /** Applies those of a topic's channels, which were opened, and forgets those of channels that are not there. */
  applyToChannels(topic: Topic): void {
    for (const [name, settings] of this.channels.get(topic.name) ?? []) {
      const channel = topic.channels.get(name);
      if (channel === undefined) this.forget(topic.name, name);
      else this.apply(channel, settings);
    }
  }

  private apply(channel: Channel, settings: string): void {
    const { name, topic } = channel;
    try {
      channel.restoreSettings(ChannelSettings.decode(settings));
    } catch (error) {
      // They stay: another release may know them.
      this.registry.countCorrupt(topic.name);
      this.parts.logger.error(
        `CHANNEL(${name}) of ${topic.name}: its settings cannot be used (${(error as Error).message}); it delivers as by default`,
        { topic: topic.name, channel: name },
      );
    }
  }

  private forget(topic: string, channel: string): void {
    this.parts.logger.warn(`CHANNEL(${channel}) of ${topic}: there are settings for it, but it is gone; removed them`, { topic, channel });
    this.parts.ballast.use(() => this.parts.metadata.channelSettings.remove(topic, channel));
  }

  /** Forgets those of topics that are gone. To be called when no topic waits to be opened. */
  forgetGone(): void {
    const { metadata, ballast } = this.parts;
    for (const name of new Set([...this.topics.keys(), ...this.channels.keys()])) {
      if (this.registry.topics.has(name)) continue;
      ballast.use(() =>
        metadata.saveAll(() => {
          metadata.topicSettings.remove(name);
          metadata.channelSettings.removeTopic(name);
        }),
      );
    }
  }
}
