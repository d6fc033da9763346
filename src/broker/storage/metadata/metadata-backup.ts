import { Database } from "bun:sqlite";
import { closeSync, existsSync, fdatasyncSync, openSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../../base/clock.ts";
import type { Logger } from "../../../base/logger.ts";
import { StartError } from "../../../base/start-error.ts";
import { type Disk, isMissing, readFully, systemDisk, writeFully } from "../disk/disk.ts";
import type { MetadataStore } from "./metadata-store.ts";

/**
 * What the store needs to survive its own loss: a copy beside the logs, renewed now and then and at a clean stop, and
 * the steps that put it in the place of a store that is damaged or gone. The store is a real file, which SQLite opens itself;
 * the copy is on the broker's disk, like the logs, and is looked at in memory.
 */

export const METADATA_FILE = "catalogue.sqlite";
export const BACKUP_FILE = "catalogue.copy";
/** Not more often than this. */
const BACKUP_INTERVAL_MS = 5000;
/** And so that copying a large store writes no more than this. */
const BACKUP_BYTES_PER_MS = 1024;
/** Written at once: others have their turn in between. */
const WRITE_BYTES = 256 * 1024;
/** Where a database's header says that it has a write-ahead log, which one in memory cannot have. */
const WAL_VERSIONS_OFFSET = 18;
const NO_WAL = 1;
const MAX_SET_ASIDE = 1000;

/** What became of the store before it was opened. */
export type RestoreResult =
  | "sound"
  /** Neither store nor logs: a new data path. */
  | "new"
  /** The copy took its place: what changed in the last seconds before is not known. */
  | "restored"
  /** Neither it nor a copy can be read: only the folders tell which topics there were. */
  | "lost";

/** How a store's file is, without changing it. */
export type MetadataState = "sound" | "missing" | "locked" | { damage: string };

/** Looks a store over. A store that another process has open is "locked", whatever its state. */
export function inspectMetadata(path: string): MetadataState {
  if (!existsSync(path)) return "missing";
  let database: Database | undefined;
  try {
    database = new Database(path, { strict: true, readwrite: true, create: false });
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    database.run("BEGIN IMMEDIATE");
    const state = inspect(database);
    database.run("ROLLBACK");
    return state;
  } catch (error) {
    const { code = "", message } = error as NodeJS.ErrnoException;
    if (code.startsWith("SQLITE_BUSY")) return "locked";
    if (/^SQLITE_(CORRUPT|NOTADB|IOERR_SHORT_READ)/.test(code)) return { damage: message };
    // Its file or folder cannot be used at all, which is no damage: opening it says what to do.
    return "sound";
  } finally {
    database?.close(true);
  }
}

/** Looks a store's copy over. @throws what the kernel said */
export function inspectBackup(disk: Disk, path: string): MetadataState {
  const bytes = readFile(disk, path);
  if (bytes === undefined) return "missing";
  let database: Database | undefined;
  try {
    database = openInMemory(bytes);
    return inspect(database);
  } catch (error) {
    return { damage: (error as Error).message };
  } finally {
    database?.close(true);
  }
}

/** The content of a file of whatever state. */
function inspect(database: Database): MetadataState {
  const [found] = database.query("PRAGMA quick_check(1)").values() as [string][];
  const tables = database.query("SELECT count(*) FROM sqlite_master").values();
  if (tables[0]?.[0] === 0) return "missing";
  const says = found?.[0] ?? "it cannot be checked";
  return says === "ok" ? "sound" : { damage: says.replace(/^\*\*\* .* \*\*\*\n/, "").replace(/\s+/g, " ") };
}

/** @throws what SQLite says of bytes that are no database */
function openInMemory(bytes: Buffer): Database {
  const copy = Buffer.from(bytes);
  copy.fill(NO_WAL, WAL_VERSIONS_OFFSET, WAL_VERSIONS_OFFSET + 2);
  return Database.deserialize(copy, { strict: true });
}

/** @returns undefined: there is no such file */
function readFile(disk: Disk, path: string): Buffer | undefined {
  let fd: number;
  try {
    fd = disk.open(path, "r+");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  try {
    const bytes = Buffer.allocUnsafeSlow(disk.size(fd));
    readFully(disk, fd, bytes, 0, bytes.length, 0);
    return bytes;
  } finally {
    disk.close(fd);
  }
}

/**
 * Puts the copy in the place of a store that is damaged or gone. What is damaged is kept under another name.
 *
 * @throws StartError when that cannot be done
 */
export function restoreMetadata(disk: Disk, directory: string, logger: Logger): RestoreResult {
  try {
    return restore(disk, directory, logger);
  } catch (error) {
    throw new StartError(`cannot bring back the store in ${directory}: ${(error as Error).message}`);
  }
}

function restore(disk: Disk, directory: string, logger: Logger): RestoreResult {
  const path = join(directory, METADATA_FILE);
  let state: MetadataState | "outdated" = inspectMetadata(path);
  if (state === "locked") return "sound";
  const backup = readBackup(disk, join(directory, "topics", BACKUP_FILE));
  if (state === "sound") {
    if (backup === undefined || backup instanceof Error || backup.number <= storeNumber(path)) return "sound";
    state = "outdated";
  }
  const hasLogs = topicFolders(disk, directory).length > 0;
  if (state === "missing" && !hasLogs) return "new";
  if (backup instanceof Error) throw backup;
  const aside = ["", "-wal", "-shm"].flatMap((ending) => (existsSync(path + ending) ? [setAside(systemDisk, path + ending)] : []));
  const what = describe(path, state, aside[0]);
  if (backup !== undefined) {
    const { bytes } = backup;
    const fd = openSync(`${path}.new`, "w");
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    fdatasyncSync(fd);
    closeSync(fd);
    renameSync(`${path}.new`, path);
    logger.error(`${what}; its copy took its place: what channels finished in the last seconds before may come again`);
    return "restored";
  }
  if (!hasLogs) {
    logger.error(`${what}; there is no log beside it, so the data path begins anew`);
    return "new";
  }
  logger.error(
    `${what}, and there is no copy of it; topics are taken from their folders, and all their messages wait for channels to be made`,
  );
  const deferred = join(directory, "deferred");
  if (disk.exists(deferred) && disk.list(deferred).length > 0) {
    // Whose they are they say by numbers that only the store knew, and that are given anew.
    logger.error(`deferred messages cannot be told whose they are without the store; they are kept as ${setAside(disk, deferred)}`);
  }
  return "lost";
}

function describe(path: string, state: MetadataState | "outdated", aside: string | undefined): string {
  if (typeof state === "object") return `${path} is damaged (${state.damage}) and kept as ${aside}`;
  return state === "outdated" ? `${path} has lost its last changes, and is kept as ${aside}` : `${path} is missing or empty`;
}

/** A copy that is sound. */
interface Backup {
  bytes: Buffer;
  /** See backupNumber(). */
  number: number;
}

/** @returns why it cannot be read; undefined: there is none, or it is damaged */
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

/** The number of a store's own file, which is sound; Infinity where it cannot be told. */
function storeNumber(path: string): number {
  let database: Database | undefined;
  try {
    database = new Database(path, { strict: true, readwrite: true, create: false });
    return backupNumber(database);
  } catch {
    // Whatever is wrong, opening the store says so; and the copy counts only if it is known to be later.
    return Number.POSITIVE_INFINITY;
  } finally {
    database?.close(true);
  }
}

/** How many copies were made of a store up to the moment that it, or a copy of it, shows. */
function backupNumber(database: Database): number {
  const known = database.query("SELECT 1 FROM sqlite_master WHERE name = 'copies'").get() !== null;
  const row = known ? (database.query("SELECT count FROM copies").get() as { count: number } | null) : null;
  return row?.count ?? 0;
}

/** Folders of topics' logs: number and name of each. */
export function topicFolders(disk: Disk, directory: string): { folder: string; number: number; name: string }[] {
  const topics = join(directory, "topics");
  let folders: string[];
  try {
    folders = disk.list(topics);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
  return folders.flatMap((folder) => {
    const [, number, name] = /^(\d{5})-(.+)$/s.exec(folder) ?? [];
    return number === undefined || name === undefined ? [] : [{ folder: join(topics, folder), number: Number(number), name }];
  });
}

export interface MetadataBackupOptions {
  store: MetadataStore;
  /** The broker's folder. */
  directory: string;
  disk: Disk;
  clock: Pick<Clock, "callAfterTurn">;
  logger: Logger;
}

/** Renews the copy while the broker runs: reading the store, which is small, is the longest that it holds the event loop. */
export class MetadataBackup {
  private readonly store: MetadataStore;
  private readonly disk: Disk;
  private readonly clock: Pick<Clock, "callAfterTurn">;
  private readonly logger: Logger;
  private readonly path: string;
  private writtenChanges = -1;
  private nextMs = 0;
  private writing: Promise<void> | undefined;

  constructor({ store, directory, disk, clock, logger }: MetadataBackupOptions) {
    this.store = store;
    this.disk = disk;
    this.clock = clock;
    this.logger = logger;
    this.path = join(directory, "topics", BACKUP_FILE);
  }

  /** Called now and then. */
  renewIfDue(nowMs: number): void {
    if (nowMs >= this.nextMs && this.writing === undefined) void this.renew(nowMs);
  }

  /** Resolves once the copy is what the store is now. */
  async renew(nowMs: number): Promise<void> {
    await this.writing;
    this.nextMs = nowMs + BACKUP_INTERVAL_MS;
    const { changes } = this.store;
    if (changes === this.writtenChanges) return;
    this.writing = this.write(nowMs);
    await this.writing;
    this.writing = undefined;
  }

  private async write(nowMs: number): Promise<void> {
    try {
      const bytes = this.store.serialize();
      const { changes } = this.store;
      this.nextMs = Math.max(this.nextMs, nowMs + bytes.length / BACKUP_BYTES_PER_MS);
      await this.writeFile(`${this.path}.new`, bytes);
      this.disk.rename(`${this.path}.new`, this.path);
      this.writtenChanges = changes;
    } catch (error) {
      this.logger.warn(`cannot renew the store's copy ${this.path}: ${(error as Error).message}; the one before is kept`);
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

function setAside(disk: Disk, path: string): string {
  for (let i = 1; i < MAX_SET_ASIDE; i++) {
    const aside = `${path}.damaged${i === 1 ? "" : `-${i}`}`;
    if (disk.exists(aside)) continue;
    disk.rename(path, aside);
    return aside;
  }
  throw new Error(`there are ${MAX_SET_ASIDE} damaged files beside ${path}; remove those that are not needed any more`);
}
