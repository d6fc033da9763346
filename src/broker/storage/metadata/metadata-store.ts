import { Database, type Statement } from "bun:sqlite";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { StartError } from "../../../base/start-error.ts";
import { TOPIC_NUMBER_LIMIT } from "../../../frame/id.ts";
import type { Durability } from "../../options.ts";
import { type Ballast, NO_BALLAST } from "../disk/ballast.ts";
import type { Retention } from "../log/retention.ts";
import { METADATA_FILE } from "./metadata-backup.ts";

/** What a data path must say of itself; a broker refuses one that a newer version wrote. */
const FORMAT_VERSION = 1;

export interface TopicRow {
  /** Never used twice. */
  id: number;
  /** Part of message ids; used again after a deletion, going on at the sequence the earlier topic reached. */
  number: number;
  name: string;
  paused: boolean;
  /** Sequence from which on messages wait for the topic's first channel, or for the topic's unpausing. */
  released: number;
  /** Undefined: as --durability says. */
  durability?: Durability;
  /** What stands in the row is not what was written there. */
  damaged?: true;
}

export interface ChannelRow {
  id: number;
  topicId: number;
  name: string;
  paused: boolean;
  /** Deferred entries with a lower number were emptied away. */
  voidBefore: number;
  /** The same of the channel's own entries only: a seek passed over them. */
  requeuesVoidBefore: number;
  floor: number;
  /** What is finished, and how often tried, above the floor (window.ts). */
  progress: Uint8Array;
  /** What stands in the row is not what was written there. */
  damaged?: true;
}

/** SQLite has no checksums: a flipped bit in a cursor would pass messages over in silence. So each row has one of its own. */
function sealTopic(row: Pick<TopicRow, "number" | "name" | "paused" | "released">): number {
  return Bun.hash.crc32(JSON.stringify([row.number, row.name, row.paused, row.released]));
}

function sealChannel(row: Omit<ChannelRow, "id" | "damaged">): number {
  const { topicId, name, paused, voidBefore, requeuesVoidBefore, floor, progress } = row;
  return Bun.hash.crc32(progress, Bun.hash.crc32(JSON.stringify([topicId, name, paused, voidBefore, requeuesVoidBefore, floor])));
}

export function readTopics(database: Database): TopicRow[] {
  const rows = database.query("SELECT id, number, name, paused, released, durability, seal FROM topics ORDER BY id").all() as (Omit<
    TopicRow,
    "paused" | "durability"
  > & { paused: number; durability: string | null; seal: number | null })[];
  return rows.map(({ durability, seal, ...numbers }) => {
    const row = { ...numbers, paused: numbers.paused === 1 };
    return {
      ...row,
      ...(durability === "fsync" || durability === "write" ? { durability } : {}),
      ...(seal !== null && seal !== sealTopic(row) ? { damaged: true as const } : {}),
    };
  });
}

export function readChannels(database: Database, topicId: number): ChannelRow[] {
  const rows = database
    .query(
      `SELECT id, topic_id AS topicId, name, paused, void_before AS voidBefore,
           requeues_void_before AS requeuesVoidBefore, floor, progress, seal
         FROM channels WHERE topic_id = ? ORDER BY id`,
    )
    .all(topicId) as (Omit<ChannelRow, "paused"> & { paused: number; seal: number | null })[];
  return rows.map(({ seal, ...numbers }) => {
    const row = { ...numbers, paused: numbers.paused === 1 };
    return seal !== null && seal !== sealChannel(row) ? { ...row, damaged: true as const } : row;
  });
}

/**
 * Everything small that survives a restart: the catalogue of topics and channels, and the channels' cursors,
 * in one SQLite database per data path. Its exclusive lock is also what keeps a second process off the path.
 */
export class MetadataStore {
  private readonly database: Database;
  private readonly saveChannel: Statement;
  private readonly saveTopic: Statement;
  /** What comes and goes in the catalogue is on the disk before its call is answered: acknowledgements rest on it. */
  private durable = false;

