import type { Database } from "bun:sqlite";
import { ChannelSettingsTable } from "../storage/metadata/channel-settings-table.ts";
import { parsePartitionName } from "../storage/metadata/partition-name.ts";
import { heldIndexes, type TopicSettings, TopicSettingsTable } from "../storage/metadata/topic-settings.ts";
import { ChannelSettings } from "../topics/channel/channel-settings.ts";

/** What a check finds of the settings of topics and channels. */
export interface SettingsReport {
  readonly damage: string[];
  /** What a start puts in order, and nothing is lost by it. */
  readonly leftovers: string[];
}

/** Checks the settings in a metadata store, and whether each topic has rows for the partitions that they say. */
export function checkSettings(database: Database): SettingsReport {
  const report: SettingsReport = { damage: [], leftovers: [] };
  const topics = new Map<string, FoundTopic>();
  for (const { name, channels } of rowsOf(database)) {
    const { topic, index } = parsePartitionName(name);
    const found = topics.get(topic) ?? { indexes: new Set(), channels: new Set() };
    topics.set(topic, found);
    found.indexes.add(index);
    for (const channel of channels) found.channels.add(channel);
  }
  const hasTable = (name: string) => database.query("SELECT 1 FROM sqlite_master WHERE name = ?").get(name) !== null;
  // An earlier release made the store.
  if (hasTable("topic_settings")) checkTopics(new TopicSettingsTable(database), topics, report);
  if (hasTable("channel_settings")) checkChannels(new ChannelSettingsTable(database), topics, report);
  return report;
}

/** What the rows of a topic's partitions say. */
interface FoundTopic {
  readonly indexes: Set<number>;
  /** Their names. */
  readonly channels: Set<string>;
}

/** The names of partitions' rows, and of their channels. */
function rowsOf(database: Database): { name: string; channels: string[] }[] {
  const topics = database.query("SELECT id, name FROM topics").all() as { id: number; name: string }[];
  const channels = database.query("SELECT topic_id AS topicId, name FROM channels").all() as { topicId: number; name: string }[];
  const byTopic = Map.groupBy(channels, ({ topicId }) => topicId);
  return topics.map(({ id, name }) => ({ name, channels: (byTopic.get(id) ?? []).map((channel) => channel.name) }));
}

function checkTopics(table: TopicSettingsTable, topics: ReadonlyMap<string, FoundTopic>, { damage, leftovers }: SettingsReport): void {
  const { settings, damaged } = table.load();
  for (const name of damaged) damage.push(`the settings of topic ${name} are damaged; a start goes on with the partitions that are there`);
  for (const [name, { indexes }] of topics) {
    const known = settings.get(name);
    if (known !== undefined) checkPartitions(name, known, indexes, damage);
    else if (!damaged.includes(name) && Math.max(...indexes) > 0) {
      const list = [...indexes].sort((a, b) => a - b).join(", ");
      damage.push(`topic ${name} has lost its settings; a start goes on with its partitions ${list}`);
    }
  }
  for (const name of settings.keys()) if (!topics.has(name)) leftovers.push(`there are settings of topic ${name}, and no row of it`);
}

function checkPartitions(name: string, settings: TopicSettings, indexes: ReadonlySet<number>, damage: string[]): void {
  const held = heldIndexes(settings);
  const found = held.filter((index) => indexes.has(index)).length;
  if (found === held.length) return;
  damage.push(`topic ${name} has ${held.length} partitions here, and ${found} of them have rows; a start makes the others anew`);
}

function checkChannels(table: ChannelSettingsTable, topics: ReadonlyMap<string, FoundTopic>, { damage, leftovers }: SettingsReport): void {
  for (const { topic, channel, settings, damaged } of table.load()) {
    const which = `channel ${channel} of ${topic}`;
    if (damaged) damage.push(`the settings of ${which} are damaged; it delivers as by default until they are set again`);
    else if (topics.get(topic)?.channels.has(channel) !== true)
      leftovers.push(`there are settings of ${which}, and no row of it; a start removes them`);
    else checkChannel(which, settings, damage);
  }
}

function checkChannel(which: string, settings: string, damage: string[]): void {
  try {
    ChannelSettings.decode(settings);
  } catch (error) {
    damage.push(`the settings of ${which} cannot be used (${(error as Error).message}); it delivers as by default`);
  }
}
