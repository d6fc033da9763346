import { basename, join } from "node:path";
import type { Logger } from "../../base/logger.ts";
import { TOPIC_NUMBER_LIMIT } from "../../frame/id.ts";
import { isEphemeral, isValidName } from "../../frame/names.ts";
import type { DamageLog } from "../storage/damage-log.ts";
import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import type { Ballast } from "../storage/disk/ballast.ts";
import type { Disk } from "../storage/disk/disk.ts";
import { setAside } from "../storage/disk/set-aside.ts";
import { reading, UnreadableFile } from "../storage/disk/unreadable-file.ts";
import type { FileNotes } from "../storage/file-notes.ts";
import { deletedFolders, isMarkedDeleted, removeDeletedMark, renameDeleted } from "../storage/log/deleted-folder.ts";
import type { Journal } from "../storage/log/journal.ts";
import { replayJournal } from "../storage/log/journal-reader.ts";
import type { LogFiles, LogFilesOptions } from "../storage/log/log-files.ts";
import type { Recycler } from "../storage/log/recycler.ts";
import { isRetaining, type Retention } from "../storage/log/retention.ts";
import { isSegmentFile } from "../storage/log/segment-files.ts";
import { damagedTopicFile, readTopicFile, TOPIC_FILE, type TopicIdentity } from "../storage/log/topic-file.ts";
import { type RestoreResult, type TopicFolder, topicFolders } from "../storage/metadata/metadata-backup.ts";
import type { MetadataStore } from "../storage/metadata/metadata-store.ts";
import { parsePartitionName } from "../storage/metadata/partition-name.ts";
import type { TopicRow } from "../storage/metadata/rows.ts";
import { BACKUP_SEQUENCES } from "../storage/metadata/topic-numbers.ts";
import type { Checkpointer } from "../topics/checkpointer.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import { type TopicRegistry, WITHHOLD_ADOPTED_MS } from "../topics/topic-registry.ts";
import type { Turn } from "../topics/turn.ts";
import { restoreChannel } from "./channel-recovery.ts";
import { JournalRecovery } from "./journal-recovery.ts";
import { lostBeginning, skipLost } from "./lost-messages.ts";
import { MendedRows } from "./mended-rows.ts";
import { type OpenAll, type TopicSource, topicSource } from "./topic-source.ts";

/** A topic's folder, and what its topic file says; undefined: an earlier release made the folder. */
interface FoundFolder extends TopicFolder {
  topic: TopicIdentity | undefined;
  /** Why the topic file could not be read, and it is not known what it says. */
  failure: UnreadableFile | undefined;
}

/** Makes the row of a folder that has none. */
type Claim = (identity: TopicIdentity | undefined) => { id: number; nextSequence: number };

/** What the metadata store has of a topic beside its row. */
interface SavedOfTopic {
  /** Messages below this sequence were on the disk. */
  synced: number | undefined;
  retention: Retention | undefined;
  /** The first entry of the deferred store that the topic holds back for its next channel. */
  heldFrom: number;
}

/** What recovery works with. */
export interface RecoveryParts {
  readonly metadata: MetadataStore;
  readonly deferred: DeferredStore;
  readonly journal: Journal;
  readonly disk: Disk;
  readonly ballast: Ballast;
  readonly recycler: Pick<Recycler, "folders">;
  readonly logger: Logger;
  readonly checkpointer: Checkpointer;
  readonly damage: DamageLog;
  readonly notes: FileNotes;
  readonly turn: Pick<Turn, "queueSync">;
  /** Partitions whose logs have an epoch are replicas. */
  readonly isReplicated: boolean;
}

/** Restores topics and channels of an earlier run, one by one, from the metadata store, the logs and the journal. */
export class TopicRecovery {
  /** Rows of the metadata store are missing, so an entry of the deferred store may be of a topic or channel without a row. */
  rowsLost = false;
  /** What the earlier run left in the journal. */
  private readonly journaled: JournalRecovery;
  private folders: FoundFolder[] = [];
  /** The folder of each topic, by number and name. */
  private folderOf = new Map<string, FoundFolder>();
  /** Ids of topics whose folders are marked as deleted. */
  private deleted = new Set<number | undefined>();
  private synced = new Map<number, number>();
  private retentions = new Map<number, Retention>();
  private held = new Map<number, number>();
  /** Ids of topics that an earlier start made of folders, and whose channels are still awaited. */
  private adopted = new Set<number>();
  private readonly mended: MendedRows;
  /** The names of rows. */
  private readonly rowNames = new Set<string>();
  /** Topics with rows that are not open yet. */
  private readonly unopened = new Set<string>();
  /** What the source that was opened last has added to the registry. */
  private added: TopicPartition[] = [];
  private ended = false;

