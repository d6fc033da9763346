import type { Database } from "bun:sqlite";
import { PARTITIONS_FORMAT, raiseFormat } from "./schema.ts";

/** What is set for a topic as a whole, beside what the rows of its partitions say. A topic without a row has the defaults. */
export interface TopicSettings {
  /** How many partitions it has, at all brokers together. */
  readonly partitions: number;
  /** The indexes of those that this broker has, in ascending order; undefined: all. */
  readonly held?: readonly number[];
  /** It is consumed in order only, and publishes name a partition: Youzan's `orderedmulti`. */
  readonly ordered?: boolean;
  /** Several of its partitions may be at one broker: Youzan's `multipart`. */
  readonly multiPart?: boolean;
  /** Whether its messages may have headers; undefined: they may. */
  readonly extended?: boolean;
  /** Its channels are made by operators only: Youzan's `disable_channel_auto_create`. */
  readonly fixedChannels?: boolean;
}

/** A topic without settings. */
export const PLAIN_TOPIC: TopicSettings = { partitions: 1 };

/** Whether a topic has settings that need a row. */
export function isPlain({ partitions, held, ordered, multiPart, extended, fixedChannels }: TopicSettings): boolean {
  const isSet = ordered === true || multiPart === true || extended === false || fixedChannels === true;
  return partitions === 1 && held === undefined && !isSet;
}

/** The indexes of the partitions that this broker has of a topic. */
export function heldIndexes({ partitions, held }: TopicSettings): readonly number[] {
  return held ?? Array.from({ length: partitions }, (_, index) => index);
}

/** The settings of topics, as JSON in a table of their own. Data paths that use it are refused by releases that do not know it. */
export class TopicSettingsTable {
  constructor(private readonly database: Database) {}

  /** By the names of topics. Damaged rows are left out. */
  load(): Map<string, TopicSettings> {
    const rows = this.database.query("SELECT name, settings, seal FROM topic_settings").all() as {
      name: string;
      settings: string;
      seal: number;
    }[];
    return new Map(
      rows.flatMap(({ name, settings, seal }) => {
        if (seal !== sealOf(name, settings)) return [];
        return [[name, JSON.parse(settings) as TopicSettings]];
      }),
    );
  }

  /** Sets the settings of a topic. */
  save(name: string, settings: TopicSettings): void {
    const text = JSON.stringify(settings);
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
