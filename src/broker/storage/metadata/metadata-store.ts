import { Database, type Statement } from "bun:sqlite";
import { join } from "node:path";
import { type RandomSource, systemRandom } from "../../../base/random-source.ts";
import { StartError } from "../../../base/start-error.ts";
import type { Durability } from "../../options.ts";
import { type Ballast, NO_BALLAST } from "../disk/ballast.ts";
import { makeEmptyFile, systemDisk } from "../disk/disk.ts";
import type { Retention } from "../log/retention.ts";
import { ChannelSettingsTable } from "./channel-settings-table.ts";
import { METADATA_FILE } from "./metadata-backup.ts";
import { noteCut } from "./replica-rows.ts";
import { type ChannelRow, readChannels, readTopics, sealChannel, sealHeld, sealTopic, type TopicRow } from "./rows.ts";
import { RunRecord } from "./run-record.ts";
import { createTables, FORMAT_VERSION, formatVersion, PARTITIONS_FORMAT, raiseFormat } from "./schema.ts";
import { explain } from "./store-errors.ts";
import { SyncedProgress } from "./synced-progress.ts";
import { TopicNumbers } from "./topic-numbers.ts";
import { TopicSettingsTable } from "./topic-settings.ts";
import { WriteAheadLog } from "./write-ahead-log.ts";

/**
 * Ids of topics and channels are random numbers in [2^33, 2^53), so that none is given twice, also after the store lost its last
 * changes or all of them. Earlier releases counted ids up from 1; those rows keep theirs, which no new row gets.
 */
const LOWEST_RANDOM_ID = 2 ** 33;
/** How many sequences are reserved for a memory-only topic at a time. After a crash, the next topic with its number begins behind them. */
export const MEMORY_TOPIC_RESERVE = 2 ** 24;

/** What makeTopic() has recorded of a new topic. */
export interface NewTopic {
  id: number;
  number: number;
  prefix: number;
  /** The sequence at which it begins. */
  nextSequence: number;
}

/**
 * Everything small that survives a restart, such as topics, channels and the cursors of channels, in one SQLite database per
 * data path. Its exclusive lock also keeps a second process from using the data path.
 */
export class MetadataStore {
  readonly path: string;
  readonly run: RunRecord;
  readonly syncedProgress: SyncedProgress;
  readonly numbers: TopicNumbers;
  readonly topicSettings: TopicSettingsTable;
  readonly channelSettings: ChannelSettingsTable;
  private readonly database: Database;
  private readonly saveChannel: Statement;
  private readonly saveTopic: Statement;
  /** New and deleted topics and channels are synced before their call returns, because acknowledgements rely on them. */
  private durable = false;
  private readonly log: WriteAheadLog;

