import { Database } from "bun:sqlite";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { StartError } from "../../base/start-error.ts";
import { topicNumberOf } from "../../frame/id.ts";
import { openBroker } from "../broker.ts";
import { lockExclusively } from "../exclusive-data-path.ts";
import { FolderLock } from "../folder-lock.ts";
import { describeNsqdData, hasUnfinishedImport, refuseUnfinishedImport } from "../migration/nsqd-import.ts";
import type { BrokerOptions } from "../options.ts";
import { lostBeginning } from "../recovery/lost-messages.ts";
import { setMisplacedAside } from "../recovery/misplaced.ts";
import { DamageLog } from "../storage/damage-log.ts";
import { DATA_FOLDER } from "../storage/data-path.ts";
import { DeferredStore } from "../storage/deferred/deferred-store.ts";
import { KIND_PUBLISH } from "../storage/deferred/entry.ts";
import { NO_BALLAST } from "../storage/disk/ballast.ts";
import { type Disk, systemDisk } from "../storage/disk/disk.ts";
import { OverlayDisk } from "../storage/disk/overlay-disk.ts";
import { SET_ASIDE_NAME } from "../storage/disk/set-aside.ts";
import { UnreadableFile } from "../storage/disk/unreadable-file.ts";
import { FileNotes, type LastRun } from "../storage/file-notes.ts";
import { KeyStore } from "../storage/idempotency/key-store.ts";
import { keptCommitPath } from "../storage/log/damaged-commit.ts";
import { deletedFolders, isMarkedDeleted } from "../storage/log/deleted-folder.ts";
import { JOURNAL_FILE } from "../storage/log/journal.ts";
import { type FoundJournal, journalDamage, noJournal, readJournal, replayJournal } from "../storage/log/journal-reader.ts";
import { recoverSegments } from "../storage/log/log-recovery.ts";
import type { Segment } from "../storage/log/segment.ts";
import { damagedTopicFile, readTopicFile } from "../storage/log/topic-file.ts";
import {
  BACKUP_FILE,
  foldersBeside,
  inspectMetadata,
  judgeStore,
  METADATA_FILE,
  type TopicFolder,
  topicFolders,
} from "../storage/metadata/metadata-backup.ts";

import { parsePartitionName } from "../storage/metadata/partition-name.ts";
import { readChannels, readTopics } from "../storage/metadata/rows.ts";
import { readBootId, readRun } from "../storage/metadata/run-record.ts";
import { checkTraces } from "../trace/trace-check.ts";
import { checkSettings, type SettingsReport } from "./check-settings.ts";

/** What the metadata store or its copy says about a topic's log. */
interface KnownLog {
  id: number;
  /** The beginning of its ids. Where other brokers had it before, the number in it is not the folder's. */
  prefix: number | undefined;
  /** A topic had its number before. */
  isReused: boolean;
  neededSequence: number;
  /** No row is damaged, so channels need nothing before that. */
  isExact: boolean;
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
  let lock = lockStopped(directory);
  if (repair) {
    lock.release();
    print("repairing:");
    const broker = openBroker(options, report, { isReplicated: true });
    for (const { log } of broker.registry.partitions) log.files?.reader.keepDamaged();
    await broker.recycler.folders.done();
    await broker.close();
    print("after the repair:");
    lock = lockStopped(directory);
  }
  try {
    checkFiles(directory, report);
  } finally {
    lock.release();
  }
  print(verdict(report.damaged, repair));
  return !report.damaged;
}

function checkFiles(directory: string, report: Report): void {
  const { print } = report;
  const overlay = new OverlayDisk(systemDisk);
  const damage = new DamageLog(report);
  setMisplacedAside(overlay, directory, damage);
  const { known, notes } = checkStore(directory, overlay, report);
  let journal = noJournal();
  report.ifReadable(() => {
    journal = readJournal(overlay, join(directory, JOURNAL_FILE), notes.bytesOf(JOURNAL_FILE) !== undefined);
  });
  let folders: TopicFolder[] = [];
  report.ifReadable(() => {
    folders = topicFolders(overlay, directory);
  });
  const names = new Map<number, string>();
  for (const { folder, number, name } of folders) {
    report.ifReadable(() => {
      const row = known.get(`${number}-${name}`);
      if (isMarkedDeleted(overlay, folder, row?.isReused === true))
        return print(`topic ${name}: deleted; the next start removes the rest of its files`);
      const damaged = damagedTopicFile(overlay, folder, notes.lastRun);
      if (damaged !== undefined) damage.report("metadata", `TOPIC(${name}): ${damaged} is damaged; a start makes a new one`);
      const inFolder = readTopicFile(overlay, folder, number, name);
      const id = inFolder?.id ?? row?.id ?? 0;
      const prefix = row?.prefix ?? inFolder?.prefix;
      names.set(journal.byNumber ? number : id, name);
      const next = checkTopic(
        overlay,
        folder,
        prefix === undefined ? number : topicNumberOf(prefix),
        name,
        row?.id === id ? row : undefined,
        notes.lastRun,
        report,
      );
      let restored = 0;
      replayJournal(journal.contents.of(id, number), next, (_records, _sequence, count) => (restored += count));
      if (restored > 0) print(`  ${restored} more messages in the journal; the next start writes them to the log`);
    });
  }
  report.ifReadable(() => {
    for (const { path } of deletedFolders(overlay, directory))
      print(`${path}: a deleted topic's; the next start removes the rest of its files`);
  });
  for (const [log, { neededSequence, syncedSequence = 0 }] of known) {
    if (syncedSequence > neededSequence && !folders.some(({ number, name }) => `${number}-${name}` === log))
      report.error(`the folder of topic number ${log} is missing, and with it messages up to ${syncedSequence - 1}`);
  }
  checkJournal(join(directory, JOURNAL_FILE), journal, names, notes, damage);
  checkDeferred(join(directory, "deferred"), overlay, notes, damage, report);
  report.ifReadable(() => checkKeys(join(directory, "keys"), overlay, notes, damage, report));
  report.ifReadable(() => {
    const { files, bytes, records, problems } = checkTraces(overlay, join(directory, "trace"));
    if (files > 0) print(`traces: ${records} records in ${files} files, ${bytes} bytes`);
    for (const problem of problems) report.warn(problem);
  });
  for (const path of unusedFiles(directory)) print(`kept, but not used: ${path} (${statSync(path).size} bytes)`);
}