  /**
   * @param directory the broker's folder below the data path
   * @param found whether the metadata store is as the earlier run left it, or its backup took its place
   */
  constructor(
    private readonly parts: RecoveryParts,
    private readonly registry: TopicRegistry,
    private readonly directory: string,
    private readonly found: RestoreResult,
  ) {
    this.rowsLost = found === "restored" || found === "lost";
    this.journaled = new JournalRecovery(parts, registry);
    this.mended = new MendedRows(parts, registry);
  }

  /** Reads what all topics rest on: the journal, and the names of their folders. @throws UnreadableFile */
  prepare(): void {
    const { disk, metadata } = this.parts;
    this.journaled.read();
    this.deleted = new Set(deletedFolders(disk, this.directory).map(({ topicId }) => topicId));
    this.folders = topicFolders(disk, this.directory).map((folder) => ({ ...folder, topic: undefined, failure: undefined }));
    this.folderOf = new Map(this.folders.map((folder) => [`${folder.number} ${folder.name}`, folder]));
    this.synced = metadata.syncedSequences();
    this.retentions = metadata.retentions();
    this.held = metadata.heldEntries();
    this.adopted = metadata.adoptedTopics();
  }

  /** Reads the topic files of all folders, one at a step. */
  *readTopicFiles(): Generator<void, void> {
    for (const folder of this.folders) {
      try {
        this.readTopicFile(folder);
      } catch (error) {
        // Its topic alone waits.
        if (!(error instanceof UnreadableFile)) throw error;
        folder.failure = error;
      }
      yield;
    }
  }

  private readTopicFile(found: FoundFolder): void {
    const { disk, damage, notes } = this.parts;
    found.topic = readTopicFile(disk, found.folder, found.number, found.name);
    const damaged = found.topic === undefined ? damagedTopicFile(disk, found.folder, notes.lastRun) : undefined;
    if (damaged !== undefined) {
      const kept = reading(damaged, () => setAside(disk, damaged));
      damage.report("metadata", `TOPIC(${found.name}): ${damaged} is damaged; it is kept as ${kept}, and a new one is made`);
    }
    found.failure = undefined;
  }

  /** Reads the topic file of a folder again, if it could not be read so far. @throws UnreadableFile */
  private identify(found: FoundFolder): void {
    if (found.failure !== undefined) this.readTopicFile(found);
  }

  /** All topics are open: what the journal had is in their logs. */
  end(): void {
    if (this.ended) return;
    this.ended = true;
    this.folders = [];
    this.folderOf.clear();
    this.journaled.end();
  }

  /** A topic that has rows in the metadata store. @param read those of its partitions, in the order of their indexes */
  rowSource(read: readonly TopicRow[]): TopicSource {
    const rows = [...read];
    const { topic } = parsePartitionName(read[0].name);
    const ids = read.map(({ id }) => id);
    for (const { name } of read) this.rowNames.add(name);
    this.unopened.add(topic);
    const { mended, unopened } = this;
    const openRow = (row: TopicRow) => this.openRow(row);
    const mend = () => {
      for (const [i, row] of rows.entries())
        if (row.damaged === true) rows[i] = mended.topic(row, this.folders, (folder) => this.identify(folder));
      this.finishDeletionOf(rows);
    };
    return this.source(topic, ids, function* (opened) {
      mend();
      for (const row of rows) {
        opened.push(openRow(row));
        yield;
      }
      unopened.delete(topic);
    });
  }