  /** @throws StartError when the data path is locked, not writable, or of a newer version */
  constructor(
    directory: string,
    private readonly ballast: Ballast = NO_BALLAST,
    private readonly random: RandomSource = systemRandom,
    /** The lock of the directory, which is released with the database's own. */
    private readonly lock?: { release(): void },
    bootId = "",
  ) {
    this.path = join(directory, METADATA_FILE);
    let database: Database | undefined;
    try {
      systemDisk.makeDirectory(directory);
      // SQLite would make it readable for everybody. Its -wal and -shm get the mode of the file.
      makeEmptyFile(this.path);
      database = this.database = new Database(this.path, { create: true, strict: true });
      // Exclusive: the first write takes the lock, and the process keeps it until it ends, even by kill -9.
      this.database.run("PRAGMA locking_mode = EXCLUSIVE");
      this.database.run("PRAGMA journal_mode = WAL");
      // NORMAL: a commit survives the process, however that ends. A power cut may lose the last commits, but never consistency.
      this.database.run("PRAGMA synchronous = NORMAL");
      // SQLite would not say when a checkpoint of its own fails to sync the log.
      this.database.run("PRAGMA wal_autocheckpoint = 0");
      const opened = database;
      ballast.use(() => opened.run("BEGIN IMMEDIATE; COMMIT"));
    } catch (error) {
      database?.close(true);
      throw new StartError(explain(directory, error as Error));
    }
    const version = formatVersion(database);
    if (version > FORMAT_VERSION) {
      this.close();
      throw new StartError(
        `${directory} was written by a newer bunsq (format ${version}, this one reads ${FORMAT_VERSION}); start that version, or use another --data-path`,
      );
    }
    try {
      ballast.use(() => createTables(this.database));
    } catch (error) {
      this.close();
      throw new StartError(explain(directory, error as Error));
    }
    this.log = new WriteAheadLog(this.database, `${this.path}-wal`, ballast);
    this.syncedProgress = new SyncedProgress(this.database);
    this.numbers = new TopicNumbers(this.database, ballast, random);
    this.topicSettings = new TopicSettingsTable(this.database);
    this.channelSettings = new ChannelSettingsTable(this.database);
    this.run = new RunRecord(this.database, ballast, bootId, this.syncedProgress, () => noteCut(this.database));
    this.saveChannel = this.database.prepare(
      "UPDATE channels SET paused = ?, void_before = ?, requeues_void_before = ?, floor = ?, progress = ?, seal = ? WHERE id = ?",
    );
    this.saveTopic = this.database.prepare(
      "UPDATE topics SET number = ?, name = ?, paused = ?, released = ?, prefix = ?, seal = ? WHERE id = ?",
    );
  }

  topics(): TopicRow[] {
    return readTopics(this.database);
  }

  /** The ids of each topic's channels, by the topic's id. */
  channelIds(): Map<number, number[]> {
    const ids = new Map<number, number[]>();
    const rows = this.database.query("SELECT id, topic_id AS topicId FROM channels").all() as { id: number; topicId: number }[];
    for (const { id, topicId } of rows) {
      const known = ids.get(topicId);
      if (known === undefined) ids.set(topicId, [id]);
      else known.push(id);
    }
    return ids;
  }

  channels(topicId: number): ChannelRow[] {
    return readChannels(this.database, topicId);
  }

  /**
   * Adds a topic, with a number and all that belongs to it, in one transaction: where it fails, the store is as before.
   *
   * @param prefixOf the beginning of the ids of a topic with a number
   * @param firstSequence that of its first message; undefined: it goes on where the last topic with the number ended
   * @returns undefined when all 16,384 numbers are in use
   */
  makeTopic(name: string, prefixOf: (number: number) => number, firstSequence?: number): NewTopic | undefined {
    return this.change(
      this.database.transaction(() => {
        this.dropLeftover(name);
        const taken = this.numbers.take(0);
        if (taken === undefined) return undefined;
        const prefix = prefixOf(taken.number);
        const nextSequence = firstSequence ?? taken.nextSequence;
        const id = this.addTopic(taken.number, name, nextSequence, prefix);
        this.database.query("INSERT INTO synced (topic_id, sequence) VALUES (?, ?)").run(id, nextSequence);
        return { id, prefix, number: taken.number, nextSequence };
      }),
    );
  }

  /** Removes the row of a topic that was made and could not be opened, if it could not be removed then. It has no messages. */
  private dropLeftover(name: string): void {
    const row = this.database.query("SELECT id, number FROM topics WHERE name = ?").get(name) as { id: number; number: number } | null;
    if (row === null) return;
    this.dropTopic(row.id);
    this.numbers.giveBack(row.number, 0);
  }

  /** @returns the new row's id */
  addTopic(number: number, name: string, released: number, prefix?: number, id = this.newId("topics")): number {
    const seal = sealTopic({ number, name, paused: false, released, prefix });
    const insert = this.database.query("INSERT INTO topics (id, number, name, released, prefix, seal) VALUES (?, ?, ?, ?, ?, ?)");
    this.change(() => insert.run(id, number, name, released, prefix ?? null, seal));
    return id;
  }

  /** @returns the new row's id */
  addChannel(topicId: number, name: string, floor: number, voidBefore = 0): number {
    return this.addChannels(name, [{ topicId, paused: false, floor, voidBefore }])[0];
  }

