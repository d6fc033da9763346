import type { BrokerFigures, Figures } from "../metrics/figures.ts";
import {
  type ChannelStats,
  type ClientStats,
  consumersOf,
  producersOf,
  readChannel,
  readClient,
  readTopic,
  type Shown,
  type StatsSource,
  shownChannels,
  shownTopics,
  type TopicStats,
} from "../metrics/stats.ts";
import type { Topic } from "../topics/topic.ts";

/** Channels and clients of one topic, or clients that published, that are written in one step. */
const ROWS_PER_STEP = 16;

/** Writes the statistics in one of their formats, in the order of the calls. */
export interface StatsWriter {
  /** @param topic without its channels */
  beginTopic(topic: TopicStats): void;
  /** @param channel without its clients */
  beginChannel(channel: ChannelStats): void;
  client(client: ClientStats): void;
  endChannel(): void;
  endTopic(): void;
  /** @param isKnown false: the topic that was asked for does not exist */
  endTopics(isKnown: boolean): void;
  producer(client: ClientStats): void;
  /** @param figures undefined: they are not asked for */
  end(figures: BrokerFigures | undefined): void;
}

/**
 * Reads the statistics that are asked for, and has them written. Yields after each topic, and after some rows of a long one: what a topic
 * with few channels and clients shows is of one moment, as it is of a channel in nsqd. What was deleted since the answer began is left out.
 *
 * @param figures undefined: they are not asked for
 */
export function* writeStats(source: StatsSource, show: Shown, figures: Figures | undefined, writer: StatsWriter): Generator<void> {
  const topics = shownTopics(source, show);
  yield;
  for (const topic of topics ?? []) {
    if (topic.deleted) continue;
    figures?.add(topic);
    yield* writeTopic(source, topic, show, figures, writer);
    yield;
  }
  writer.endTopics(topics !== undefined);
  if (show.includeClients && topics !== undefined) {
    let rows = 0;
    for (const connection of producersOf(source)) {
      writer.producer(readClient(connection, show));
      if (++rows % ROWS_PER_STEP === 0) yield;
    }
  }
  // The figures of the broker are those of all its topics.
  if (figures !== undefined && show.topicName !== "") {
    for (const topic of source.registry.topics.values()) {
      if (topic.name === show.topicName) continue;
      figures.add(topic);
      yield;
    }
  }
  writer.end(figures?.broker());
}

function* writeTopic(source: StatsSource, topic: Topic, show: Shown, figures: Figures | undefined, writer: StatsWriter): Generator<void> {
  const channels = shownChannels(topic, show);
  if (channels === undefined) return;
  let rows = 0;
  writer.beginTopic({ ...readTopic(source, topic, show), ...figures?.topic(topic) });
  for (const channel of channels) {
    if (channel.deleted) continue;
    writer.beginChannel({ ...readChannel(source, channel, show), ...figures?.channel(channel) });
    if (++rows % ROWS_PER_STEP === 0) yield;
    if (show.includeClients) {
      for (const connection of consumersOf(source, channel)) {
        writer.client(readClient(connection, show));
        if (++rows % ROWS_PER_STEP === 0) yield;
      }
    }
    writer.endChannel();
  }
  writer.endTopic();
}
