import type { Database } from "bun:sqlite";
import { MAX_PARTITIONS } from "./partition-name.ts";
import { PARTITIONS_FORMAT, raiseFormat } from "./schema.ts";

/** What is set for a topic as a whole, beside what the rows of its partitions say. A topic without a row has the defaults. */
export interface TopicSettings {
  /** How many partitions it has, at all brokers together. */
  readonly partitions: number;
  /** The indexes of those that this broker has, in ascending order; undefined: all. */
  readonly held?: readonly number[];
  /** Youzan's clients have to consume it in order, and to name a partition when they publish: Youzan's `orderedmulti`. */
  readonly ordered?: boolean;
  /** Several of its partitions may be at one broker: Youzan's `multipart`. */
  readonly multiPart?: boolean;
  /**
   * Whether its messages have headers: true, and Youzan's clients have to understand them; false, and none may have one; undefined: they
   * may, and clients need not understand them. NSQ's clients get all messages without headers.
   */
  readonly extended?: boolean;
  /** Youzan's clients make no channel by subscribing: Youzan's `disable_channel_auto_create`. */
  readonly fixedChannels?: boolean;
  /** The order of channels that are made from now on (topics/channel/channel-settings.ts); undefined: none. */
  readonly channelOrder?: ChannelOrder;
}

type ChannelOrder = "none" | "key" | "partition";
const CHANNEL_ORDERS: readonly (string | undefined)[] = [undefined, "none", "key", "partition"] satisfies (ChannelOrder | undefined)[];

/** A topic without settings. */
export const PLAIN_TOPIC: TopicSettings = { partitions: 1 };

/** Settings without those that are as by default. */
export function withoutDefaults(settings: TopicSettings): TopicSettings {
  const { partitions, held, ordered, multiPart, extended, fixedChannels, channelOrder } = settings;
  return {
    partitions,
    ...(held !== undefined && held.length < partitions && { held }),
    ...(ordered === true && { ordered }),
    ...(multiPart === true && { multiPart }),
    ...(extended !== undefined && { extended }),
    ...(fixedChannels === true && { fixedChannels }),
    ...(channelOrder !== undefined && channelOrder !== "none" && { channelOrder }),
  };
}

/** Whether a topic has settings that need a row. */
export function isPlain(settings: TopicSettings): boolean {
  return Bun.deepEquals(withoutDefaults(settings), PLAIN_TOPIC);
}

/** The indexes of the partitions that this broker has of a topic. */
export function heldIndexes({ partitions, held }: TopicSettings): readonly number[] {
  return held ?? Array.from({ length: partitions }, (_, index) => index);
}

/** What the table says of the topics. */
export interface StoredTopicSettings {
  /** By the names of topics. */
  readonly settings: Map<string, TopicSettings>;
  /** The names in rows that say nothing, because their checksums do not match or their JSON is none of settings. */
  readonly damaged: readonly string[];
}

/** The settings of topics, as JSON in a table of their own. Data paths that use it are refused by releases that do not know it. */
export class TopicSettingsTable {
  constructor(private readonly database: Database) {}

  /** @param of one topic; undefined: all of them */
  load(of?: string): StoredTopicSettings {
    const columns = "SELECT name, settings, seal FROM topic_settings";
    const rows = (of === undefined ? this.database.query(columns).all() : this.database.query(`${columns} WHERE name = ?`).all(of)) as {
      name: string;
      settings: string;
      seal: number;
    }[];
    const settings = new Map<string, TopicSettings>();
    const damaged: string[] = [];
    for (const { name, settings: text, seal } of rows) {
      const decoded = seal === sealOf(name, text) ? decode(text) : undefined;
      if (decoded === undefined) damaged.push(name);
      else settings.set(name, decoded);
    }
    return { settings, damaged };
  }

  /** Sets the settings of a topic, as a part of a transaction. */
  save(name: string, settings: TopicSettings): void {
    if (isPlain(settings)) return this.remove(name);
    const text = JSON.stringify(withoutDefaults(settings));
    raiseFormat(this.database, PARTITIONS_FORMAT);
    this.database
      .query("INSERT OR REPLACE INTO topic_settings (name, settings, seal) VALUES (?, ?, ?)")
      .run(name, text, sealOf(name, text));
  }

  /** Forgets a topic. */
  remove(name: string): void {
    this.database.query("DELETE FROM topic_settings WHERE name = ?").run(name);
  }
}

function sealOf(name: string, settings: string): number {
  return Bun.hash.crc32(JSON.stringify([name, settings]));
}

/** @returns undefined for a text that is no JSON of settings */
function decode(text: string): TopicSettings | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof json !== "object" || json === null) return undefined;
  const settings = json as TopicSettings;
  const { partitions, held, channelOrder } = settings;
  const isIndex = (index: unknown) => Number.isInteger(index) && Number(index) >= 0 && Number(index) < partitions;
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > MAX_PARTITIONS) return undefined;
  if (
    held !== undefined &&
    !(Array.isArray(held) && held.length > 0 && held.every((index, i) => isIndex(index) && !(index <= held[i - 1])))
  )
    return undefined;
  if (!CHANNEL_ORDERS.includes(channelOrder)) return undefined;
  const { ordered, multiPart, extended, fixedChannels } = settings;
  const areFlags = [ordered, multiPart, extended, fixedChannels].every((flag) => flag === undefined || typeof flag === "boolean");
  return areFlags ? withoutDefaults(settings) : undefined;
}