  /** Adds what a channel has of several partitions, all or nothing. @returns the ids of the new rows */
  addChannels(name: string, starts: readonly Pick<ChannelRow, "topicId" | "paused" | "floor" | "voidBefore">[]): number[] {
    const insert = this.database.query(
      "INSERT INTO channels (id, topic_id, name, paused, void_before, floor, seal) VALUES (?, ?, ?, ?, ?, ?, ?)",
    );
    const add = ({ topicId, paused, floor, voidBefore }: (typeof starts)[number]) => {
      const id = this.newId("channels");
      const seal = sealChannel({ topicId, name, paused, voidBefore, requeuesVoidBefore: 0, floor, progress: new Uint8Array() });
      insert.run(id, topicId, name, paused ? 1 : 0, voidBefore, floor, seal);
      return id;
    };
    return this.change(this.database.transaction(() => starts.map(add)));
  }

  /** An id that no row has, had or will have. */
  private newId(table: "topics" | "channels"): number {
    const bytes = Buffer.alloc(8);
    for (;;) {
      this.random(bytes);
      const id = (bytes.readUInt32LE(0) >>> 11) * 2 ** 32 + bytes.readUInt32LE(4);
      if (id >= LOWEST_RANDOM_ID && this.database.query(`SELECT 1 FROM ${table} WHERE id = ?`).get(id) === null) return id;
    }
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

  /** Sets the retention of a topic, in all its rows. @param retention undefined: the default from now on */
  setRetention(topicIds: readonly number[], retention: Retention | undefined): void {
    this.saveAll(() => {
      for (const id of topicIds) this.setRetentionOf(id, retention);
    });
  }

  private setRetentionOf(topicId: number, retention: Retention | undefined): void {
    if (retention === undefined) this.database.query("DELETE FROM retentions WHERE topic_id = ?").run(topicId);
    else {
      const insert = this.database.query("INSERT OR REPLACE INTO retentions (topic_id, time_ms, bytes) VALUES (?, ?, ?)");
      insert.run(topicId, retention.timeMs, retention.bytes);
    }
  }

  /**
   * Removes a topic and its channels. Its number becomes free; the topic that gets it next continues at `nextSequence`. This is
   * synced always: a power cut that undid it would bring the topic back, and its ids would be given again.
   */
  removeTopic(id: number, number: number, nextSequence: number): void {
    this.change(
      this.database.transaction(() => {
        this.dropTopic(id);
        this.numbers.giveBack(number, nextSequence);
      }),
      true,
    );
  }

  private dropTopic(id: number): void {
    this.database.query("DELETE FROM channels WHERE topic_id = ?").run(id);
    this.setRetentionOf(id, undefined);
    this.database.query("DELETE FROM held WHERE topic_id = ?").run(id);
    this.database.query("DELETE FROM synced WHERE topic_id = ?").run(id);
    this.database.query("DELETE FROM replicas WHERE topic_id = ?").run(id);
    this.database.query("DELETE FROM topics WHERE id = ?").run(id);
  }

  /** Removes the rows of a channel, all or none. */
  removeChannels(ids: readonly number[]): void {
    const remove = this.database.query("DELETE FROM channels WHERE id = ?");
    this.change(
      this.database.transaction(() => {
        for (const id of ids) remove.run(id);
      }),
    );
  }

  /** Sets what publishes to a topic wait for, in all its rows. @param durability undefined: --durability applies */
  setDurability(topicIds: readonly number[], durability: Durability | undefined): void {
    const update = this.database.query("UPDATE topics SET durability = ? WHERE id = ?");
    this.change(
      this.database.transaction(() => {
        for (const id of topicIds) update.run(durability ?? null, id);
      }),
    );
  }

  /** From here on new and deleted topics and channels are synced, with every change before, when their call returns. */
  makeDurable(): void {
    if (this.durable) return;
    this.log.checkpoint();
    this.durable = true;
  }

  /** Makes a checkpoint if the write-ahead log is large. To be called from time to time. @param ended called afterwards */
  checkpointIfLarge(ended: (failure: Error | undefined) => void): void {
    this.log.checkpointIfLarge(ended);
  }

  /**
   * Adds a row for a topic of which only its folder is left: it is adopted until endAdoption().
   *
   * @param known what the folder says
   * @returns the row's id, and the sequence at which the topic goes on if it has no log
   */
  claimTopic(number: number, name: string, known?: { id: number; prefix: number }): { id: number; nextSequence: number } {
    const claim = this.database.transaction(() => {
      const nextSequence = this.numbers.claim(number);
      if (known !== undefined) this.dropTopic(known.id);
      const id = this.addTopic(number, name, 0, known?.prefix, known?.id);
      this.database.query("UPDATE topics SET adopted = 1 WHERE id = ?").run(id);
      return { id, nextSequence };
    });
    return this.change(claim);
  }

  /** Ids of the topics of claimTopic() whose channels are still awaited. */
  adoptedTopics(): Set<number> {
    const rows = this.database.query("SELECT id FROM topics WHERE adopted = 1").all() as { id: number }[];
    return new Set(rows.map(({ id }) => id));
  }

  endAdoption(): void {
    this.ballast.use(() => this.database.run("UPDATE topics SET adopted = 0 WHERE adopted = 1"));
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

  /** Opens tables that have a class of their own. */
  part<Part>(Tables: new (database: Database) => Part): Part {
    return new Tables(this.database);
  }

  /** Releases that only know an older format refuse the data path. */
  get formatVersion(): number {
    return formatVersion(this.database);
  }

  /** Records that there are messages with headers: an earlier release would send them to consumers as they are. */
  noteHeaders(): void {
    if (this.formatVersion < PARTITIONS_FORMAT) this.change(() => raiseFormat(this.database, PARTITIONS_FORMAT), true);
  }

  /** Grows with each row that is written, and with the format: the store is unchanged as long as this is. */
  get changes(): number {
    const { changes } = this.database.query("SELECT total_changes() AS changes").get() as { changes: number };
    return changes + this.formatVersion;
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

  /** Runs several changes of topics, channels or their settings as one. @param synced it is synced when this returns, whatever the durability */
  changeAll<T>(work: () => T, synced = this.durable): T {
    return this.change(this.database.transaction(work), synced);
  }

  /** Runs several saves as one transaction. */
  saveAll(save: () => void): void {
    this.database.transaction(save)();
  }

  updateTopic(row: TopicRow): void {
    this.saveTopic.run(row.number, row.name, row.paused ? 1 : 0, row.released, row.prefix ?? null, sealTopic(row), row.id);
  }

  updateChannel(row: ChannelRow): void {
    if (row.unsynced === true) this.syncedProgress.keep(row.id);
    this.saveChannel.run(row.paused ? 1 : 0, row.voidBefore, row.requeuesVoidBefore, row.floor, row.progress, sealChannel(row), row.id);
    if (row.unsynced !== true) this.syncedProgress.drop(row.id);
  }

  /** Closes the database and releases its lock on the data path. */
  close(): void {
    this.log?.close();
    // true: otherwise prepared statements would keep the database open, and so the lock, until they are garbage collected.
    this.database.close(true);
    this.lock?.release();
  }

  /** Runs one change of topics, channels or their settings. @param synced it is synced when this returns, whatever the durability */
  private change<T>(work: () => T, synced = this.durable): T {
    // What surrounds the change uses the ballast and the setting: a full disk ends the whole transaction.
    if (this.database.inTransaction) return work();
    if (!synced) return this.ballast.use(work);
    if (this.log.isUnsure) this.log.checkpoint();
    this.database.run("PRAGMA synchronous = FULL");
    try {
      return this.ballast.use(work);
    } catch (error) {
      this.log.isUnsure = true;
      throw error;
    } finally {
      this.database.run("PRAGMA synchronous = NORMAL");
    }
  }
}
