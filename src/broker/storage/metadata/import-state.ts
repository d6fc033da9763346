import type { Database } from "bun:sqlite";

/** An import of nsqd's data that is not finished. */
export interface ImportRow {
  /** The folder with nsqd's files; empty for the data path itself. */
  source: string;
  /** `copying`: messages are written to the logs. `moving`: all of them are on the disk, and nsqd's files are moved to `folder`. */
  stage: "copying" | "moving";
  /** Name of the folder that nsqd's files are moved to; empty before. */
  folder: string;
}

/**
 * What of a topic is imported. `all`: its messages by ascending id. A paused topic has two phases instead, `released` with the
 * messages that channels have, and then `held` with those that wait for the end of the pause.
 */
export type ImportPhase = "all" | "released" | "held" | "done";

/** How far the import of one topic is. */
export interface TopicImportRow {
  topic: string;
  phase: ImportPhase;
  /** The sequence of the first message that was imported. */
  baseSequence: number;
  /** Messages below this sequence are imported. What the log has from here on is written again. */
  nextSequence: number;
  /** Id, in nsqd, of the last message that was imported in this phase; empty for none. */
  lastId: string;
}

/**
 * The state of an import of nsqd's data, beside the topics and channels that it makes, so that one transaction changes both. The
 * tables are made by the first import. A broker never opens a data path while there is a state.
 */
export class ImportState {
  constructor(private readonly database: Database) {
    database.run(`
      CREATE TABLE IF NOT EXISTS nsqd_import (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        source TEXT NOT NULL,
        stage TEXT NOT NULL,
        folder TEXT NOT NULL
      );
      CREATE TABLE IF NOT EXISTS nsqd_import_topics (
        topic TEXT PRIMARY KEY,
        phase TEXT NOT NULL,
        base_sequence INTEGER NOT NULL,
        next_sequence INTEGER NOT NULL,
        last_id TEXT NOT NULL
      );
    `);
  }

  get row(): ImportRow | undefined {
    return (this.database.query("SELECT source, stage, folder FROM nsqd_import").get() as ImportRow | null) ?? undefined;
  }

  topics(): TopicImportRow[] {
    return this.database
      .query("SELECT topic, phase, base_sequence AS baseSequence, next_sequence AS nextSequence, last_id AS lastId FROM nsqd_import_topics")
      .all() as TopicImportRow[];
  }

  saveTopic({ topic, phase, baseSequence, nextSequence, lastId }: TopicImportRow): void {
    this.database
      .query("INSERT OR REPLACE INTO nsqd_import_topics (topic, phase, base_sequence, next_sequence, last_id) VALUES (?, ?, ?, ?, ?)")
      .run(topic, phase, baseSequence, nextSequence, lastId);
  }

  /** Saves the state, and syncs it with everything that was saved before. */
  save({ source, stage, folder }: ImportRow): void {
    this.synced(() => {
      this.database.query("INSERT OR REPLACE INTO nsqd_import (id, source, stage, folder) VALUES (1, ?, ?, ?)").run(source, stage, folder);
    });
  }

  /** Removes the state, because the import is finished. */
  clear(): void {
    this.synced(() => this.database.run("DELETE FROM nsqd_import_topics; DELETE FROM nsqd_import"));
  }

  private synced(save: () => void): void {
    // A commit with FULL syncs the write-ahead log, and all commits before it.
    this.database.run("PRAGMA synchronous = FULL");
    try {
      this.database.transaction(save)();
    } finally {
      this.database.run("PRAGMA synchronous = NORMAL");
    }
  }
}