  /** The topics that have folders, but no rows. To be called when those that have some were tried to open. */
  folderSources(): TopicSource[] {
    if (this.rowsLost) this.parts.metadata.numbers.skipLostSequences(this.found === "lost");
    const found = this.folders.filter(
      ({ name, number }) => !this.registry.isOpen(name, number) && !(this.rowNames.has(name) && this.unopened.has(topicOf(name))),
    );
    return [...Map.groupBy(found, ({ name }) => topicOf(name))].map(([topic, folders]) => {
      const claims = folders.map((folder) => this.claimOf(folder));
      const ids = folders.map((folder) => folder.topic?.id ?? 0);
      const { unopened } = this;
      const openFolder = (folder: FoundFolder, claim: Claim) => this.openFolder(folder, claim);
      return this.source(topic, ids, function* (opened) {
        // Its channels are not known yet.
        if (unopened.has(topic)) throw new Error(`topic ${topic} is not open yet`);
        for (const [i, folder] of folders.entries()) {
          opened.push(openFolder(folder, claims[i]));
          yield;
        }
      });
    });
  }

  /** Makes the row of a folder, once. */
  private claimOf({ number, name }: FoundFolder): Claim {
    let claimed: ReturnType<Claim> | undefined;
    return (identity) => {
      claimed ??= this.parts.metadata.claimTopic(number, name, identity);
      return claimed;
    };
  }

  private source(name: string, ids: readonly number[], openAll: OpenAll): TopicSource {
    return topicSource(
      { name, ids },
      openAll,
      (added) => {
        this.added = added;
      },
      (partition) => this.registry.forgetPartition(partition),
    );
  }

  /** Where a deletion got as far as the folder of the first partition, which is renamed before the others, it goes on. */
  private finishDeletionOf([first, ...others]: readonly TopicRow[]): void {
    if (!this.deleted.has(first.id)) return;
    for (const { id, number, name } of others) {
      const folder = this.folderOf.get(`${number} ${name}`);
      if (folder !== undefined && !this.deleted.has(id)) this.renameDeleted(folder.folder, id);
      this.deleted.add(id);
    }
  }

  private openRow(row: TopicRow): TopicPartition | undefined {
    const { metadata } = this.parts;
    const folder = this.folderOf.get(`${row.number} ${row.name}`);
    if (folder !== undefined) this.identify(folder);
    const synced = this.synced.get(row.id);
    const next = Math.max(row.released, synced ?? 0);
    if (this.deleted.has(row.id)) metadata.removeTopic(row.id, row.number, next + BACKUP_SEQUENCES);
    else if (folder !== undefined && this.isMarkedDeleted(folder)) this.finishDeletion(row, folder, next);
    else if (this.isOutdated(row, folder)) this.dropOutdated(row, next);
    else {
      const saved = { synced, retention: this.retentions.get(row.id), heldFrom: this.held.get(row.id) ?? 0 };
      return this.restoreTopic(row, folder, saved);
    }
    return undefined;
  }

  /**
   * Whether a row's topic was deleted, and the metadata store lost that: its folder is another topic's, or it has none where
   * another topic has its number or name, or where the backup took the store's place.
   */
  private isOutdated(row: TopicRow, folder: FoundFolder | undefined): boolean {
    if (folder !== undefined) return folder.topic !== undefined && folder.topic.id !== row.id;
    if (this.found === "restored") return true;
    return this.folders.some((other) => {
      if (other.number !== row.number && other.name !== row.name) return false;
      this.identify(other);
      return other.topic !== undefined && other.topic.id !== row.id;
    });
  }

  private dropOutdated(row: TopicRow, next: number): void {
    const { metadata, logger } = this.parts;
    logger.warn(`TOPIC(${row.name}): the metadata store has a row for it, but it has no folder: it was deleted after the row was saved`, {
      topic: row.name,
    });
    this.rowsLost = true;
    metadata.removeTopic(row.id, row.number, next + BACKUP_SEQUENCES);
  }

  /** Whether an earlier release deleted the topic of a folder. Removes a mark that says so of the topic before this one. */
  private isMarkedDeleted({ folder, number, name }: FoundFolder): boolean {
    const { disk, metadata, logger } = this.parts;
    if (isMarkedDeleted(disk, folder, metadata.numbers.wasUsedBefore(number))) return true;
    if (removeDeletedMark(disk, folder))
      logger.warn(`TOPIC(${name}): its folder was marked as deleted before the topic was made again; removed the mark`, { topic: name });
    return false;
  }

