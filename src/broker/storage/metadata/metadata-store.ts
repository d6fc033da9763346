import { Database, type Statement } from "bun:sqlite";
import { join } from "node:path";
import { StartError } from "../../../base/start-error.ts";
import { TOPIC_NUMBER_LIMIT } from "../../../frame/id.ts";
import type { Durability } from "../../options.ts";
import { type Ballast, NO_BALLAST } from "../disk/ballast.ts";
import { makeEmptyFile, systemDisk } from "../disk/disk.ts";
import type { Retention } from "../log/retention.ts";
import { ImportState } from "./import-state.ts";
import { METADATA_FILE } from "./metadata-backup.ts";

/** The format of a data path, which its store records. A broker refuses a newer one. */
const FORMAT_VERSION = 1;

export interface TopicRow {
  /** Never used twice. */
  id: number;
  /** A part of message ids. After a deletion another topic gets it, and continues at the sequence that the deleted one reached. */
  number: number;
  name: string;
  paused: boolean;
  /** The sequence from which on messages wait for the topic's first channel, or until the topic is unpaused. */
  released: number;
  /** Undefined: --durability applies. */
  durability?: Durability;
  /** The row's checksum does not match. */
  damaged?: true;
}

export interface ChannelRow {
  id: number;
  topicId: number;
  name: string;
  paused: boolean;
  /** Deferred entries with a lower number are void: the channel was emptied after they were stored. */
  voidBefore: number;
  /** Requeued entries of this channel with a lower number are void: a seek came after they were stored. */
  requeuesVoidBefore: number;
  floor: number;
  /** What is finished above the floor, and the attempts of what is not, as the channel encodes it. */
  progress: Uint8Array;
  /** The row's checksum does not match. */
  damaged?: true;
}

/** SQLite has no checksums, and a flipped bit in a cursor would silently skip messages. So each row has a checksum of its own, its seal. */
function sealTopic(row: Pick<TopicRow, "number" | "name" | "paused" | "released">): number {
  return Bun.hash.crc32(JSON.stringify([row.number, row.name, row.paused, row.released]));
}

function sealChannel(row: Omit<ChannelRow, "id" | "damaged">): number {
  const { topicId, name, paused, voidBefore, requeuesVoidBefore, floor, progress } = row;
  return Bun.hash.crc32(progress, Bun.hash.crc32(JSON.stringify([topicId, name, paused, voidBefore, requeuesVoidBefore, floor])));
}

