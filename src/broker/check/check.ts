import { Database } from "bun:sqlite";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { StartError } from "../../base/start-error.ts";
import { openBroker } from "../broker.ts";
import { lockExclusively } from "../exclusive-data-path.ts";
import { describeNsqdData, hasUnfinishedImport, refuseUnfinishedImport } from "../migration/nsqd-import.ts";
import type { BrokerOptions } from "../options.ts";
import { DATA_FOLDER } from "../storage/data-path.ts";
import { DeferredStore } from "../storage/deferred/deferred-store.ts";
import { KIND_PUBLISH } from "../storage/deferred/entry.ts";
import { NO_BALLAST } from "../storage/disk/ballast.ts";
import { type Disk, systemDisk } from "../storage/disk/disk.ts";
import { OverlayDisk } from "../storage/disk/overlay-disk.ts";
import { UnreadableFile } from "../storage/disk/unreadable-file.ts";
import { deletedFolders, isMarkedDeleted } from "../storage/log/deleted-folder.ts";
import { JOURNAL_FILE, JournalContents, readJournal, replayJournal } from "../storage/log/journal.ts";
import { recoverSegments } from "../storage/log/log-recovery.ts";
import type { Segment } from "../storage/log/segment.ts";
import { readTopicFile } from "../storage/log/topic-file.ts";
import {
  BACKUP_FILE,
  inspectBackup,
  inspectMetadata,
  METADATA_FILE,
  type TopicFolder,
  topicFolders,
} from "../storage/metadata/metadata-backup.ts";
import { readChannels, readTopics } from "../storage/metadata/rows.ts";

/** What the metadata store or its copy says about a topic's log. */
interface KnownLog {
  id: number;
  /** A topic had its number before. */
  isReused: boolean;
  neededSequence: number;
  syncedSequence: number | undefined;
}

/** The lines of a check. Warnings and errors that recovery logs are among them; an error means damage. */
class Report implements Logger {
  level = "info" as const;
  damaged = false;

  constructor(readonly print: (line: string) => void) {}

  debug(): void {}
  info(): void {}

  warn(line: string): void {
    this.print(`  WARNING: ${line}`);
  }

  error(line: string): void {
    this.damaged = true;
    this.print(`  ERROR: ${line}`);
  }

  fatal(line: string): void {
    this.error(line);
  }

  /** Does a part of the check. Where a file cannot be read, it is named, and the other parts go on. */
  ifReadable(part: () => void): void {
    try {
      part();
    } catch (error) {
      if (!(error instanceof UnreadableFile)) throw error;
      this.error(`${error.message}; what is in it is not checked`);
    }
  }
}

/**
 * Checks the data path of a stopped broker: every checksum of every log, the deferred messages and the metadata store.
 *
 * The check runs the same code as a broker at its start, but on a disk that keeps all changes in memory, so it changes no
 * file. With `repair`, a broker is started and stopped before, which repairs the files.
 *
 * @param print called with each line of the report
 * @returns true if there is no damage, and `repair` found none either
 * @throws StartError when the path cannot be checked: a broker has it open, it has no data, or a newer version wrote it
 */
export async function checkDataPath(options: BrokerOptions, repair: boolean, print: (line: string) => void): Promise<boolean> {
  const { dataPath } = options;
  const report = new Report(print);
  const nsqdData = describeNsqdData(dataPath);
  if (!existsSync(join(dataPath, DATA_FOLDER))) {
    const hint = nsqdData === undefined ? "" : `, but ${nsqdData}: a broker imports them when it starts`;
    throw new StartError(`there is no ${DATA_FOLDER} in ${dataPath}${hint}`);
  }
  const unlock = lockExclusively(dataPath, report);
  try {
    if (repair) refuseUnfinishedImport(dataPath);
    else if (hasUnfinishedImport(dataPath))
      report.warn(`an import of nsqd's data into ${dataPath} is not finished; the next start goes on with it`);
    if (nsqdData !== undefined) print(`${nsqdData}; they are not checked, and the next start of a broker imports them`);
    return await checkLocked(options, repair, report);
  } finally {
    unlock();
  }
}