  /** @throws StartError when the path is locked, not writable, or of a newer version */
  constructor(
    directory: string,
    private readonly ballast: Ballast = NO_BALLAST,
  ) {
    const path = join(directory, METADATA_FILE);
    let database: Database | undefined;
    try {
      mkdirSync(directory, { recursive: true });
      database = this.database = new Database(path, { create: true, strict: true });
      // Exclusive: the lock is taken at the first write and kept for life; kill -9 releases it.
      this.database.run("PRAGMA locking_mode = EXCLUSIVE");
      this.database.run("PRAGMA journal_mode = WAL");
      // NORMAL: a commit survives the process in any way it dies; a power cut may take the last ones, never consistency.
      this.database.run("PRAGMA synchronous = NORMAL");
      const opened = database;
      ballast.use(() => opened.run("BEGIN IMMEDIATE; COMMIT"));
    } catch (error) {
      database?.close(true);
      throw new StartError(explain(directory, error as Error));
    }
    const version = this.version();
    if (version > FORMAT_VERSION) {
      this.close();
      throw new StartError(
        `${directory} was written by a newer bunsq (format ${version}, this one reads ${FORMAT_VERSION}); start that version, or use another --data-path`,
      );
    }
    try {
      ballast.use(() => this.createTables());
    } catch (error) {
      this.close();
      throw new StartError(explain(directory, error as Error));
    }
    this.saveChannel = this.database.prepare(
      "UPDATE channels SET paused = ?, void_before = ?, requeues_void_before = ?, floor = ?, progress = ?, seal = ? WHERE id = ?",
    );
    this.saveTopic = this.database.prepare("UPDATE topics SET number = ?, name = ?, paused = ?, released = ?, seal = ? WHERE id = ?");
  }

  topics(): TopicRow[] {
    return readTopics(this.database);
  }

  channels(topicId: number): ChannelRow[] {
    return readChannels(this.database, topicId);
  }

  /** @returns the new row's id */
  addTopic(number: number, name: string, released: number): number {
    const seal = sealTopic({ number, name, paused: false, released });
    const added = this.change(() =>
      this.database.query("INSERT INTO topics (number, name, released, seal) VALUES (?, ?, ?, ?)").run(number, name, released, seal),
    );
    return Number(added.lastInsertRowid);
  }

  addChannel(topicId: number, name: string, floor: number): number {
    const seal = sealChannel({ topicId, name, paused: false, voidBefore: 0, requeuesVoidBefore: 0, floor, progress: new Uint8Array() });
    const added = this.change(() =>
      this.database.query("INSERT INTO channels (topic_id, name, floor, seal) VALUES (?, ?, ?, ?)").run(topicId, name, floor, seal),
    );
    return Number(added.lastInsertRowid);
  }

  /** Topics whose retention was set, by their ids; the others have the default. */
  retentions(): Map<number, Retention> {
    const rows = this.database.query("SELECT topic_id AS topicId, time_ms AS timeMs, bytes FROM retentions").all() as (Retention & {
      topicId: number;
    })[];
    return new Map(rows.map(({ topicId, timeMs, bytes }) => [topicId, { timeMs, bytes }]));
  }

  /** @param retention undefined: the default from now on */
  setRetention(topicId: number, retention: Retention | undefined): void {
    if (retention === undefined) this.database.query("DELETE FROM retentions WHERE topic_id = ?").run(topicId);
    else {
      const insert = this.database.query("INSERT OR REPLACE INTO retentions (topic_id, time_ms, bytes) VALUES (?, ?, ?)");
      insert.run(topicId, retention.timeMs, retention.bytes);
    }
  }

  /** Removes a topic and its channels, and frees its number to go on at `nextSequence`. */
  removeTopic(id: number, number: number, nextSequence: number): void {
    this.change(
      this.database.transaction(() => {
        this.database.query("DELETE FROM channels WHERE topic_id = ?").run(id);
        this.setRetention(id, undefined);
        this.database.query("DELETE FROM topics WHERE id = ?").run(id);
        this.database.query("UPDATE numbers SET used = 0, next_sequence = ? WHERE number = ?").run(nextSequence, number);
      }),
    );
  }

  removeChannel(id: number): void {
    this.change(() => this.database.query("DELETE FROM channels WHERE id = ?").run(id));
  }