function checkJournal(path: string, journal: FoundJournal, names: ReadonlyMap<number, string>, notes: FileNotes, damage: DamageLog): void {
  if (journal.problems.length === 0) return;
  const line = journalDamage(path, journal, (topic) => names.get(topic));
  if (notes.lastRun === "power cut") damage.warn(line);
  else damage.report("journal", line);
}

/** Locks the broker's folder, so that no broker starts meanwhile. @throws StartError when one has it open */
function lockStopped(directory: string): FolderLock {
  const lock = FolderLock.take(directory);
  const running = () => new StartError(`${directory} is in use by a running broker; stop it first`);
  if (lock === "in use") throw running();
  // Where directories cannot be locked, the store's own lock tells, and also a broker of an older version.
  if (inspectMetadata(join(directory, METADATA_FILE)) !== "locked") return lock;
  lock.release();
  throw running();
}

function verdict(damaged: boolean, repair: boolean): string {
  if (!damaged) return "sound";
  return repair
    ? "damage was found; what can be repaired was repaired, and damaged messages are skipped when they are read"
    : "damage was found; the next start of a broker, or --repair, repairs what can be repaired; the rest is skipped";
}

/** What the metadata store, or the backup that would replace it, says about the files. */
interface Known {
  /** By number and name of the topic. */
  known: Map<string, KnownLog>;
  notes: FileNotes;
}

/** Checks the metadata store and its backup. */
function checkStore(directory: string, disk: Disk, report: Report): Known {
  const path = join(directory, METADATA_FILE);
  const copy = join(directory, "topics", BACKUP_FILE);
  const { state, backup, backupProblem } = judgeStore(disk, directory, readBootId());
  const folders = foldersBeside(path);
  for (const folder of folders) report.error(`${folder} is a folder where a file belongs; a start sets it aside`);
  if (state === "sound" && folders.length === 0) {
    const { known, topics, channels, damaged, settings, notes } = readKnown(path);
    report.print(`store: ${damaged.length === 0 ? "sound" : "damaged"}; ${topics} topics, ${channels} channels`);
    for (const row of damaged) report.error(`the row of ${row} in ${path} is damaged`);
    for (const problem of settings.damage) report.error(problem);
    for (const leftover of settings.leftovers) report.warn(leftover);
    if (backupProblem !== undefined) report.error(`${backupProblem}; a start makes a new one`);
    return { known, notes };
  }
  const what = state === "missing" || state === "outdated" ? state : `damaged (${typeof state === "object" ? state.damage : state})`;
  report.print(`store: ${what}`);
  if (backup !== undefined && !(backup instanceof Error)) {
    const lost = state === "outdated" ? "older than its copy: it has lost its last changes" : what;
    report.error(`${path} is ${lost}; its copy would replace it`);
    return { known: readKnown(copy).known, notes: new FileNotes() };
  }
  report.error(`${path} is ${what}, and there is no copy of it; topics would be taken from their folders`);
  return { known: new Map(), notes: new FileNotes() };
}

