import type { Database } from "bun:sqlite";
import { PARTITIONS_FORMAT, raiseFormat } from "./schema.ts";

/** A row with the settings of a channel. */
export interface ChannelSettingsRow {
  readonly topic: string;
  readonly channel: string;
  /** JSON. */
  readonly settings: string;
  /** The row's checksum does not match. */
  readonly damaged: boolean;
}

/**
 * The settings of channels, as JSON in a table of their own. A channel without a row has the defaults. Data paths that use the table are
 * refused by releases that do not know it.
 */
export class ChannelSettingsTable {
  constructor(private readonly database: Database) {}

  /** @param of one topic; undefined: all of them */
  load(of?: string): ChannelSettingsRow[] {
    const columns = "SELECT topic, channel, settings, seal FROM channel_settings";
    const rows = (of === undefined ? this.database.query(columns).all() : this.database.query(`${columns} WHERE topic = ?`).all(of)) as {
      topic: string;
      channel: string;
      settings: string;
      seal: number;
    }[];
    return rows.map(({ topic, channel, settings, seal }) => ({
      ...{ topic, channel, settings },
      damaged: seal !== sealOf(topic, channel, settings),
    }));
  }

  /** Sets the settings of a channel, as a part of a transaction. */
  save(topic: string, channel: string, settings: string): void {
    raiseFormat(this.database, PARTITIONS_FORMAT);
    this.database
      .query("INSERT OR REPLACE INTO channel_settings (topic, channel, settings, seal) VALUES (?, ?, ?, ?)")
      .run(topic, channel, settings, sealOf(topic, channel, settings));
  }

  /** Forgets a channel. */
  remove(topic: string, channel: string): void {
    this.database.query("DELETE FROM channel_settings WHERE topic = ? AND channel = ?").run(topic, channel);
  }

  /** Forgets all channels of a topic. */
  removeTopic(topic: string): void {
    this.database.query("DELETE FROM channel_settings WHERE topic = ?").run(topic);
  }
}

function sealOf(topic: string, channel: string, settings: string): number {
  return Bun.hash.crc32(JSON.stringify([topic, channel, settings]));
}
