import type { Database } from "bun:sqlite";

/** A topic, or one of its channels. */
export interface TracedRow {
  readonly topicId: number;
  /** 0: the topic itself. */
  readonly channelId: number;
}

/** Which topics and channels are traced (docs/tracing.md). Releases that do not know the table leave it alone. */
export class TraceSettings {
  constructor(private readonly database: Database) {}

  /** The ids of the topics and of the channels that are traced. Some may not exist any more; no other one gets their ids. */
  load(): { topics: Set<number>; channels: Set<number> } {
    const rows = this.database.query("SELECT topic_id AS topic, channel_id AS channel FROM traced").all() as {
      topic: number;
      channel: number;
    }[];
    return {
      topics: new Set(rows.filter(({ channel }) => channel === 0).map(({ topic }) => topic)),
      channels: new Set(rows.filter(({ channel }) => channel !== 0).map(({ channel }) => channel)),
    };
  }

  /** Sets all or none. Also forgets those that do not exist any more. */
  set(rows: readonly TracedRow[], on: boolean): void {
    const change = this.database.query(
      on ? "INSERT OR IGNORE INTO traced (topic_id, channel_id) VALUES (?, ?)" : "DELETE FROM traced WHERE topic_id = ? AND channel_id = ?",
    );
    this.database.transaction(() => {
      this.database.run(`
        DELETE FROM traced WHERE topic_id NOT IN (SELECT id FROM topics)
          OR (channel_id <> 0 AND channel_id NOT IN (SELECT id FROM channels))
      `);
      for (const { topicId, channelId } of rows) change.run(topicId, channelId);
    })();
  }
}
