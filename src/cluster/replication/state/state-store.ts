import { Database, type Statement } from "bun:sqlite";
import { join } from "node:path";
import type { Clock } from "../../../base/clock.ts";
import { StartError } from "../../../base/start-error.ts";
import type { Ballast } from "../../../broker/storage/disk/ballast.ts";
import { closeQuietly, makeEmptyFile, systemDisk } from "../../../broker/storage/disk/disk.ts";
import { WriteAheadLog } from "../../../broker/storage/metadata/write-ahead-log.ts";
import type { ReplicaState, StateChange, StateKey, StateValue } from "./replica-state.ts";

/** In the broker's folder. */
const FILE = "cluster-state.sqlite";

type Done = (failure: Error | undefined) => void;

interface Row {
  readonly key: string;
  readonly epoch: number;
  readonly number: number;
  readonly value: Uint8Array;
  readonly seal: number;
}

/**
 * The states of all replicas of this broker, in one SQLite database. What changes in a turn is one transaction, at the end of the turn. Each
 * value has a checksum, which is checked at the start: a value that is damaged is removed, so that a leader sends it again.
 */
export class StateStore {
  /** The partitions of which values were found damaged at the start: they are not whole. */
  readonly damaged: ReadonlySet<number>;
  private readonly database: Database;
  private readonly log: WriteAheadLog;
  private readonly path: string;
  private readonly statements: {
    readonly put: Statement;
    readonly remove: Statement;
    readonly get: Statement;
    readonly keys: Statement;
    readonly drop: Statement;
  };
  /** Those who made changes in this turn, in order. `fsync`: they wait until these are on the disk. */
  private turn: { readonly done: Done; readonly fsync: boolean }[] = [];
  private isOpen = false;
  private failure: Error | undefined;
  private awaitingSync: Done[] = [];
  private isSyncing = false;
  private isClosed = false;

  /**
   * @param directory the broker's folder
   * @throws StartError if it cannot be opened. Another one must not take its place: replicas would seem to have lost what they have
   */
  constructor(
    directory: string,
    private readonly clock: Pick<Clock, "callAfterTurn">,
    private readonly ballast: Ballast,
  ) {
    this.path = join(directory, FILE);
    let database: Database | undefined;
    try {
      makeEmptyFile(this.path);
      database = this.database = new Database(this.path, { create: true, strict: true });
      database.run("PRAGMA locking_mode = EXCLUSIVE");
      database.run("PRAGMA journal_mode = WAL");
      // As for the metadata store: a commit survives the process, and syncs are made by hand.
      database.run("PRAGMA synchronous = NORMAL");
      database.run("PRAGMA wal_autocheckpoint = 0");
      const opened = database;
      ballast.use(() =>
        opened.run(
          `CREATE TABLE IF NOT EXISTS state (
             partition INTEGER NOT NULL, key TEXT NOT NULL, epoch INTEGER NOT NULL, number INTEGER NOT NULL,
             value BLOB NOT NULL, seal INTEGER NOT NULL, UNIQUE (partition, key))`,
        ),
      );
      this.log = new WriteAheadLog(database, `${this.path}-wal`, ballast);
      this.statements = {
        put: database.prepare("INSERT OR REPLACE INTO state (partition, key, epoch, number, value, seal) VALUES (?, ?, ?, ?, ?, ?)"),
        remove: database.prepare("DELETE FROM state WHERE partition = ? AND key = ?"),
        get: database.prepare("SELECT key, epoch, number, value, seal FROM state WHERE partition = ? AND key = ?"),
        keys: database.prepare("SELECT key, epoch, number FROM state WHERE partition = ? AND key > ? ORDER BY key LIMIT ?"),
        drop: database.prepare("DELETE FROM state WHERE partition = ?"),
      };
      this.log.checkpoint();
      this.damaged = this.removeDamaged();
    } catch (error) {
      database?.close(true);
      throw new StartError(`cannot open ${this.path}, which has the channels of replicas: ${(error as Error).message}`);
    }
  }

  private removeDamaged(): Set<number> {
    const damaged = new Map<number, string[]>();
    const rows = this.database.query("SELECT partition, key, epoch, number, value, seal FROM state");
    for (const row of rows.iterate() as IterableIterator<Row & { partition: number }>) {
      const { partition, key, seal } = row;
      if (seal !== sealOf(partition, row)) damaged.set(partition, [...(damaged.get(partition) ?? []), key]);
    }
    for (const [partition, keys] of damaged) for (const key of keys) this.statements.remove.run(partition, key);
    return new Set(damaged.keys());
  }

