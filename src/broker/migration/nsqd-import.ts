import { accessSync, constants, existsSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { systemClock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { StartError } from "../../base/start-error.ts";
import { isNsqdDataPath } from "../../nsqd-data/data-path.ts";
import { openBroker } from "../broker.ts";
import type { BrokerOptions } from "../options.ts";
import { DamageLog } from "../storage/damage-log.ts";
import { DATA_FOLDER } from "../storage/data-path.ts";
import { DeferredStore } from "../storage/deferred/deferred-store.ts";
import { NO_BALLAST } from "../storage/disk/ballast.ts";
import { removeIfThere, systemDisk } from "../storage/disk/disk.ts";
import { OverlayDisk } from "../storage/disk/overlay-disk.ts";
import { Recycler } from "../storage/log/recycler.ts";
import { ImportState } from "../storage/metadata/import-state.ts";
import { METADATA_FILE, MetadataBackup, restoreMetadata } from "../storage/metadata/metadata-backup.ts";
import { MetadataStore } from "../storage/metadata/metadata-store.ts";
import { readBootId } from "../storage/metadata/run-record.ts";
import { MergeWindow } from "./merge-window.ts";
import { moveNsqdFiles, newImportedFolder, nsqdFiles } from "./nsqd-files.ts";
import { Pace } from "./pace.ts";
import { type NsqdSource, readNsqdSource } from "./source.ts";
import { TopicImport } from "./topic-import.ts";

/** A file of this name in the broker's folder: an import of nsqd's data is not finished. */
const IMPORT_MARK = "nsqd-import";
/** The metadata store's name for the data path itself. */
const IN_PLACE = "";
/** Log lines about damage. What is wrong with a million places is not said a million times. */
const MOST_PROBLEMS = 100;
/** The broker that puts an earlier one's data in order does not know its flags, and must not remove what these keep. */
const KEEP_MS = 10 * 365 * 24 * 3_600_000;
/** A recycled file is only taken, so that none is added: what is there may stay. */
const NO_LIMIT = Number.MAX_SAFE_INTEGER;

const TUNING: ImportTuning = { windowBytes: 16 * 1024 * 1024, checkpointMs: 5000 };

/** How much is done between two looks at other things. Tests make it little. */
interface ImportTuning {
  /** Bytes of messages that are put in order together. */
  windowBytes: number;
  /** Time between two checkpoints. */
  checkpointMs: number;
}

/** What an import did. */
export interface ImportResult {
  topics: number;
  channels: number;
  /** Each counts once, however many channels have it. */
  messages: number;
  problems: number;
  /** Where nsqd's files are now. */
  folder: string;
}

export interface ImportOptions {
  /** The folder with nsqd's files. Default: the data path itself. */
  source?: string;
  tuning?: Partial<ImportTuning>;
  /** Called each time the event loop gets its turn, with the function that stops the import. */
  onBreath?: (stop: () => void) => void;
}

/** Whether an import into a data path has begun and is not finished. */
export function hasUnfinishedImport(dataPath: string): boolean {
  return existsSync(join(dataPath, DATA_FOLDER, IMPORT_MARK));
}

/** Refuses a data path into which an import has not finished: it has a part of the messages. @throws StartError */
export function refuseUnfinishedImport(dataPath: string): void {
  if (!hasUnfinishedImport(dataPath)) return;
  throw new StartError(
    `an import of nsqd's data into ${dataPath} is not finished; start bunsq without --ignore-nsqd-data, or bunsq import again, to finish it`,
  );
}

/** An import that goes on, and the function that interrupts it. */
export interface RunningImport {
  /** Undefined if there is nothing to import. */
  readonly result: Promise<ImportResult | undefined>;
  /** Resolves when the import has stopped. The next one goes on from there. */
  stop(): Promise<void>;
}

/**
 * Takes the data of Go's nsqd into a data path: topics, channels, pauses, and every message that is on the disk. Afterwards nsqd's
 * files are in a folder of their own. An import that was stopped or killed is continued by the next one.
 *
 * The caller holds the locks of both folders, and no broker has the data path open.
 */
export function startImport(options: BrokerOptions, logger: Logger, how: ImportOptions = {}): RunningImport {
  const run = new NsqdImport(options, logger, how);
  const result = run.run();
  const ended = result.then(
    () => {},
    () => {},
  );
  return {
    result,
    stop: () => {
      run.pace.stop();
      return ended;
    },
  };
}

class NsqdImport {
  readonly pace: Pace;
  private readonly directory: string;
  private readonly folder: string;
  /** As the metadata store has it. */
  private readonly source: string;
  private readonly result: ImportResult = { topics: 0, channels: 0, messages: 0, problems: 0, folder: "" };
  private read = 0;
  private written = 0;
  private topic = "";

  constructor(
    private readonly options: BrokerOptions,
    private readonly logger: Logger,
    private readonly how: ImportOptions,
  ) {
    const dataPath = resolve(options.dataPath);
    this.directory = join(dataPath, DATA_FOLDER);
    this.folder = how.source === undefined ? dataPath : resolve(how.source);
    this.source = this.folder === dataPath ? IN_PLACE : this.folder;
    this.pace = new Pace(
      logger,
      () => this.progress,
      () => how.onBreath?.(() => this.pace.stop()),
    );
  }

  async run(): Promise<ImportResult | undefined> {
    const { options, directory, folder } = this;
    const resumed = hasUnfinishedImport(options.dataPath);
    try {
      if (!resumed && !isNsqdDataPath(folder)) return undefined;
      accessSync(folder, constants.W_OK);
      if (!resumed) await this.prepare();
      const found = restoreMetadata(systemDisk, directory, new DamageLog(this.logger), readBootId());
      if (resumed && (found === "restored" || found === "lost")) {
        throw new StartError(
          `the metadata store in ${directory} was damaged while nsqd's data was imported; nsqd's files are whole. Remove ${directory} ` +
            "if it has nothing else, or put a backup of it in its place, and start again",
        );
      }
      const metadata = new MetadataStore(directory);
      try {
        return await this.importInto(metadata);
      } finally {
        metadata.close();
      }
    } catch (error) {
      if (error instanceof StartError) throw error;
      throw new StartError(`cannot import nsqd's data from ${folder}: ${(error as Error).message}; the next start goes on from here`);
    }
  }

  /** Puts the data of an earlier broker in order, and marks that an import begins. */
  private async prepare(): Promise<void> {
    const { directory } = this;
    if (existsSync(join(directory, METADATA_FILE)) || existsSync(join(directory, "topics"))) {
      // A broker recovers what a kill left: journal, logs and deferred messages.
      const { logger } = this;
      const quiet: Logger = { ...silentLogger, warn: (line) => logger.warn(line), error: (line) => logger.error(line) };
      const dataPath = resolve(this.options.dataPath);
      await openBroker({ ...this.options, dataPath, retentionTimeMs: KEEP_MS, idempotencyWindowMs: KEEP_MS }, quiet).close();
    }
    systemDisk.makeDirectory(join(directory, "topics"));
    writeFileSync(join(directory, IMPORT_MARK), "", { mode: 0o600 });
    systemDisk.syncDirectoryNow(directory);
    systemDisk.syncDirectoryNow(resolve(this.options.dataPath));
  }

  private async importInto(metadata: MetadataStore): Promise<ImportResult> {
    const { directory, folder, logger, result } = this;
    const state = metadata.part(ImportState);
    if (state.row === undefined && !isNsqdDataPath(folder)) {
      // A kill came right before the mark was to be removed, or right after it was made and before anything was imported.
      removeIfThere(systemDisk, join(directory, IMPORT_MARK));
      logger.info("NSQD DATA: an earlier import is finished");
      return result;
    }
    const row = state.row ?? { source: this.source, stage: "copying" as const, folder: "" };
    if (row.source !== this.source) {
      throw new StartError(
        row.source === IN_PLACE
          ? `an import of nsqd's data in ${resolve(this.options.dataPath)} itself is not finished; start bunsq on it first`
          : `an import of nsqd's data from ${row.source} is not finished; finish it with bunsq import first`,
      );
    }
    const began = performance.now();
    if (row.stage === "copying") {
      state.save(row);
      await this.copy(metadata, state);
      await new MetadataBackup({ store: metadata, directory, disk: systemDisk, clock: systemClock, logger }).renew(0);
      row.stage = "moving";
      row.folder = newImportedFolder(folder);
      state.save(row);
    }
    moveNsqdFiles(folder, row.folder);
    for (const { baseSequence, nextSequence } of state.topics()) result.messages += nextSequence - baseSequence;
    state.clear();
    // From here on the store is newer than its backup, and both say that there is no import.
    await new MetadataBackup({ store: metadata, directory, disk: systemDisk, clock: systemClock, logger }).renew(0);
    removeIfThere(systemDisk, join(directory, IMPORT_MARK));
    systemDisk.syncDirectoryNow(directory);
    result.folder = join(folder, row.folder);
    const { topics, channels, messages, problems } = result;
    logger.info(
      `NSQD DATA: imported ${topics} topics, ${channels} channels and ${messages} messages in ` +
        `${((performance.now() - began) / 1000).toFixed(1)} s, ${problems} problems; nsqd's files are in ${result.folder}`,
    );
    return result;
  }

  private async copy(metadata: MetadataStore, state: ImportState): Promise<void> {
    const { directory, result, logger } = this;
    const source = readNsqdSource(this.folder);
    const channels = source.topics.reduce((sum, topic) => sum + topic.channels.size, 0);
    logger.info(
      `NSQD DATA: importing ${source.topics.length} topics, ${channels} channels and ${source.bytes} bytes of messages from ${this.folder}`,
    );
    for (const warning of source.warnings) this.warn(warning);
    this.warnOfSpace(source);
    const known = new Map(metadata.topics().map((topic) => [topic.name, topic]));
    const begun = new Map(state.topics().map((topic) => [topic.topic, topic]));
    const parts = {
      ...{ source, metadata, state, directory, logger, pace: this.pace, options: this.options },
      recycler: new Recycler(systemDisk, join(directory, "recycled"), NO_LIMIT),
      nowMs: systemClock.wallMs(),
      synced: metadata.syncedSequences(),
      held: metadata.heldEntries(),
      nextEntry: this.nextEntry(),
      window: new MergeWindow(this.how.tuning?.windowBytes ?? TUNING.windowBytes),
      checkpointMs: this.how.tuning?.checkpointMs ?? TUNING.checkpointMs,
      onRead: (count: number) => {
        this.read += count;
      },
      onWritten: (count: number) => {
        this.written += count;
      },
      onProblem: (text: string) => this.warn(text),
    };
    for (const topic of source.topics) {
      this.topic = topic.name;
      result.topics++;
      result.channels += topic.channels.size;
      if (begun.get(topic.name)?.phase === "done") continue;
      await TopicImport.run(parts, topic, known.get(topic.name), begun.get(topic.name));
      await this.pace.breathe();
    }
    metadata.numbers.freeOrphaned();
  }

  /** A number above those of all entries in the deferred store. */
  private nextEntry(): number {
    const directory = join(this.directory, "deferred");
    const disk = new OverlayDisk(systemDisk);
    const clock = { currentMs: systemClock.wallMs };
    const store = new DeferredStore({ directory, disk, logger: silentLogger, ballast: NO_BALLAST, clock });
    store.recover(
      () => false,
      () => {},
    );
    return store.nextNumber;
  }

  private warnOfSpace({ bytes }: NsqdSource): void {
    const { freeBytes } = systemDisk.space(this.directory);
    if (freeBytes < bytes) {
      this.warn(
        `the disk of ${this.directory} has ${freeBytes} bytes left for up to ${bytes} bytes of messages; nsqd's files are only moved, so both need room`,
      );
    }
  }

  private warn(text: string): void {
    const count = ++this.result.problems;
    if (count <= MOST_PROBLEMS) this.logger.warn(`NSQD DATA: ${text}`);
    if (count === MOST_PROBLEMS) this.logger.warn("NSQD DATA: further problems are counted, but not shown");
  }

  private get progress(): string {
    return `NSQD DATA: topic ${this.result.topics} (${this.topic}), ${this.read} messages read and ${this.written} written`;
  }
}

const silentLogger: Logger = { level: "error", debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, fatal: () => {} };

/** One sentence about the files of nsqd in a data path; undefined if there are none. */
export function describeNsqdData(dataPath: string): string | undefined {
  if (!isNsqdDataPath(dataPath)) return undefined;
  const { topics, bytes } = readNsqdSource(dataPath);
  return `${dataPath} has ${nsqdFiles(dataPath).length} files of nsqd with ${topics.length} topics and ${bytes} bytes of messages`;
}