/** @returns true if there is no damage, and `repair` found none either @throws StartError */
async function checkLocked(options: BrokerOptions, repair: boolean, report: Report): Promise<boolean> {
  const { print } = report;
  const directory = join(options.dataPath, DATA_FOLDER);
  const store = inspectMetadata(join(directory, METADATA_FILE));
  if (store === "locked") throw new StartError(`${directory} is in use by a running broker; stop it first`);
  if (repair) {
    print("repairing:");
    const broker = openBroker(options, report);
    await broker.close();
    print("after the repair:");
  }
  const known = checkStore(directory, report);
  const overlay = new OverlayDisk(systemDisk);
  let journaled = new JournalContents();
  report.ifReadable(() => {
    journaled = readJournal(overlay, join(directory, JOURNAL_FILE));
  });
  let folders: TopicFolder[] = [];
  report.ifReadable(() => {
    folders = topicFolders(overlay, directory);
  });
  for (const { folder, number, name } of folders) {
    report.ifReadable(() => {
      const row = known.get(`${number}-${name}`);
      if (isMarkedDeleted(overlay, folder, row?.isReused === true))
        return print(`topic ${name}: deleted; the next start removes the rest of its files`);
      const id = readTopicFile(overlay, folder, number, name)?.id ?? row?.id ?? 0;
      const next = checkTopic(overlay, folder, number, name, row?.id === id ? row : undefined, report);
      let restored = 0;
      replayJournal(journaled.of(id, number), next, (_records, _sequence, count) => (restored += count));
      if (restored > 0) print(`  ${restored} more messages in the journal; the next start writes them to the log`);
    });
  }
  report.ifReadable(() => {
    for (const { path } of deletedFolders(overlay, directory))
      print(`${path}: a deleted topic's; the next start removes the rest of its files`);
  });
  checkDeferred(join(directory, "deferred"), overlay, report);
  for (const path of unusedFiles(directory)) print(`kept, but not used: ${path} (${statSync(path).size} bytes)`);
  print(verdict(report.damaged, repair));
  return !report.damaged;
}

function verdict(damaged: boolean, repair: boolean): string {
  if (!damaged) return "sound";
  return repair
    ? "damage was found; what can be repaired was repaired, and damaged messages are skipped when they are read"
    : "damage was found; the next start of a broker, or --repair, repairs what can be repaired; the rest is skipped";
}

/** Checks the metadata store and its copy. @returns what they say about each log, by its number and name */
function checkStore(directory: string, report: Report): Map<string, KnownLog> {
  const path = join(directory, METADATA_FILE);
  const copy = join(directory, "topics", BACKUP_FILE);
  const state = inspectMetadata(path);
  const copyState = inspectBackup(systemDisk, copy);
  if (state === "sound") {
    const { known, topics, channels, damaged } = readKnown(path);
    report.print(`store: ${damaged.length === 0 ? "sound" : "damaged"}; ${topics} topics, ${channels} channels`);
    for (const row of damaged) report.error(`the row of ${row} in ${path} is damaged`);
    if (typeof copyState === "object") report.warn(`its copy ${copy} is damaged (${copyState.damage}); a running broker renews it`);
    return known;
  }
  const what = state === "missing" ? "missing" : `damaged (${typeof state === "object" ? state.damage : state})`;
  report.print(`store: ${what}`);
  if (copyState === "sound") {
    report.error(`${path} is ${what}; its copy would replace it`);
    return readKnown(copy).known;
  }
  report.error(`${path} is ${what}, and there is no copy of it; topics would be taken from their folders`);
  return new Map();
}