  private finishDeletion(row: TopicRow, { folder }: FoundFolder, next: number): void {
    this.parts.metadata.removeTopic(row.id, row.number, next + BACKUP_SEQUENCES);
    this.renameDeleted(folder, row.id);
  }

  private namesIn(folder: string): string[] {
    return reading(folder, () => this.parts.disk.list(folder));
  }

  /** Removes what earlier runs could not remove of the folders of deleted topics. @throws UnreadableFile */
  removeDeletedTopics(): void {
    const { disk, recycler, logger } = this.parts;
    for (const { path } of deletedFolders(disk, this.directory)) {
      recycler.folders.remove(path, isSegmentFile, (error) =>
        logger.warn(`cannot remove ${path}, which a deleted topic left: ${error.message}; remove it by hand`),
      );
    }
  }

  /** Marks the folder of a topic that was deleted for removeDeletedTopics(). */
  private renameDeleted(folder: string, topicId: number | undefined): undefined {
    try {
      renameDeleted(this.parts.disk, this.directory, folder, topicId);
    } catch (error) {
      this.parts.logger.warn(`cannot rename ${folder} of a deleted topic: ${(error as Error).message}`);
    }
  }

  /**
   * Makes a topic of a folder that has no row, because the row was lost.
   *
   * @param claim makes the row
   */
  private openFolder(found: FoundFolder, claim: Claim): TopicPartition | undefined {
    const { disk, logger, checkpointer } = this.parts;
    const { folder, number, name } = found;
    // An earlier topic that was opened may have taken it, or found that it is another's.
    if (!reading(folder, () => disk.exists(folder))) return undefined;
    if (isMarkedDeleted(disk, folder, false)) return this.renameDeleted(folder, undefined);
    this.identify(found);
    const known = found.topic;
    const [journaled] = this.journaled.of(known?.id ?? 0, number);
    const isEmpty = this.namesIn(folder).every((file) => file === TOPIC_FILE);
    // A topic with a whole topic file may have deferred messages. Without one, a crash came while it was made or removed.
    if (isEmpty && known === undefined && journaled === undefined) return this.renameDeleted(folder, undefined);
    const taken = [...this.registry.partitions].find((topic) => topic.number === number || topic.name === name);
    if (taken !== undefined || number >= TOPIC_NUMBER_LIMIT || !isValidName(topicOf(name)) || isEphemeral(topicOf(name))) {
      const aside = join(this.directory, "topics", `damaged-${basename(folder)}`);
      disk.rename(folder, aside);
      logger.error(`${folder} cannot become a topic${taken === undefined ? "" : ` beside ${taken.name}`}; kept it as ${aside}`);
      return undefined;
    }
    this.rowsLost = true;
    const identity = known !== undefined && this.registry.partitionById(known.id) === undefined ? known : undefined;
    // Its number is claimed first: if it has to wait, no other topic may get that.
    const { id, nextSequence } = claim(identity);
    const topic = this.addTopic({ id, number, name, prefix: identity?.prefix }, journaled?.firstSequence ?? nextSequence, {});
    if (this.isReplica(topic)) topic.releasable = topic.log.startSequence;
    topic.restoreReleased(0, false);
    topic.log.files?.closeSegments();
    checkpointer.savePartition(topic);
    this.registry.adopt(topic);
    logger.error(
      `TOPIC(${name}): the metadata store has no row for it; recovered it from its folder with ${topic.depth} messages, which go to all ` +
        `channels created within ${WITHHOLD_ADOPTED_MS / 1000} s`,
    );
    return topic;
  }

  private isReplica({ log }: TopicPartition): boolean {
    return this.parts.isReplicated && (log.files?.epoch ?? 0) > 0;
  }

  private skipLost(topic: TopicPartition, next: number, synced = 0, isKnown = false): void {
    // A replica gets what it lost from another one, at the same sequences.
    if (this.isReplica(topic)) {
      const { files } = topic.log;
      if (files !== undefined && next > topic.log.next) files.isSound = false;
      return;
    }
    skipLost(this.parts.logger, this.registry, topic, next, synced, isKnown);
  }

  private reportLostBeginning({ name, log }: TopicPartition, needed: number): void {
    const lost = lostBeginning(this.parts.notes.lastRun, name, needed, log.startSequence, log.next);
    if (lost === undefined) return;
    if (log.files !== undefined) log.files.isSound = false;
    this.registry.countCorrupt(name);
    this.parts.logger.error(lost);
  }