function sealHeld(topicId: number, entry: number): number {
  return Bun.hash.crc32(JSON.stringify([topicId, entry]));
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
 * Everything small that survives a restart, such as topics, channels and the cursors of channels, in one SQLite database per
 * data path. Its exclusive lock also keeps a second process from using the data path.
 */
export class MetadataStore {
  private readonly database: Database;
  private readonly saveChannel: Statement;
  private readonly saveTopic: Statement;
  /** New and deleted topics and channels are synced before their call returns, because acknowledgements rely on them. */
  private durable = false;

  /** @throws StartError when the data path is locked, not writable, or of a newer version */
  constructor(
    directory: string,
    private readonly ballast: Ballast = NO_BALLAST,
  ) {
    const path = join(directory, METADATA_FILE);
    let database: Database | undefined;
    try {
      systemDisk.makeDirectory(directory);
      // SQLite would make it readable for everybody. Its -wal and -shm get the mode of the file.
      makeEmptyFile(path);
      database = this.database = new Database(path, { create: true, strict: true });
      // Exclusive: the first write takes the lock, and the process keeps it until it ends, even by kill -9.
      this.database.run("PRAGMA locking_mode = EXCLUSIVE");
      this.database.run("PRAGMA journal_mode = WAL");
      // NORMAL: a commit survives the process, however that ends. A power cut may lose the last commits, but never consistency.
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

  addChannel(topicId: number, name: string, floor: number, voidBefore = 0): number {
    const seal = sealChannel({ topicId, name, paused: false, voidBefore, requeuesVoidBefore: 0, floor, progress: new Uint8Array() });
    const insert = "INSERT INTO channels (topic_id, name, void_before, floor, seal) VALUES (?, ?, ?, ?, ?)";
    const added = this.change(() => this.database.query(insert).run(topicId, name, voidBefore, floor, seal));
    return Number(added.lastInsertRowid);
  }

  /**
   * The first entry of the deferred store that each topic held back for its next channel, by topic id. A damaged row is left out: the
   * next channel then gets more.
   */
  heldEntries(): Map<number, number> {
    const rows = this.database.query("SELECT topic_id AS id, entry, seal FROM held").all() as { id: number; entry: number; seal: number }[];
    return new Map(rows.filter(({ id, entry, seal }) => seal === sealHeld(id, entry)).map(({ id, entry }) => [id, entry]));
  }

  /** Saves what heldEntries() returns for a topic. */
  saveHeld(topicId: number, entry: number): void {
    this.database
      .query("INSERT OR REPLACE INTO held (topic_id, entry, seal) VALUES (?, ?, ?)")
      .run(topicId, entry, sealHeld(topicId, entry));
  }

  /** Retentions that were set for a topic, by the topic's id. All other topics have the default. */
  retentions(): Map<number, Retention> {
    const rows = this.database.query("SELECT topic_id AS topicId, time_ms AS timeMs, bytes FROM retentions").all() as (Retention & {
      topicId: number;
    })[];
    return new Map(rows.map(({ topicId, timeMs, bytes }) => [topicId, { timeMs, bytes }]));
  }

  /** Sets the retention of a topic. @param retention undefined: the default from now on */
  setRetention(topicId: number, retention: Retention | undefined): void {
    if (retention === undefined) this.database.query("DELETE FROM retentions WHERE topic_id = ?").run(topicId);
    else {
      const insert = this.database.query("INSERT OR REPLACE INTO retentions (topic_id, time_ms, bytes) VALUES (?, ?, ?)");
      insert.run(topicId, retention.timeMs, retention.bytes);
    }
  }

  /** Removes a topic and its channels. Its number becomes free; the topic that gets it next continues at `nextSequence`. */
  removeTopic(id: number, number: number, nextSequence: number): void {
    this.change(
      this.database.transaction(() => {
        this.database.query("DELETE FROM channels WHERE topic_id = ?").run(id);
        this.setRetention(id, undefined);
        this.database.query("DELETE FROM held WHERE topic_id = ?").run(id);
        this.database.query("DELETE FROM topics WHERE id = ?").run(id);
        this.database.query("UPDATE numbers SET used = 0, next_sequence = ? WHERE number = ?").run(nextSequence, number);
      }),
    );
  }

  removeChannel(id: number): void {
    this.change(() => this.database.query("DELETE FROM channels WHERE id = ?").run(id));
  }

  /** Sets what publishes to a topic wait for. @param durability undefined: --durability applies */
  setDurability(topicId: number, durability: Durability | undefined): void {
    this.change(() => this.database.query("UPDATE topics SET durability = ? WHERE id = ?").run(durability ?? null, topicId));
  }

  /** From here on new and deleted topics and channels are synced, with every change before, when their call returns. */
  makeDurable(): void {
    if (this.durable) return;
    this.durable = true;
    // With FULL a commit syncs the write-ahead log, and so all commits in it. Those that a checkpoint moved out of it were synced then.
    this.change(() => this.database.run(`PRAGMA user_version = ${FORMAT_VERSION}`));
  }

  /**
   * Allocates a topic number that no topic uses, and the sequence at which the new topic begins.
   *
   * @param reserve how many sequences count as used from here on. A memory-only topic needs it: nothing else records the sequences
   *   that it gives to messages, and after a crash they must not be given again
   * @returns undefined when all 16,384 numbers are in use
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

  /** Reserves the sequences of a memory-only topic's number up to `nextSequence`. */
  reserveNumber(number: number, nextSequence: number): void {
    this.ballast.use(() => this.database.query("UPDATE numbers SET next_sequence = ? WHERE number = ?").run(nextSequence, number));
  }

  /** Frees the number of a memory-only topic; the topic that gets it next begins at `nextSequence`. */
  freeNumber(number: number, nextSequence: number): void {
    this.ballast.use(() =>
      this.database.query("UPDATE numbers SET used = 0, next_sequence = ? WHERE number = ?").run(nextSequence, number),
    );
  }

  /** Frees the numbers that memory-only topics of an earlier run had. */
  freeOrphanedNumbers(): void {
    this.ballast.use(() => this.database.run("UPDATE numbers SET used = 0 WHERE used = 1 AND number NOT IN (SELECT number FROM topics)"));
  }

  /** Adds a row for a topic of which only its folder is left. @returns the row's id */
  claimTopic(number: number, name: string): number {
    return this.database.transaction(() => {
      const { count } = this.database.query("SELECT count(*) AS count FROM numbers").get() as { count: number };
      const add = this.database.query("INSERT INTO numbers (number, used, next_sequence) VALUES (?, 0, 0)");
      for (let missing = count; missing <= number; missing++) add.run(missing);
      this.database.query("UPDATE numbers SET used = 1 WHERE number = ?").run(number);
      return this.addTopic(number, name, 0);
    })();
  }

  /** The sequence up to which each topic's log was synced, as the last run recorded it, by topic id. */
  syncedSequences(): Map<number, number> {
    const rows = this.database.query("SELECT topic_id AS id, sequence FROM synced").all() as { id: number; sequence: number }[];
    return new Map(rows.map(({ id, sequence }) => [id, sequence]));
  }

  /**
   * Records that a log is synced below a sequence. To be called only when it is: recovery treats bad bytes below that sequence as
   * damage, not as a torn write.
   */
  saveSynced(topicId: number, sequence: number): void {
    const insert = this.database.query(
      "INSERT INTO synced (topic_id, sequence) VALUES (?, ?) ON CONFLICT DO UPDATE SET sequence = excluded.sequence",
    );
    this.ballast.use(() => insert.run(topicId, sequence));
  }

  /** Removes the records of saveSynced() for topics that do not exist any more. */
  forgetSyncedOfGoneTopics(): void {
    this.database.run("DELETE FROM synced WHERE topic_id NOT IN (SELECT id FROM topics)");
  }

  /** The state of an import of nsqd's data. */
  importState(): ImportState {
    return new ImportState(this.database);
  }

  /** How many rows were written: the store is unchanged as long as this is. */
  get changes(): number {
    return (this.database.query("SELECT total_changes() AS changes").get() as { changes: number }).changes;
  }

  /** The whole store as the bytes of a file, for a backup. Counts the backups, so that of a store and a backup the later is known. */
  serialize(): Buffer {
    this.ballast.use(() => this.database.run("INSERT INTO copies (id, count) VALUES (1, 1) ON CONFLICT DO UPDATE SET count = count + 1"));
    return this.database.serialize();
  }

  /** By how much, in all, the wall clock was set forward while brokers ran on this data path, ms. */
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

  /** Closes the database and releases its lock on the data path. */
  close(): void {
    // true: otherwise prepared statements would keep the database open, and so the lock, until they are garbage collected.
    this.database.close(true);
  }

  /** Runs one change of topics, channels or their settings. */
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

  /** Adds a column to a table that an earlier version made without it. */
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

/** How many sequences are reserved for a memory-only topic at a time. After a crash, the next topic with its number begins behind them. */
export const MEMORY_TOPIC_RESERVE = 2 ** 24;

/** The text of a StartError for an error of opening the store: what is wrong, and what to do. */
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