  /** The state of one partition. @param number the prefix of its message ids @param isFsync whether its topic has the durability `fsync` */
  of(number: number, isFsync: () => boolean): ReplicaState {
    const { statements } = this;
    return {
      keysAfter: (after, limit) => statements.keys.all(number, after, limit) as StateKey[],
      get: (key) => rowValue(statements.get.get(number, key) as Row | null),
      apply: (changes, done) =>
        this.apply(done, isFsync(), () => {
          for (const change of changes) this.make(number, change);
        }),
    };
  }

  /** This broker has no part in a partition any more. */
  remove(number: number): void {
    this.apply(
      () => {},
      false,
      () => this.statements.drop.run(number),
    );
  }

  private make(partition: number, { key, epoch, number, value }: StateChange): void {
    const { put, remove } = this.statements;
    if (value === undefined) remove.run(partition, key);
    else put.run(partition, key, epoch, number, value, sealOf(partition, { key, epoch, number, value }));
  }

  private apply(done: Done, fsync: boolean, work: () => void): void {
    if (this.turn.length === 0) this.clock.callAfterTurn(() => this.endTurn());
    this.turn.push({ done, fsync });
    if (this.failure !== undefined || this.isClosed) return;
    try {
      this.ballast.use(() => {
        if (!this.isOpen) this.database.run("BEGIN IMMEDIATE");
        this.isOpen = true;
        work();
      });
    } catch (error) {
      this.failure = error as Error;
    }
  }

  /** Ends what was begun in this turn. @throws nothing */
  private endTurn(): void {
    const turn = this.turn.splice(0);
    let failure = this.isClosed ? new Error("it is closed") : this.failure;
    this.failure = undefined;
    try {
      if (this.isOpen && failure === undefined) {
        this.ballast.use(() => this.database.run("COMMIT"));
        // What is written behind something that may never get to the disk would not be read.
        if (this.log.isUnsure && turn.some(({ fsync }) => fsync)) this.log.checkpoint();
      }
    } catch (error) {
      failure = error as Error;
    }
    if (this.isOpen && failure !== undefined) this.rollBack();
    this.isOpen = false;
    this.log.transactionEnded();
    for (const { done, fsync } of turn) {
      if (failure !== undefined || !fsync) done(failure);
      else this.awaitingSync.push(done);
    }
    this.sync();
  }

  private rollBack(): void {
    try {
      // SQLite may have done so itself.
      if (this.database.inTransaction) this.database.run("ROLLBACK");
    } catch {}
  }

  /** Syncs the write-ahead log for those who wait for it. */
  private sync(): void {
    if (this.isSyncing || this.awaitingSync.length === 0) return;
    this.isSyncing = true;
    const covered = this.awaitingSync.splice(0);
    const ended = (failure: Error | undefined) => {
      this.isSyncing = false;
      if (failure !== undefined) this.log.isUnsure = true;
      for (const done of covered) done(failure);
      this.sync();
    };
    let fd: number;
    try {
      fd = systemDisk.open(`${this.path}-wal`, "r+");
    } catch (error) {
      return ended(error as Error);
    }
    systemDisk.sync(fd, (error) => {
      closeQuietly(systemDisk, fd);
      ended(error ?? undefined);
    });
  }

  /** To be called every second or so. @param ended gets why the write-ahead log could not be emptied */
  review(ended: (failure: Error | undefined) => void): void {
    if (!this.isClosed && !this.isOpen) this.log.checkpointIfLarge(ended);
  }

  close(): void {
    if (this.isClosed) return;
    if (this.turn.length > 0) this.endTurn();
    this.isClosed = true;
    this.log.close();
    for (const statement of Object.values(this.statements)) statement.finalize();
    this.database.close(true);
  }
}

function rowValue(row: Row | null): StateValue | undefined {
  if (row === null) return undefined;
  const { key, epoch, number, value } = row;
  return { key, epoch, number, value: Buffer.from(value.buffer, value.byteOffset, value.byteLength) };
}

function sealOf(partition: number, { key, epoch, number, value }: Pick<Row, "key" | "epoch" | "number" | "value">): number {
  return Bun.hash.crc32(value, Bun.hash.crc32(JSON.stringify([partition, key, epoch, number])));
}