  /** What publishes to a topic wait for. */
  setDurability(topicId: number, durability: Durability | undefined): void {
    this.change(() => this.database.query("UPDATE topics SET durability = ? WHERE id = ?").run(durability ?? null, topicId));
  }

  /** From here on the catalogue's changes are on the disk, with all that was changed before, when their call returns. */
  makeDurable(): void {
    if (this.durable) return;
    this.durable = true;
    // With FULL a commit syncs the write-ahead log, and with it the commits before; what is no longer in there was synced when it left.
    this.change(() => this.database.run(`PRAGMA user_version = ${FORMAT_VERSION}`));
  }

  /**
   * A topic number that no topic uses, and the sequence at which it goes on.
   * A number's sequences up to `reserve` beyond it count as used from here on: what a memory-only topic
   * hands out is nowhere else, and must not come again after a crash.
   *
   * @returns undefined when all 16,384 are in use
   */
  allocateNumber(reserve: number): { number: number; nextSequence: number } | undefined {
    const take = this.database.transaction(() => {
      const free = this.database
        .query("SELECT number, next_sequence AS nextSequence FROM numbers WHERE used = 0 ORDER BY number LIMIT 1")
        .get() as { number: number; nextSequence: number } | null;
      if (free !== null) {
        this.database
          .query("UPDATE numbers SET used = 1, next_sequence = ? WHERE number = ?")
          .run(free.nextSequence + reserve, free.number);
        return free;
      }
      const { count } = this.database.query("SELECT count(*) AS count FROM numbers").get() as { count: number };
      if (count >= TOPIC_NUMBER_LIMIT) return undefined;
      this.database.query("INSERT INTO numbers (number, used, next_sequence) VALUES (?, 1, ?)").run(count, reserve);
      return { number: count, nextSequence: 0 };
    });
    return this.ballast.use(take);
  }

  /** Raises what is reserved of a memory-only topic's number. */
  reserveNumber(number: number, nextSequence: number): void {
    this.ballast.use(() => this.database.query("UPDATE numbers SET next_sequence = ? WHERE number = ?").run(nextSequence, number));
  }

  freeNumber(number: number, nextSequence: number): void {
    this.ballast.use(() =>
      this.database.query("UPDATE numbers SET used = 0, next_sequence = ? WHERE number = ?").run(nextSequence, number),
    );
  }

  /** Numbers of memory-only topics that an earlier run left in use. */
  freeOrphanedNumbers(): void {
    this.ballast.use(() => this.database.run("UPDATE numbers SET used = 0 WHERE used = 1 AND number NOT IN (SELECT number FROM topics)"));
  }

  /** Gives a topic that is known from its folder alone a row. @returns the row's id */
  claimTopic(number: number, name: string): number {
    return this.database.transaction(() => {
      const { count } = this.database.query("SELECT count(*) AS count FROM numbers").get() as { count: number };
      const add = this.database.query("INSERT INTO numbers (number, used, next_sequence) VALUES (?, 0, 0)");
      for (let missing = count; missing <= number; missing++) add.run(missing);
      this.database.query("UPDATE numbers SET used = 1 WHERE number = ?").run(number);
      return this.addTopic(number, name, 0);
    })();
  }

  /** How far each topic's log was on the disk when the last run said so, by topic id. */
  syncedSequences(): Map<number, number> {
    const rows = this.database.query("SELECT topic_id AS id, sequence FROM synced").all() as { id: number; sequence: number }[];
    return new Map(rows.map(({ id, sequence }) => [id, sequence]));
  }

  /** Call it only once the bytes are on the disk: recovery takes damage below for damage, not for what a crash tore. */
  saveSynced(topicId: number, sequence: number): void {
    const insert = this.database.query(
      "INSERT INTO synced (topic_id, sequence) VALUES (?, ?) ON CONFLICT DO UPDATE SET sequence = excluded.sequence",
    );
    this.ballast.use(() => insert.run(topicId, sequence));
  }

  forgetSyncedOfGoneTopics(): void {
    this.database.run("DELETE FROM synced WHERE topic_id NOT IN (SELECT id FROM topics)");
  }

