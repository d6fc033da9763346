import { Database } from "bun:sqlite";
import { closeSync, existsSync, fdatasyncSync, renameSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../../base/clock.ts";
import type { Logger } from "../../../base/logger.ts";
import { StartError } from "../../../base/start-error.ts";
import type { DamageLog } from "../damage-log.ts";
import { closeQuietly, type Disk, isMissing, readFully, systemDisk, writeFully } from "../disk/disk.ts";
import { listRenamed } from "../disk/folder-names.ts";
import { setAside } from "../disk/set-aside.ts";
import { reading, unreadable } from "../disk/unreadable-file.ts";
import { FileNotes } from "../file-notes.ts";
import type { MetadataStore } from "./metadata-store.ts";
import { type FoundRun, readRun } from "./run-record.ts";

/**
 * The backup of the metadata store: a copy beside the logs, renewed every few seconds and at a clean stop, and the restore, which
 * replaces a store that is damaged or gone by it.
 *
 * The store is a real file, since SQLite opens it itself. The backup is on the broker's disk, like the logs, and SQLite checks it
 * in memory.
 */

export const METADATA_FILE = "catalogue.sqlite";
export const BACKUP_FILE = "catalogue.copy";
/** The note that there is a backup. */
const BACKUP_NOTE = "topics/catalogue.copy";
/** The shortest time between two backups. */
const BACKUP_INTERVAL_MS = 5000;
/** Backups of a large store are rarer, so that they write no more than this. */
const BACKUP_BYTES_PER_MS = 1024;
/** Bytes written in one turn of the event loop. */
const WRITE_BYTES = 256 * 1024;
/** Where the header of a database says that it has a write-ahead log; a database in memory cannot have one. */
const WAL_VERSIONS_OFFSET = 18;
const NO_WAL = 1;

/** What the restore found before the store is opened. */
export type RestoreResult =
  /** The store needs no restore. */
  | "sound"
  /** There is neither a store nor a log: the data path is new. */
  | "new"
  /** The backup has replaced the store: changes of the last seconds are lost. */
  | "restored"
  /** Neither the store nor its backup can be read: only the folders of topics tell which topics there were. */
  | "lost";

export type MetadataState = "sound" | "missing" | "locked" | { damage: string };

/**
 * Checks the file of a metadata store without changing it. It is "locked" when another process has it open, whatever its state.
 *
 * @param withoutUnreadable a file that cannot be read counts as damaged
 */
export function inspectMetadata(path: string, withoutUnreadable = false): MetadataState {
  if (!existsSync(path)) return "missing";
  if (isFolder(path)) return { damage: "it is a folder" };
  let database: Database | undefined;
  try {
    database = new Database(path, { strict: true, readwrite: true, create: false });
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    database.run("BEGIN IMMEDIATE");
    const state = inspect(database);
    database.run("ROLLBACK");
    // After a kill, the last page may be in the write-ahead log only.
    return state === "sound" && sizeOrZero(`${path}-wal`) === 0 ? wholeOrCut(database, sizeOrZero(path)) : state;
  } catch (error) {
    const { code = "", message } = error as NodeJS.ErrnoException;
    if (code.startsWith("SQLITE_BUSY")) return "locked";
    if (/^SQLITE_(CORRUPT|NOTADB|IOERR_SHORT_READ)/.test(code)) return { damage: message };
    if (withoutUnreadable && code.startsWith("SQLITE_IOERR")) return { damage: message };
    // The file or its folder cannot be used at all. That is no damage; the error of opening the store says what to do.
    return "sound";
  } finally {
    database?.close(true);
  }
}

/** Folders in the place of files that SQLite has beside a database. */
export function foldersBeside(path: string): string[] {
  return ["-wal", "-shm"].map((ending) => path + ending).filter(isFolder);
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** Checks a backup. @throws the kernel's error */
function inspectBackup(disk: Disk, path: string): MetadataState {
  const bytes = readFile(disk, path);
  if (bytes === undefined) return "missing";
  let database: Database | undefined;
  try {
    database = openInMemory(bytes);
    const state = inspect(database);
    return state === "sound" ? wholeOrCut(database, bytes.length) : state;
  } catch (error) {
    return { damage: (error as Error).message };
  } finally {
    database?.close(true);
  }
}

/** Checks the content of a database. @throws SQLite's error when it cannot be read at all */
function inspect(database: Database): MetadataState {
  const [found] = database.query("PRAGMA integrity_check(1)").values() as [string][];
  const tables = database.query("SELECT count(*) FROM sqlite_master").values();
  if (tables[0]?.[0] === 0) return "missing";
  const says = found?.[0] ?? "it cannot be checked";
  return says === "ok" ? "sound" : { damage: says.replace(/^\*\*\* .* \*\*\*\n/, "").replace(/\s+/g, " ") };
}

/** SQLite does not notice that a file was cut in a page that nothing uses. */
function wholeOrCut(database: Database, bytes: number): MetadataState {
  const { page_size: pageBytes } = database.query("PRAGMA page_size").get() as { page_size: number };
  return bytes % pageBytes === 0 ? "sound" : { damage: `it has ${bytes} bytes, which is no multiple of its page size` };
}

function sizeOrZero(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** @throws SQLite's error for bytes that are no database */
function openInMemory(bytes: Buffer): Database {
  const copy = Buffer.from(bytes);
  copy.fill(NO_WAL, WAL_VERSIONS_OFFSET, WAL_VERSIONS_OFFSET + 2);
  return Database.deserialize(copy, { strict: true });
}

/** @returns undefined when the file does not exist */
function readFile(disk: Disk, path: string): Buffer | undefined {
  let fd: number;
  try {
    fd = disk.open(path, "r+");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw unreadable(path, error);
  }
  try {
    return reading(path, () => {
      const bytes = Buffer.allocUnsafeSlow(disk.size(fd));
      readFully(disk, fd, bytes, 0, bytes.length, 0);
      return bytes;
    });
  } finally {
    closeQuietly(disk, fd);
  }
}

/**
 * Replaces a metadata store that is damaged, gone or older than its backup by the backup. The damaged files are kept under other
 * names. A backup that cannot be read says nothing: with a sound store the broker starts without it.
 *
 * @param withoutUnreadable also where a backup is needed that cannot be read, which is kept under another name then; and the
 *   backup replaces a store that cannot be read
 * @throws StartError when that fails
 */
export function restoreMetadata(
  disk: Disk,
  directory: string,
  damage: DamageLog,
  bootId: string,
  withoutUnreadable = false,
): RestoreResult {
  try {
    return restore(disk, directory, damage, bootId, withoutUnreadable);
  } catch (error) {
    throw new StartError(`cannot restore the metadata store in ${directory}: ${(error as Error).message}`);
  }
}

/** What a start does with a metadata store and its backup. */
export interface StoreJudgement {
  /** "outdated": the backup is newer. */
  state: MetadataState | "outdated";
  /** A sound backup; the error when it cannot be read. */
  backup: Backup | Error | undefined;
  /** What is wrong with the backup of a store that is sound. */
  backupProblem?: string;
}

/** Compares a metadata store with its backup. */
export function judgeStore(disk: Disk, directory: string, bootId: string, withoutUnreadable = false): StoreJudgement {
  const path = join(directory, METADATA_FILE);
  const backupPath = join(directory, "topics", BACKUP_FILE);
  const state = inspectMetadata(path, withoutUnreadable);
  if (state === "locked") return { state, backup: undefined };
  const backup = readBackup(disk, backupPath);
  if (state !== "sound" || backup instanceof Error) return { state, backup };
  const number = storeNumber(path);
  if (backup !== undefined) return { state: backup.number > number ? "outdated" : state, backup };
  const found = inspectBackup(disk, backupPath);
  if (typeof found === "object") return { state, backup, backupProblem: `${backupPath} is damaged (${found.damage})` };
  const { lastRun, files } = lastRunOf(path, bootId);
  // A kill may come before the first backup is whole, and a power cut may take its name.
  const expected = files.has(BACKUP_NOTE) && lastRun !== "power cut";
  return { state, backup, ...(expected ? { backupProblem: `${backupPath} is missing or empty` } : {}) };
}

function restore(disk: Disk, directory: string, damage: DamageLog, bootId: string, withoutUnreadable: boolean): RestoreResult {
  const path = join(directory, METADATA_FILE);
  const backupPath = join(directory, "topics", BACKUP_FILE);
  for (const folder of foldersBeside(path))
    damage.report("metadata", `${folder} is a folder where a file belongs; it is kept as ${setAside(systemDisk, folder)}`);
  const { state, backup: found, backupProblem } = judgeStore(disk, directory, bootId, withoutUnreadable);
  let backup = found;
  if (backup instanceof Error) {
    damage.error(`${backup.message}; it is the backup of the metadata store`);
    if (withoutUnreadable && state !== "sound") {
      damage.error(`starting without the backup, which is kept as ${setAside(disk, backupPath)}`);
      backup = undefined;
    }
  }
  if (backupProblem !== undefined) {
    const kept = disk.exists(backupPath) ? `; it is kept as ${setAside(disk, backupPath)}` : "";
    damage.report("metadata", `${backupProblem}${kept}; the metadata store is sound, and a new backup is made`);
  }
  if (state === "locked" || state === "sound") return "sound";
  const hasLogs = topicFolders(disk, directory).length > 0;
  if (state === "missing" && !hasLogs) return "new";
  if (backup instanceof Error) throw new Error(`${backup.message}; start again when it can be read, or with --start-without-unreadable`);
  const aside = ["", "-wal", "-shm"].flatMap((ending) => (existsSync(path + ending) ? [setAside(systemDisk, path + ending)] : []));
  const what = describe(path, state, aside[0]);
  if (backup !== undefined) {
    const { bytes } = backup;
    const fd = systemDisk.open(`${path}.new`, "w+");
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    fdatasyncSync(fd);
    closeSync(fd);
    // The write-ahead log of the store that was set aside must not come back beside this one: SQLite would read it.
    systemDisk.syncDirectoryNow(directory);
    renameSync(`${path}.new`, path);
    damage.report(
      "metadata",
      `${what}; restored from its backup: messages that channels finished in the last seconds may be delivered again`,
    );
    return "restored";
  }
  if (!hasLogs) {
    damage.report("metadata", `${what}; there are no logs either, so the data path starts empty`);
    return "new";
  }
  damage.report(
    "metadata",
    `${what}, and it has no backup; topics are restored from their folders, and all their messages wait for channels to be made`,
  );
  return "lost";
}

function describe(path: string, state: MetadataState | "outdated", aside: string | undefined): string {
  if (typeof state === "object") return `${path} is damaged (${state.damage}), and kept as ${aside}`;
  return state === "outdated" ? `${path} is older than its backup, and kept as ${aside}` : `${path} is missing or empty`;
}

/** A sound backup. */
export interface Backup {
  bytes: Buffer;
  /** The store's number of backups when this one was made. */
  number: number;
}

/** @returns undefined when there is no backup, or a damaged one; the error when it cannot be read */
function readBackup(disk: Disk, path: string): Backup | Error | undefined {
  let bytes: Buffer | undefined;
  try {
    bytes = readFile(disk, path);
  } catch (error) {
    return error as Error;
  }
  if (bytes === undefined) return undefined;
  let database: Database | undefined;
  try {
    database = openInMemory(bytes);
    return inspect(database) === "sound" ? { bytes, number: backupNumber(database) } : undefined;
  } catch {
    return undefined;
  } finally {
    database?.close(true);
  }
}

/** The number of backups of a sound store; Infinity when it cannot be read. */
function storeNumber(path: string): number {
  let database: Database | undefined;
  try {
    database = new Database(path, { strict: true, readwrite: true, create: false });
    return backupNumber(database);
  } catch {
    // The backup counts only if it is known to be later. What is wrong with the store, the error of opening it says.
    return Number.POSITIVE_INFINITY;
  } finally {
    database?.close(true);
  }
}

function lastRunOf(path: string, bootId: string): FoundRun {
  const database = new Database(path, { strict: true, readwrite: true, create: false });
  try {
    return readRun(database, bootId);
  } finally {
    database.close(true);
  }
}

/** How many backups were made of a store up to the state that it, or a backup, has. Of two states the one with more is later. */
function backupNumber(database: Database): number {
  const known = database.query("SELECT 1 FROM sqlite_master WHERE name = 'copies'").get() !== null;
  const row = known ? (database.query("SELECT count FROM copies").get() as { count: number } | null) : null;
  return row?.count ?? 0;
}

/** The folder of a topic's log. */
export interface TopicFolder {
  folder: string;
  number: number;
  name: string;
}

/** Lists the folders of topics' logs, with the number and name of each topic, in the order of their numbers. @throws UnreadableFile */
export function topicFolders(disk: Disk, directory: string): TopicFolder[] {
  const topics = join(directory, "topics");
  let folders: string[];
  try {
    folders = listRenamed(disk, topics);
  } catch (error) {
    if (isMissing(error)) return [];
    throw unreadable(topics, error);
  }
  return folders.sort().flatMap((folder) => {
    const [, number, name] = /^(\d{5})-(.+)$/s.exec(folder) ?? [];
    return number === undefined || name === undefined ? [] : [{ folder: join(topics, folder), number: Number(number), name }];
  });
}

/** The folder of a topic's log. The number in front keeps names such as "." and ".." harmless. */
export function topicFolder(directory: string, number: number, name: string): string {
  return join(directory, "topics", `${number.toString().padStart(5, "0")}-${name}`);
}

export interface MetadataBackupOptions {
  store: MetadataStore;
  /** The broker's folder below the data path. */
  directory: string;
  disk: Disk;
  clock: Pick<Clock, "callAfterTurn">;
  logger: Logger;
  notes?: FileNotes;
}

/** Renews the backup while the broker runs. Reading the store, which is small, is the longest that this blocks the event loop. */
export class MetadataBackup {
  private readonly store: MetadataStore;
  private readonly disk: Disk;
  private readonly clock: Pick<Clock, "callAfterTurn">;
  private readonly logger: Logger;
  private readonly path: string;
  private readonly notes: FileNotes;
  private writtenChanges = -1;
  private nextMs = 0;
  private writing: Promise<void> | undefined;

  constructor({ store, directory, disk, clock, logger, notes = new FileNotes() }: MetadataBackupOptions) {
    this.notes = notes;
    this.store = store;
    this.disk = disk;
    this.clock = clock;
    this.logger = logger;
    this.path = join(directory, "topics", BACKUP_FILE);
  }

  /** Renews the backup if it is time to. To be called from time to time. */
  renewIfDue(nowMs: number): void {
    if (nowMs >= this.nextMs && this.writing === undefined) void this.renew(nowMs);
  }

  /** Renews the backup unless the store is unchanged. Never rejects: a failure is logged. */
  async renew(nowMs: number): Promise<void> {
    await this.writing;
    this.nextMs = nowMs + BACKUP_INTERVAL_MS;
    this.writing = this.write(nowMs);
    await this.writing;
    this.writing = undefined;
  }

  private async write(nowMs: number): Promise<void> {
    try {
      if (this.store.changes === this.writtenChanges) return;
      const bytes = this.store.serialize();
      const { changes } = this.store;
      this.nextMs = Math.max(this.nextMs, nowMs + bytes.length / BACKUP_BYTES_PER_MS);
      await this.writeFile(`${this.path}.new`, bytes);
      this.disk.rename(`${this.path}.new`, this.path);
      this.notes.note(BACKUP_NOTE, 1);
      this.writtenChanges = changes;
    } catch (error) {
      this.logger.warn(`cannot renew the metadata backup ${this.path}: ${(error as Error).message}; the previous one is kept`);
    }
  }

  private async writeFile(path: string, bytes: Buffer): Promise<void> {
    const { disk } = this;
    const fd = disk.open(path, "w+");
    try {
      for (let at = 0; at < bytes.length; at += WRITE_BYTES) {
        writeFully(disk, fd, bytes, at, Math.min(WRITE_BYTES, bytes.length - at), at);
        await new Promise<void>((resolve) => this.clock.callAfterTurn(resolve));
      }
      await new Promise<void>((resolve, reject) => disk.sync(fd, (error) => (error ? reject(error) : resolve())));
    } finally {
      disk.close(fd);
    }
  }
}
