import type { Database } from "bun:sqlite";
import { readFileSync } from "node:fs";
import type { Ballast } from "../disk/ballast.ts";
import { FileNotes, type LastRun } from "../file-notes.ts";
import type { SyncedProgress } from "./synced-progress.ts";

const BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id";

export const RUN_TABLES = `
  CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    clean INTEGER NOT NULL,
    boot TEXT NOT NULL
  );
  CREATE TABLE IF NOT EXISTS files (
    name TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL
  );
`;

/** Names the time since the machine started, so that a kill is told from a power cut; empty where the system has no such name. */
export function readBootId(): string {
  try {
    return readFileSync(BOOT_ID_FILE, "latin1").trim();
  } catch {
    return "";
  }
}

/** How the last run on a metadata store ended, and its notes about files by their paths. */
export interface FoundRun {
  lastRun: LastRun;
  files: Map<string, number>;
}

export function readRun(database: Database, bootId: string): FoundRun {
  const hasTable = (name: string) => database.query("SELECT 1 FROM sqlite_master WHERE name = ?").get(name) !== null;
  if (!hasTable("runs") || !hasTable("files")) return { lastRun: "unknown", files: new Map() };
  const rows = database.query("SELECT name, bytes FROM files").all() as { name: string; bytes: number }[];
  const run = database.query("SELECT clean, boot FROM runs").get() as { clean: number; boot: string } | null;
  return { lastRun: endOf(run, bootId), files: new Map(rows.map(({ name, bytes }) => [name, bytes])) };
}

function endOf(run: { clean: number; boot: string } | null, bootId: string): LastRun {
  if (run === null) return "unknown";
  if (run.clean === 1) return "clean";
  if (run.boot === "" || bootId === "") return "unknown";
  return run.boot === bootId ? "killed" : "power cut";
}

/** The part of the metadata store that says how a run ended, and what it knows of files that nothing else speaks of. */
export class RunRecord {
  constructor(
    private readonly database: Database,
    private readonly ballast: Ballast,
    private readonly bootId: string,
    private readonly syncedProgress: SyncedProgress,
    /** Called as a part of a transaction when the power was cut, or may have been. */
    private readonly noteCut: () => void,
  ) {}

  /**
   * Begins a run, durably: from here on the run before has ended, and this one has not.
   *
   * @param current the store is as the last run left it; a store that was restored from a backup knows less than the files show
   * @param failed called when a note cannot be saved
   */
  begin(current: boolean, failed: (error: Error) => void): FileNotes {
    const { lastRun, files } = readRun(this.database, this.bootId);
    if (!current) {
      files.clear();
      this.ballast.use(() => this.database.run("DELETE FROM files"));
    }
    const lastRunOf = current || lastRun === "power cut" ? lastRun : "unknown";
    // Before the end of the last run is forgotten: a kill of this one must not make the rows count that a power cut made void.
    this.database.transaction(() => {
      if (lastRunOf === "clean") this.syncedProgress.dropAll();
      else if (lastRunOf !== "killed") {
        this.syncedProgress.restore();
        this.noteCut();
      }
    })();
    this.save(false);
    const save = (name: string, bytes: number | undefined) => {
      try {
        this.saveNote(name, bytes);
        return true;
      } catch (error) {
        failed(error as Error);
        return false;
      }
    };
    return new FileNotes(lastRunOf, files, save);
  }

  /** Records, durably, that everything is saved and synced. */
  end(): void {
    this.save(true);
  }

  private save(clean: boolean): void {
    const { database, ballast, bootId } = this;
    database.run("PRAGMA synchronous = FULL");
    try {
      const insert = database.query("INSERT OR REPLACE INTO runs (id, clean, boot) VALUES (1, ?, ?)");
      ballast.use(() => insert.run(clean ? 1 : 0, bootId));
    } finally {
      database.run("PRAGMA synchronous = NORMAL");
    }
  }

  private saveNote(name: string, bytes: number | undefined): void {
    const { database, ballast } = this;
    if (bytes === undefined) ballast.use(() => database.query("DELETE FROM files WHERE name = ?").run(name));
    else ballast.use(() => database.query("INSERT OR REPLACE INTO files (name, bytes) VALUES (?, ?)").run(name, bytes));
  }
}
