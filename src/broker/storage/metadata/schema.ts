import type { Database } from "bun:sqlite";
import { TOPIC_NUMBER_LIMIT } from "../../../frame/id.ts";
import { RUN_TABLES } from "./run-record.ts";

/**
 * The newest format of a data path that this release reads. Its store records the format, and a broker refuses a newer one.
 *
 * 2: ids of topics and channels are random and need 53 bits. Deferred entries and keys have them. An earlier release has room
 * for 32 bits there.
 * 3: topics or channels have settings, some topics have several partitions, or messages have headers. A data path has this format from
 * the first of them on.
 * 4: partitions are replicas of others in a cluster. An earlier release would release what the others do not have.
 */
export const FORMAT_VERSION = 4;
/** The format of a data path with nothing that needs a newer one. */
const PLAIN_FORMAT = 2;
/** The format of a data path with settings of topics or channels, or with headers of messages. */
export const PARTITIONS_FORMAT = 3;

/** The format of a data path with replicas of a cluster. */
export const REPLICAS_FORMAT = 4;

/** Records that something in the data path needs a format. */
export function raiseFormat(database: Database, version: number): void {
  if (formatVersion(database) < version) database.run(`PRAGMA user_version = ${version}`);
}

export function formatVersion(database: Database): number {
  const { user_version } = database.query("PRAGMA user_version").get() as { user_version: number };
  return user_version;
}

export function hasColumn(database: Database, table: string, name: string): boolean {
  return database.query(`SELECT 1 FROM pragma_table_info('${table}') WHERE name = '${name}'`).get() !== null;
}

/** Adds a column to a table that an earlier version made without it. */
function addColumn(database: Database, table: string, name: string, type: string): void {
  if (!hasColumn(database, table, name)) database.run(`ALTER TABLE ${table} ADD COLUMN ${name} ${type}`);
}

/** Makes the tables of a new store, and adds to an older one what it lacks. */
export function createTables(database: Database): void {
  database.run(`
    CREATE TABLE IF NOT EXISTS topics (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      number INTEGER NOT NULL UNIQUE,
      name TEXT NOT NULL UNIQUE,
      paused INTEGER NOT NULL DEFAULT 0,
      released INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS channels (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      topic_id INTEGER NOT NULL REFERENCES topics (id),
      name TEXT NOT NULL,
      paused INTEGER NOT NULL DEFAULT 0,
      void_before INTEGER NOT NULL DEFAULT 0,
      requeues_void_before INTEGER NOT NULL DEFAULT 0,
      floor INTEGER NOT NULL,
      progress BLOB NOT NULL DEFAULT x'',
      UNIQUE (topic_id, name)
    );
    CREATE TABLE IF NOT EXISTS synced_progress (
      channel_id INTEGER PRIMARY KEY,
      floor INTEGER NOT NULL,
      progress BLOB NOT NULL,
      seal INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS retentions (
      topic_id INTEGER PRIMARY KEY REFERENCES topics (id),
      time_ms REAL NOT NULL,
      bytes INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS held (
      topic_id INTEGER PRIMARY KEY,
      entry INTEGER NOT NULL,
      seal INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS clock (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      step_ms REAL NOT NULL
    );
    CREATE TABLE IF NOT EXISTS numbers (
      number INTEGER PRIMARY KEY CHECK (number < ${TOPIC_NUMBER_LIMIT}),
      used INTEGER NOT NULL,
      next_sequence INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS fresh_numbers (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      next_sequence INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS copies (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      count INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS traced (
      topic_id INTEGER NOT NULL,
      channel_id INTEGER NOT NULL,
      PRIMARY KEY (topic_id, channel_id)
    );
    CREATE TABLE IF NOT EXISTS topic_settings (
      name TEXT PRIMARY KEY,
      settings TEXT NOT NULL,
      seal INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS channel_settings (
      topic TEXT NOT NULL,
      channel TEXT NOT NULL,
      settings TEXT NOT NULL,
      seal INTEGER NOT NULL,
      PRIMARY KEY (topic, channel)
    );
    CREATE TABLE IF NOT EXISTS replicas (
      topic_id INTEGER PRIMARY KEY,
      uid TEXT NOT NULL,
      epoch INTEGER NOT NULL,
      whole INTEGER NOT NULL,
      seal INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS synced (
      topic_id INTEGER PRIMARY KEY,
      sequence INTEGER NOT NULL
    );
    ${RUN_TABLES}
  `);
  addColumn(database, "topics", "seal", "INTEGER");
  addColumn(database, "channels", "seal", "INTEGER");
  addColumn(database, "channels", "requeues_void_before", "INTEGER NOT NULL DEFAULT 0");
  addColumn(database, "topics", "durability", "TEXT");
  addColumn(database, "topics", "prefix", "INTEGER");
  addColumn(database, "topics", "adopted", "INTEGER NOT NULL DEFAULT 0");
  raiseFormat(database, PLAIN_FORMAT);
}