  /** Grows with each row that is written. */
  get changes(): number {
    return (this.database.query("SELECT total_changes() AS changes").get() as { changes: number }).changes;
  }

  /** The whole store as a file's bytes, numbered: of a store and a copy of it, that with the higher number is the later. */
  serialize(): Buffer {
    this.ballast.use(() => this.database.run("INSERT INTO copies (id, count) VALUES (1, 1) ON CONFLICT DO UPDATE SET count = count + 1"));
    return this.database.serialize();
  }

  /** By how much the wall clock was set while a broker ran on this data path, ms. */
  clockStep(): number {
    const row = this.database.query("SELECT step_ms AS stepMs FROM clock").get() as { stepMs: number } | null;
    return row?.stepMs ?? 0;
  }

  setClockStep(stepMs: number): void {
    this.database.query("INSERT OR REPLACE INTO clock (id, step_ms) VALUES (1, ?)").run(stepMs);
  }

  /** Runs several saves as one transaction. */
  saveAll(save: () => void): void {
    this.database.transaction(save)();
  }

  updateTopic(row: TopicRow): void {
    this.saveTopic.run(row.number, row.name, row.paused ? 1 : 0, row.released, sealTopic(row), row.id);
  }

  updateChannel(row: ChannelRow): void {
    this.saveChannel.run(row.paused ? 1 : 0, row.voidBefore, row.requeuesVoidBefore, row.floor, row.progress, sealChannel(row), row.id);
  }

  /** Saves nothing; gives the data path free. */
  close(): void {
    // Strictly: else the prepared statements would keep the database, and with it the lock, until they are collected.
    this.database.close(true);
  }

  /** Runs one change of the catalogue. */
  private change<T>(work: () => T): T {
    if (!this.durable) return this.ballast.use(work);
    this.database.run("PRAGMA synchronous = FULL");
    try {
      return this.ballast.use(work);
    } finally {
      this.database.run("PRAGMA synchronous = NORMAL");
    }
  }

  private version(): number {
    const { user_version } = this.database.query("PRAGMA user_version").get() as { user_version: number };
    return user_version;
  }

  /** Of a table that an earlier version may have made without it. */
  private addColumn(table: string, name: string, type: string): void {
    const columns = this.database.query(`SELECT name FROM pragma_table_info('${table}')`).all() as { name: string }[];
    if (columns.every((column) => column.name !== name)) this.database.run(`ALTER TABLE ${table} ADD COLUMN ${name} ${type}`);
  }

  private createTables(): void {
    this.database.run(`
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
      CREATE TABLE IF NOT EXISTS retentions (
        topic_id INTEGER PRIMARY KEY REFERENCES topics (id),
        time_ms REAL NOT NULL,
        bytes INTEGER NOT NULL
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
      CREATE TABLE IF NOT EXISTS copies (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        count INTEGER NOT NULL
      );
      CREATE TABLE IF NOT EXISTS synced (
        topic_id INTEGER PRIMARY KEY,
        sequence INTEGER NOT NULL
      );
    `);
    this.addColumn("topics", "seal", "INTEGER");
    this.addColumn("channels", "seal", "INTEGER");
    this.addColumn("channels", "requeues_void_before", "INTEGER NOT NULL DEFAULT 0");
    this.addColumn("topics", "durability", "TEXT");
    if (this.version() !== FORMAT_VERSION) this.database.run(`PRAGMA user_version = ${FORMAT_VERSION}`);
  }
}

/** How far ahead a memory-only topic's sequences are reserved: after a crash the next one starts behind them. */
export const MEMORY_TOPIC_RESERVE = 2 ** 24;

function explain(directory: string, error: Error): string {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (code.startsWith("SQLITE_BUSY")) {
    return `${directory} is in use by another process; stop that one, or give this one a --data-path of its own`;
  }
  if (
    code === "EACCES" ||
    code === "EPERM" ||
    code === "EROFS" ||
    code.startsWith("SQLITE_READONLY") ||
    code.startsWith("SQLITE_CANTOPEN")
  ) {
    return `cannot write to ${directory} (${error.message}); make it writable for this user, or choose another --data-path`;
  }
  return `cannot open ${directory}: ${error.message}`;
}
