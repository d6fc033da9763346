import { Database } from "bun:sqlite";
import { closeSync, existsSync, fdatasyncSync, openSync, readdirSync, readFileSync, renameSync, writeSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "../../../base/logger.ts";
import { StartError } from "../../../base/start-error.ts";
import { files, isMissing } from "../disk/files.ts";
import type { Store } from "./metadata-store.ts";

/**
 * What the store needs to survive its own loss: a copy beside the logs, renewed now and then and at a clean stop, and
 * the steps that put it in the place of a store that is damaged or gone.
 */

export const STORE_FILE = "catalogue.sqlite";
export const COPY_FILE = "catalogue.copy";
/** Not more often than this. */
const COPY_INTERVAL_MS = 5000;
/** And so that copying a large store writes no more than this. */
const COPY_BYTES_PER_MS = 1024;
const MAX_SET_ASIDE = 1000;

/** What became of the store before it was opened. */
export type StoreFound =
  | "sound"
  /** Neither store nor logs: a new data path. */
  | "new"
  /** The copy took its place: what changed in the last seconds before is not known. */
  | "copied"
  /** Neither it nor a copy can be read: only the folders tell which topics there were. */
  | "lost";

/** How a store's file is, without changing it. */
export type StoreState = "sound" | "missing" | "locked" | { damage: string };

/** Looks a store over. A store that another process has open is "locked", whatever its state. */
export function inspectStore(path: string): StoreState {
  if (!existsSync(path)) return "missing";
  let database: Database | undefined;
  try {
    database = new Database(path, { strict: true, readwrite: true, create: false });
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    database.run("BEGIN IMMEDIATE");
    const [found] = database.query("PRAGMA quick_check(1)").values() as [string][];
    const tables = database.query("SELECT count(*) FROM sqlite_master").values();
    database.run("ROLLBACK");
    if (tables[0]?.[0] === 0) return "missing";
    const says = found?.[0] ?? "it cannot be checked";
    return says === "ok" ? "sound" : { damage: says.replace(/^\*\*\* .* \*\*\*\n/, "").replace(/\s+/g, " ") };
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

/**
 * Puts the copy in the place of a store that is damaged or gone. What is damaged is kept under another name.
 *
 * @throws StartError when that cannot be done
 */
export function rescueStore(directory: string, log: Logger): StoreFound {
  try {
    return rescue(directory, log);
  } catch (error) {
    throw new StartError(`cannot bring back the store in ${directory}: ${(error as Error).message}`);
  }
}

function rescue(directory: string, log: Logger): StoreFound {
  const path = join(directory, STORE_FILE);
  const copy = join(directory, "topics", COPY_FILE);
  let state: StoreState | "outdated" = inspectStore(path);
  if (state === "locked") return "sound";
  const hasCopy = existsSync(copy) && inspectStore(copy) === "sound";
  if (state === "sound" && hasCopy && copyNumber(copy) > copyNumber(path)) state = "outdated";
  if (state === "sound") return "sound";
  const hasLogs = topicFolders(directory).length > 0;
  if (state === "missing" && !hasLogs) return "new";
  const aside = ["", "-wal", "-shm"].flatMap((ending) => (existsSync(path + ending) ? [setAside(path + ending)] : []));
  const what = describe(path, state, aside[0]);
  if (hasCopy) {
    const bytes = readFileSync(copy);
    const fd = openSync(`${path}.new`, "w");
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    fdatasyncSync(fd);
    closeSync(fd);
    renameSync(`${path}.new`, path);
    log.error(`${what}; its copy took its place: what channels finished in the last seconds before may come again`);
    return "copied";
  }
  if (!hasLogs) {
    log.error(`${what}; there is no log beside it, so the data path begins anew`);
    return "new";
  }
  log.error(
    `${what}, and there is no copy of it; topics are taken from their folders, and all their messages wait for channels to be made`,
  );
  const deferred = join(directory, "deferred");
  if (existsSync(deferred) && readdirSync(deferred).length > 0) {
    // Whose they are they say by numbers that only the store knew, and that are given anew.
    log.error(`deferred messages cannot be told whose they are without the store; they are kept as ${setAside(deferred)}`);
  }
  return "lost";
}

function describe(path: string, state: StoreState | "outdated", aside: string | undefined): string {
  if (typeof state === "object") return `${path} is damaged (${state.damage}) and kept as ${aside}`;
  return state === "outdated" ? `${path} has lost its last changes, and is kept as ${aside}` : `${path} is missing or empty`;
}

/** How many copies were made of a store up to the moment that it, or a copy of it, shows; -1 where that cannot be told. The file is sound. */
function copyNumber(path: string): number {
  let database: Database | undefined;
  try {
    database = new Database(path, { strict: true, readwrite: true, create: false });
    const known = database.query("SELECT 1 FROM sqlite_master WHERE name = 'copies'").get() !== null;
    const row = known ? (database.query("SELECT count FROM copies").get() as { count: number } | null) : null;
    return row?.count ?? 0;
  } catch {
    // Whatever is wrong, opening the store says so; and of two the copy counts only if it is known to be later.
    return -1;
  } finally {
    database?.close(true);
  }
}

/** Folders of topics' logs: number and name of each. */
export function topicFolders(directory: string): { folder: string; number: number; name: string }[] {
  const topics = join(directory, "topics");
  let folders: string[];
  try {
    folders = files.list(topics);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
  return folders.flatMap((folder) => {
    const [, number, name] = /^(\d{5})-(.+)$/s.exec(folder) ?? [];
    return number === undefined || name === undefined ? [] : [{ folder: join(topics, folder), number: Number(number), name }];
  });
}

/** Renews the copy while the broker runs: off the event loop but for reading the store, which is small. */
export class StoreCopy {
  private readonly path: string;
  private copiedChanges = -1;
  private nextMs = 0;
  private writing: Promise<void> | undefined;

  constructor(
    private readonly store: Store,
    directory: string,
    private readonly log: Logger,
  ) {
    this.path = join(directory, "topics", COPY_FILE);
  }

  /** Called now and then. */
  renewIfDue(nowMs: number): void {
    if (nowMs >= this.nextMs && this.writing === undefined) void this.renew(nowMs);
  }

  /** Resolves once the copy is what the store is now. */
  async renew(nowMs: number): Promise<void> {
    await this.writing;
    this.nextMs = nowMs + COPY_INTERVAL_MS;
    const { changes } = this.store;
    if (changes === this.copiedChanges) return;
    this.writing = this.write(nowMs);
    await this.writing;
    this.writing = undefined;
  }

  private async write(nowMs: number): Promise<void> {
    try {
      const bytes = this.store.serialize();
      const { changes } = this.store;
      this.nextMs = Math.max(this.nextMs, nowMs + bytes.length / COPY_BYTES_PER_MS);
      const file = await open(`${this.path}.new`, "w");
      try {
        await file.writeFile(bytes);
        await file.datasync();
      } finally {
        await file.close();
      }
      await rename(`${this.path}.new`, this.path);
      this.copiedChanges = changes;
    } catch (error) {
      this.log.warn(`cannot renew the store's copy ${this.path}: ${(error as Error).message}; the one before is kept`);
    }
  }
}

function setAside(path: string): string {
  for (let i = 1; i < MAX_SET_ASIDE; i++) {
    const aside = `${path}.damaged${i === 1 ? "" : `-${i}`}`;
    if (existsSync(aside)) continue;
    renameSync(path, aside);
    return aside;
  }
  throw new Error(`there are ${MAX_SET_ASIDE} damaged files beside ${path}; remove those that are not needed any more`);
}