function readKnown(path: string): Known & { topics: number; channels: number; damaged: string[]; settings: SettingsReport } {
  const database = new Database(path, { strict: true, readwrite: true, create: false });
  try {
    const hasTable = (name: string) => database.query("SELECT 1 FROM sqlite_master WHERE name = ?").get(name) !== null;
    const floors = hasTable("synced_progress")
      ? "min(floor, coalesce((SELECT floor FROM synced_progress WHERE channel_id = channels.id), floor))"
      : "floor";
    const hasPrefix = database.query("SELECT 1 FROM pragma_table_info('topics') WHERE name = 'prefix'").get() !== null;
    const rows = database
      .query(
        `SELECT id, number, name, ${hasPrefix ? "prefix" : "NULL"} AS prefix, EXISTS (SELECT 1 FROM numbers WHERE number = topics.number AND next_sequence > 0) AS reused,
           min(released, coalesce((SELECT min(${floors}) FROM channels WHERE topic_id = topics.id), released)) AS needed,
           ${hasTable("synced") ? "(SELECT sequence FROM synced WHERE topic_id = topics.id)" : "NULL"} AS synced
         FROM topics`,
      )
      .all() as {
      id: number;
      number: number;
      name: string;
      prefix: number | null;
      reused: number;
      needed: number;
      synced: number | null;
    }[];
    // A channel has a row for each partition here, and the names of these differ behind the @.
    const { channels } = database
      .query(
        `SELECT count(DISTINCT substr(topics.name || '@', 1, instr(topics.name || '@', '@')) || channels.name) AS channels
         FROM channels JOIN topics ON topics.id = channels.topic_id`,
      )
      .get() as { channels: number };
    const damaged = damagedRows(database);
    const isExact = damaged.length === 0;
    const known = new Map(
      rows.map(({ id, number, name, prefix, reused, needed, synced }) => [
        `${number}-${name}`,
        { id, prefix: prefix ?? undefined, isReused: reused === 1, neededSequence: needed, isExact, syncedSequence: synced ?? undefined },
      ]),
    );
    const { lastRun, files } = readRun(database, readBootId());
    const topics = new Set(rows.map(({ name }) => parsePartitionName(name).topic)).size;
    return { known, topics, channels, damaged, settings: checkSettings(database), notes: new FileNotes(lastRun, files) };
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
  lastRun: LastRun,
  report: Report,
): number {
  const { topic, index } = parsePartitionName(topicName);
  report.print(index === 0 ? `topic ${topic}:` : `topic ${topic}, partition ${index}:`);
  if (known === undefined) report.error(`TOPIC(${topicName}): the store does not know it; it would be taken from its folder`);
  let regions = 0;
  const onCorrupt = () => regions++;
  const segments = recoverSegments({ disk, directory, topicNumber, topicName, logger: report, onCorrupt, lastRun, ...known });
  let bytes = 0;
  for (const segment of segments) {
    bytes += segment.length;
    regions += damagedCommits(segment, report);
    segment.close();
  }
  const first = segments[0];
  const next = segments[segments.length - 1]?.nextSequence ?? 0;
  const end = Math.max(next, known?.neededSequence ?? 0);
  const late = first !== undefined && known?.isExact === true && regions === 0;
  const missing = late ? lostBeginning(lastRun, topicName, known.neededSequence, first.baseSequence, next) : undefined;
  if (missing !== undefined) report.error(missing);
  const lost = (known?.syncedSequence ?? 0) - end;
  if (lost > 0) report.error(`TOPIC(${topicName}): its log ends before sequence ${end}, but ${lost} more messages were on the disk`);
  const messages = segments.reduce((sum, { baseSequence, nextSequence }) => sum + nextSequence - baseSequence, 0);
  const range = first === undefined || messages === 0 ? "" : `, sequences ${first.baseSequence} to ${next - 1}`;
  report.print(`  ${segments.length} segments, ${messages} messages${range}, ${bytes} bytes, ${regions} damaged regions`);
  return end;
}

function damagedCommits(segment: Segment, report: Report): number {
  let damaged = 0;
  for (let number = 0; number < segment.entries; number++) {
    const entry = segment.entryAt(number);
    if (entry.count === 0 || segment.verify(entry)) continue;
    const kept = keptCommitPath(segment.logPath, entry);
    if (existsSync(kept)) {
      report.print(`  ${entry.count} messages from sequence ${entry.firstSequence} on are known to be damaged and are skipped`);
      continue;
    }
    damaged++;
    report.error(
      `${entry.count} messages from sequence ${entry.firstSequence} on are damaged in ${segment.logPath} at byte ${entry.offset}; they are skipped`,
    );
  }
  return damaged;
}

function checkDeferred(directory: string, disk: Disk, notes: FileNotes, damage: DamageLog, report: Report): void {
  let publishes = 0;
  let requeues = 0;
  const store = new DeferredStore({
    ...{ directory, disk, logger: report, ballast: NO_BALLAST, clock: { currentMs: systemClock.wallMs } },
    ...{ notes, damage, keepDamage: false },
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

function checkKeys(directory: string, disk: Disk, notes: FileNotes, damage: DamageLog, report: Report): void {
  const keys = new KeyStore({
    ...{ directory, disk, logger: report, windowMs: Number.POSITIVE_INFINITY, limit: Number.POSITIVE_INFINITY },
    ...{ notes, damage, keepDamage: false },
  });
  // None is kept, so nothing is written.
  keys.recover(systemClock.wallMs(), () => false);
}

function unusedFiles(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => SET_ASIDE_NAME.test(name) || /(^|\/)damaged-\d{5}-/.test(name))
    .map((name) => join(directory, name));
}