function readKnown(path: string): { known: Map<string, KnownLog>; topics: number; channels: number; damaged: string[] } {
  const database = new Database(path, { strict: true, readwrite: true, create: false });
  try {
    const hasSynced = database.query("SELECT 1 FROM sqlite_master WHERE name = 'synced'").get() !== null;
    const rows = database
      .query(
        `SELECT id, number, name, EXISTS (SELECT 1 FROM numbers WHERE number = topics.number AND next_sequence > 0) AS reused,
           min(released, coalesce((SELECT min(floor) FROM channels WHERE topic_id = topics.id), released)) AS needed,
           ${hasSynced ? "(SELECT sequence FROM synced WHERE topic_id = topics.id)" : "NULL"} AS synced
         FROM topics`,
      )
      .all() as { id: number; number: number; name: string; reused: number; needed: number; synced: number | null }[];
    const { channels } = database.query("SELECT count(*) AS channels FROM channels").get() as { channels: number };
    const known = new Map(
      rows.map(({ id, number, name, reused, needed, synced }) => [
        `${number}-${name}`,
        { id, isReused: reused === 1, neededSequence: needed, syncedSequence: synced ?? undefined },
      ]),
    );
    return { known, topics: rows.length, channels, damaged: damagedRows(database) };
  } finally {
    database.close(true);
  }
}

function damagedRows(database: Database): string[] {
  const sealed = database.query("SELECT 1 FROM pragma_table_info('channels') WHERE name = 'seal'").get() !== null;
  if (!sealed) return [];
  return readTopics(database).flatMap((topic) => [
    ...(topic.damaged === true ? [`topic ${topic.name}`] : []),
    ...readChannels(database, topic.id).flatMap(({ name, damaged }) => (damaged === true ? [`channel ${name} of ${topic.name}`] : [])),
  ]);
}

/** @returns the next sequence of the topic's log */
function checkTopic(
  disk: Disk,
  directory: string,
  topicNumber: number,
  topicName: string,
  known: KnownLog | undefined,
  report: Report,
): number {
  report.print(`topic ${topicName}:`);
  if (known === undefined) report.error(`TOPIC(${topicName}): the store does not know it; it would be taken from its folder`);
  let regions = 0;
  const onCorrupt = () => regions++;
  const segments = recoverSegments({ disk, directory, topicNumber, topicName, logger: report, onCorrupt, ...known });
  let bytes = 0;
  for (const segment of segments) {
    bytes += segment.length;
    regions += damagedCommits(segment, report);
    segment.close();
  }
  const first = segments[0];
  const next = segments[segments.length - 1]?.nextSequence ?? 0;
  const lost = Math.min(known?.syncedSequence ?? 0, Number.MAX_SAFE_INTEGER) - next;
  if (known?.syncedSequence !== undefined && lost > 0 && next > 0)
    report.error(`TOPIC(${topicName}): its log ends before sequence ${next}, but ${lost} more messages were on the disk`);
  const messages = segments.reduce((sum, { baseSequence, nextSequence }) => sum + nextSequence - baseSequence, 0);
  const range = first === undefined || messages === 0 ? "" : `, sequences ${first.baseSequence} to ${next - 1}`;
  report.print(`  ${segments.length} segments, ${messages} messages${range}, ${bytes} bytes, ${regions} damaged regions`);
  return Math.max(next, known?.neededSequence ?? 0);
}

function damagedCommits(segment: Segment, report: Report): number {
  let damaged = 0;
  for (let number = 0; number < segment.entries; number++) {
    const entry = segment.entryAt(number);
    if (entry.count === 0 || segment.verify(entry)) continue;
    damaged++;
    report.error(
      `${entry.count} messages from sequence ${entry.firstSequence} on are damaged in ${segment.logPath} at byte ${entry.offset}; they are skipped`,
    );
  }
  return damaged;
}

function checkDeferred(directory: string, disk: Disk, report: Report): void {
  let publishes = 0;
  let requeues = 0;
  const store = new DeferredStore({
    directory,
    disk,
    logger: report,
    ballast: NO_BALLAST,
    clock: { currentMs: systemClock.wallMs },
  });
  store.recover(
    () => false,
    ({ kind }) => {
      if (kind === KIND_PUBLISH) publishes++;
      else requeues++;
    },
  );
  if (store.unrecovered !== undefined) report.error(`${store.unrecovered.message}; what is in it is not checked`);
  report.print(`deferred: ${publishes} messages to be published, ${requeues} requeued or moved here by their channels`);
}

function unusedFiles(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => /\.damaged(-\d+)?$/.test(name) || /(^|\/)damaged-\d{5}-/.test(name))
    .map((name) => join(directory, name));
}
