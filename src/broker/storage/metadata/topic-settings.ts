import type { Database } from "bun:sqlite";
import { PARTITIONS_FORMAT, raiseFormat } from "./schema.ts";

/** What is set for a topic as a whole, beside what the rows of its partitions say. A topic without a row has the defaults. */
export interface TopicSettings {
  /** How many partitions it has. */
  readonly partitions: number;
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
        const { partitions } = JSON.parse(settings) as TopicSettings;
        return [[name, { partitions }]];
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