  private restoreTopic(row: TopicRow, folder: FoundFolder | undefined, { synced, retention, heldFrom }: SavedOfTopic): TopicPartition {
    const rows = this.parts.metadata.channels(row.id);
    const channels = rows.map((channel) => (channel.damaged === true ? this.mended.channel(row.name, channel) : channel));
    const { syncedProgress } = this.parts.metadata;
    const neededSequence = channels.reduce(
      (needed, { id: channelId, floor }) => Math.min(needed, floor, syncedProgress.floorOf(channelId) ?? floor),
      row.released,
    );
    const { id, number, name } = row;
    const corrupt = this.registry.corruptRegions;
    const retaining = isRetaining(retention ?? this.registry.defaultRetention);
    const known = { neededSequence: retaining ? 0 : neededSequence, syncedSequence: synced };
    // Where the log has no files yet, the journal has all of it, also what is finished and retained.
    const firstSequence = Math.min(neededSequence, (retaining ? this.journaled.firstOf(id, number) : undefined) ?? neededSequence);
    const prefix = row.prefix ?? folder?.topic?.prefix;
    const topic = this.addTopic({ id, number, name, prefix }, firstSequence, known, folder?.topic);
    const isExact = this.found === "sound" && !this.mended.has(id) && !rows.some(({ damaged }) => damaged === true);
    if (isExact && this.registry.corruptRegions === corrupt) this.reportLostBeginning(topic, neededSequence);
    if (retention !== undefined) topic.restoreRetention(retention);
    topic.paused = row.paused;
    if (row.durability !== undefined) topic.restoreDurability(row.durability);
    const floors = channels.reduce((highest, { floor }) => Math.max(highest, floor), 0);
    const next = Math.max(row.released, synced ?? 0, floors);
    this.skipLost(topic, next, synced, floors > topic.log.next && this.parts.notes.lastRunWroteAll);
    const adopted = this.adopted.has(id);
    // No channel was given more. What replicas have is told later.
    if (this.isReplica(topic)) topic.releasable = Math.max(row.released, floors, topic.log.startSequence);
    topic.restoreReleased(row.released, channels.length > 0 && !adopted);
    if (adopted) this.registry.adopt(topic);
    topic.deferredPublishes.restoreHeld(heldFrom);
    this.parts.deferred.raiseNextNumber(heldFrom);
    // An earlier release made the row.
    if (row.prefix === undefined) this.parts.checkpointer.savePartition(topic);
    for (const channel of channels) restoreChannel(this.parts, this.registry, topic, channel, (last) => this.skipLost(topic, last));
    // To place its cursors the log was read. Nobody may use it for long.
    topic.log.files?.closeSegments();
    return topic;
  }

  private addTopic(
    topic: Omit<TopicIdentity, "prefix"> & { prefix: number | undefined },
    firstSequence: number,
    known: Partial<LogFilesOptions>,
    inFolder?: TopicIdentity,
  ): TopicPartition {
    const { isReplicated, notes } = this.parts;
    const all = { ...known, lastRun: notes.lastRun, isReplicated };
    const added = this.registry.addPartition(topic, firstSequence, all, (opened) => this.restoreJournaled(opened, topic), inFolder);
    this.added.push(added);
    return added;
  }

  /** Writes to the log's files what a run that was killed had in the journal only. */
  private restoreJournaled(opened: LogFiles, { id, number, name: topicName }: Omit<TopicIdentity, "prefix">): void {
    let restored = 0;
    replayJournal(this.journaled.of(id, number), opened.nextSequence, (records, firstSequence, count, timeMs) => {
      const from = opened.nextSequence;
      if (firstSequence > from) this.journaled.reportGap(topicName, from, firstSequence);
      this.parts.ballast.use(() => opened.restoreJournaled(records, firstSequence, count, timeMs));
      restored += count;
    });
    if (restored > 0) this.parts.logger.info(`TOPIC(${topicName}): ${restored} messages restored from the journal`, { topic: topicName });
  }
}

/** The topic of the partition with the name of a row or folder. */
function topicOf(name: string): string {
  return parsePartitionName(name).topic;
}
