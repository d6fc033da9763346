import { basename, join } from "node:path";
import type { Logger } from "../../base/logger.ts";
import { TOPIC_NUMBER_LIMIT } from "../../frame/id.ts";
import { isEphemeral, isValidName } from "../../frame/names.ts";
import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import { KIND_PUBLISH, type StoredEntry } from "../storage/deferred/entry.ts";
import type { Ballast } from "../storage/disk/ballast.ts";
import { type Disk, removeFolder } from "../storage/disk/disk.ts";
import { deletedFolders, hasDeletedMark, removeDeletedMark, renameDeleted } from "../storage/log/deleted-folder.ts";
import { type Journal, JournalContents, readJournal, replayJournal } from "../storage/log/journal.ts";
import type { LogFiles, LogFilesOptions } from "../storage/log/log-files.ts";
import { isRetaining, type Retention } from "../storage/log/retention.ts";
import { readTopicFile, TOPIC_FILE, type TopicIdentity } from "../storage/log/topic-file.ts";
import { type RestoreResult, type TopicFolder, topicFolders } from "../storage/metadata/metadata-backup.ts";
import { BACKUP_SEQUENCES, type MetadataStore } from "../storage/metadata/metadata-store.ts";
import type { ChannelRow, TopicRow } from "../storage/metadata/rows.ts";
import type { Channel } from "../topics/channel/channel.ts";
import { decodeProgress, type Progress } from "../topics/channel/progress.ts";
import type { Checkpointer } from "../topics/checkpointer.ts";
import type { Topic } from "../topics/topic.ts";
import { type TopicRegistry, WITHHOLD_ADOPTED_MS } from "../topics/topic-registry.ts";
import { SequenceSet } from "./sequence-set.ts";

/** The messages of one channel that are in the deferred store. */
interface StoredSequences {
  all: SequenceSet;
  /** Sequences with several entries, and the highest number among the entries of each that were read so far. */
  repeated: Map<number, number>;
}

/** A topic's folder, and what its topic file says; undefined: an earlier release made the folder. */
interface FoundFolder extends TopicFolder {
  topic: TopicIdentity | undefined;
}

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
  readonly logger: Logger;
  readonly checkpointer: Checkpointer;
}

/** Restores the topics and channels of an earlier run from the metadata store, the logs, the journal and the deferred store. */
export class TopicRecovery {
  /** What the earlier run left in the journal. */
  private journaled = new JournalContents();
  /** Rows of the metadata store are missing, so an entry of the deferred store may be of a topic or channel without a row. */
  private rowsLost = false;

  /** @param directory the broker's folder below the data path */
  constructor(
    private readonly parts: RecoveryParts,
    private readonly registry: TopicRegistry,
    private readonly directory: string,
  ) {}

  /** @param found whether the metadata store is as the earlier run left it, or its backup took its place */
  run(found: RestoreResult): void {
    const { journal, disk, metadata, logger } = this.parts;
    this.journaled = readJournal(disk, journal.path);
    metadata.freeOrphanedNumbers();
    this.rowsLost = found === "restored" || found === "lost";
    const folders = topicFolders(disk, this.directory).map((folder) => ({
      ...folder,
      topic: readTopicFile(disk, folder.folder, folder.number, folder.name),
    }));
    this.restoreTopics(folders, found);
    if (this.rowsLost) metadata.skipLostSequences(found === "lost");
    this.adoptFolders(folders);
    this.removeDeletedTopics();
    this.journaled = new JournalContents();
    journal.remove();
    this.restoreDeferred();
    const { topics, channelsById } = this.registry;
    if (topics.size > 0) logger.info(`NSQ: ${topics.size} topics and ${channelsById.size} channels restored from ${this.directory}`);
  }

  /** Restores the topics that have a row in the metadata store. */
  private restoreTopics(folders: FoundFolder[], found: RestoreResult): void {
    const { metadata, disk } = this.parts;
    const deleted = new Set(deletedFolders(disk, this.directory).map(({ topicId }) => topicId));
    const synced = metadata.syncedSequences();
    const retentions = metadata.retentions();
    const held = metadata.heldEntries();
    for (const read of metadata.topics()) {
      const row = read.damaged === true ? this.mendTopicRow(read, folders) : read;
      const folder = folders.find(({ number, name }) => number === row.number && name === row.name);
      const next = Math.max(row.released, synced.get(row.id) ?? 0);
      if (deleted.has(row.id)) metadata.removeTopic(row.id, row.number, next + BACKUP_SEQUENCES);
      else if (folder !== undefined && this.isMarkedDeleted(folder)) this.finishDeletion(row, folder, next);
      else if (this.isOutdated(row, folder, folders, found)) this.dropOutdated(row, next);
      else
        this.restoreTopic(row, folder, { synced: synced.get(row.id), retention: retentions.get(row.id), heldFrom: held.get(row.id) ?? 0 });
    }
  }

  /**
   * Whether a row's topic was deleted, and the metadata store lost that: its folder is another topic's, or it has none where
   * another topic has its number or name, or where the backup took the store's place.
   */
  private isOutdated(row: TopicRow, folder: FoundFolder | undefined, folders: FoundFolder[], found: RestoreResult): boolean {
    if (folder !== undefined) return folder.topic !== undefined && folder.topic.id !== row.id;
    return (
      found === "restored" ||
      folders.some(({ topic }) => topic !== undefined && topic.id !== row.id && (topic.number === row.number || topic.name === row.name))
    );
  }

  private dropOutdated(row: TopicRow, next: number): void {
    const { metadata, logger } = this.parts;
    logger.warn(`TOPIC(${row.name}): the metadata store has a row for it, but it has no folder: it was deleted after the row was saved`);
    this.rowsLost = true;
    metadata.removeTopic(row.id, row.number, next + BACKUP_SEQUENCES);
  }

  /** Makes topics of the folders without a row, and removes those of deleted topics. */
  private adoptFolders(folders: FoundFolder[]): void {
    for (const found of folders) {
      const { folder, number, name } = found;
      if (this.registry.topics.get(name)?.number === number || !this.parts.disk.exists(folder)) continue;
      if (hasDeletedMark(this.parts.disk, folder)) this.renameDeleted(folder, undefined);
      else this.adopt(found);
    }
  }

  /**
   * Whether an earlier release deleted the topic of a folder. Its mark stayed in the folder where that could not be removed, also
   * when the topic was made again there. Then it had the number of the deleted one, and has messages.
   */
  private isMarkedDeleted({ folder, number, name }: FoundFolder): boolean {
    const { disk, metadata, logger } = this.parts;
    if (!hasDeletedMark(disk, folder)) return false;
    if (!metadata.wasUsedBefore(number) || !disk.list(folder).some((file) => file.endsWith(".log"))) return true;
    removeDeletedMark(disk, folder);
    logger.warn(`TOPIC(${name}): its folder was marked as deleted before the topic was made again; removed the mark`);
    return false;
  }

  private finishDeletion(row: TopicRow, { folder }: FoundFolder, next: number): void {
    this.parts.metadata.removeTopic(row.id, row.number, next + BACKUP_SEQUENCES);
    this.renameDeleted(folder, row.id);
  }

  /** Removes what earlier runs could not remove of the folders of deleted topics. */
  private removeDeletedTopics(): void {
    const { disk } = this.parts;
    for (const { path } of deletedFolders(disk, this.directory)) {
      try {
        removeFolder(disk, path);
      } catch (error) {
        this.parts.logger.warn(`cannot remove ${path}, which a deleted topic left: ${(error as Error).message}; remove it by hand`);
      }
    }
  }

  /** Marks the folder of a topic that was deleted for removeDeletedTopics(). */
  private renameDeleted(folder: string, topicId: number | undefined): void {
    try {
      renameDeleted(this.parts.disk, this.directory, folder, topicId);
    } catch (error) {
      this.parts.logger.warn(`cannot rename ${folder} of a deleted topic: ${(error as Error).message}`);
    }
  }

  /** Restores what the channels and topics have in the deferred store. */
  private restoreDeferred(): void {
    /** By topic, one more than the highest sequence that the deferred store mentions. */
    const mentioned = new Map<Topic, number>();
    const mention = (topic: Topic, next: number) => mentioned.set(topic, Math.max(mentioned.get(topic) ?? 0, next));
    const stored = new Map<Channel, StoredSequences>();
    let unclaimed = 0;
    this.parts.deferred.recover(
      (entry, sequence) => {
        const topic = this.registry.topicById(entry.topicId);
        if (topic === undefined) return false;
        if (topic.log.files?.survivedRestart(sequence) === true) return true;
        mention(topic, sequence + 1);
        return false;
      },
      (entry) => {
        this.countStored(entry, stored);
        if (!this.isClaimed(entry)) unclaimed++;
      },
    );
    if (unclaimed > 0 && this.rowsLost) this.keepUnclaimed(unclaimed);
    for (const [channel, { all }] of stored) mention(channel.topic, all.next);
    for (const [topic, next] of mentioned) this.skipLost(topic, next);
    this.findSuperseded(stored);
    for (const [{ backlog, deferrals, floor }, { all }] of stored) {
      deferrals.storedCount += all.size;
      // A message in the deferred store must not be delivered from the log as well. The cursor's last save before a crash may be
      // older than an entry.
      for (const { from, to } of all.rangesFrom(floor)) backlog.skip(from, to);
    }
  }

  /** Whether an entry's topic or channel exists. */
  private isClaimed({ kind, topicId, channelId }: StoredEntry): boolean {
    return kind === KIND_PUBLISH ? this.registry.topicById(topicId) !== undefined : this.registry.channelsById.has(channelId);
  }

  /** Keeps entries aside that no topic and no channel gets: those of deleted ones, and those whose row was lost. */
  private keepUnclaimed(count: number): void {
    const { deferred, logger } = this.parts;
    const what = `${count} deferred messages belong to topics or channels that the metadata store does not know`;
    try {
      logger.error(`${what}; they are not delivered, and kept as ${deferred.keepAside((entry) => !this.isClaimed(entry))}`);
    } catch (error) {
      logger.error(`${what}; they are not delivered, and cannot be kept: ${(error as Error).message}`);
    }
  }

  /** Counts an entry of the deferred store for its topic or channel. */
  private countStored(entry: StoredEntry, stored: Map<Channel, StoredSequences>): void {
    if (entry.kind === KIND_PUBLISH) {
      // Counted even if nobody wants it any more, because it counts until it is dropped.
      this.registry.topicById(entry.topicId)?.deferredPublishes.restore(entry.number);
      return;
    }
    if (!this.registry.wanted(entry)) return;
    const channel = this.registry.channelsById.get(entry.channelId);
    if (channel === undefined) return;
    let found = stored.get(channel);
    if (found === undefined) {
      found = { all: new SequenceSet(), repeated: new Map() };
      stored.set(channel, found);
    }
    if (!found.all.add(entry.sequence)) found.repeated.set(entry.sequence, -1);
  }

  /** Makes all entries of a message but the last one void. A crash leaves several, if it comes before the older ones are marked as done. */
  private findSuperseded(stored: Map<Channel, StoredSequences>): void {
    if ([...stored.values()].every(({ repeated }) => repeated.size === 0)) return;
    this.parts.deferred.revisitRecovered((entry) => {
      const channel = entry.kind === KIND_PUBLISH ? undefined : this.registry.channelsById.get(entry.channelId);
      const repeated = channel === undefined ? undefined : stored.get(channel)?.repeated;
      const known = repeated?.get(entry.sequence);
      if (known === undefined || !this.registry.wanted(entry)) return;
      if (known >= 0) this.registry.supersede(Math.min(known, entry.number));
      repeated?.set(entry.sequence, Math.max(known, entry.number));
    });
  }

  /** Makes a topic of a folder that has no row, because the row was lost. */
  private adopt({ folder, number, name, topic: known }: FoundFolder): void {
    const { metadata, disk, logger } = this.parts;
    const [journaled] = this.journaled.of(known?.id ?? 0, number);
    const isEmpty = disk.list(folder).every((file) => file === TOPIC_FILE);
    // A topic with a whole topic file may have deferred messages. Without one, a crash came while it was made or removed.
    if (isEmpty && known === undefined && journaled === undefined) return this.renameDeleted(folder, undefined);
    const taken = [...this.registry.topics.values()].find((topic) => topic.number === number || topic.name === name);
    if (taken !== undefined || number >= TOPIC_NUMBER_LIMIT || !isValidName(name) || isEphemeral(name)) {
      const aside = join(this.directory, "topics", `damaged-${basename(folder)}`);
      disk.rename(folder, aside);
      logger.error(`${folder} cannot become a topic${taken === undefined ? "" : ` beside ${taken.name}`}; kept it as ${aside}`);
      return;
    }
    this.rowsLost = true;
    const identity = known !== undefined && this.registry.topicById(known.id) === undefined ? known : undefined;
    const { id, nextSequence } = metadata.claimTopic(number, name, identity);
    const topic = this.addTopic({ id, number, name, prefix: identity?.prefix }, journaled?.firstSequence ?? nextSequence, {});
    topic.restoreReleased(0, false);
    topic.log.files?.closeSegments();
    this.parts.checkpointer.saveTopic(topic);
    this.registry.adopt(topic);
    logger.error(
      `TOPIC(${name}): the metadata store has no row for it; recovered it from its folder with ${topic.depth} messages, which go to all ` +
        `channels created within ${WITHHOLD_ADOPTED_MS / 1000} s`,
    );
  }

  /**
   * Skips sequences that the log does not have, so that their ids are not used again.
   *
   * @param next one more than the highest sequence that is known of
   * @param synced messages below were on the disk once: if they are gone, they were not lost in a crash
   */
  private skipLost(topic: Topic, next: number, synced = 0): void {
    const from = topic.log.next;
    if (next <= from) return;
    topic.skipLost(next);
    const what = `TOPIC(${topic.name}): its log ends before sequence ${from}`;
    // A kill also leaves this, without a loss, if it comes after deferred messages were noted to join the log and before they did.
    if (from >= synced) {
      this.parts.logger.warn(`${what}; messages up to ${next - 1} were being written to it, and their ids are not used again`);
      return;
    }
    this.registry.countCorrupt(topic.name);
    this.parts.logger.error(`${what}, but messages up to ${next - 1} were in it; these are lost, and their ids are not used again`);
  }

  /** Replaces a damaged row. Number and name are those of its folder, and no message in the log counts as released. */
  private mendTopicRow(row: TopicRow, folders: FoundFolder[]): TopicRow {
    const rows = this.parts.metadata.topics().filter(({ damaged }) => damaged !== true);
    const free = folders.filter((folder) => !rows.some(({ number, name }) => number === folder.number && name === folder.name));
    const folder =
      free.find(({ topic }) => topic?.id === row.id) ??
      free.find(({ number, topic }) => topic === undefined && number === row.number) ??
      free.find(({ name, topic }) => topic === undefined && name === row.name);
    const mended: TopicRow = {
      id: row.id,
      number: folder?.number ?? row.number,
      name: folder?.name ?? row.name,
      paused: false,
      released: 0,
      prefix: folder?.topic?.prefix,
    };
    if (folder !== undefined) this.parts.metadata.updateTopic(mended);
    this.registry.countCorrupt(mended.name);
    this.parts.logger.error(
      `TOPIC(${mended.name}): its row in the metadata store is damaged; it is not paused any more, and all messages in its log wait for a first channel`,
    );
    return mended;
  }

  /** Replaces a damaged row. Its cursor could skip messages, so the channel starts at the beginning of the log. */
  private mendChannelRow(topicName: string, row: ChannelRow): ChannelRow {
    this.registry.countCorrupt(topicName);
    this.parts.logger.error(
      `CHANNEL(${row.name}) of ${topicName}: its row in the metadata store is damaged; it starts at the beginning of the log, and finished messages may be delivered again`,
    );
    const { id, topicId, name } = row;
    return { id, topicId, name, paused: row.paused, voidBefore: 0, requeuesVoidBefore: 0, floor: 0, progress: new Uint8Array() };
  }

  private restoreTopic(row: TopicRow, folder: FoundFolder | undefined, { synced, retention, heldFrom }: SavedOfTopic): void {
    const rows = this.parts.metadata.channels(row.id);
    const channels = rows.map((channel) => (channel.damaged === true ? this.mendChannelRow(row.name, channel) : channel));
    const neededSequence = channels.reduce((needed, { floor }) => Math.min(needed, floor), row.released);
    const { id, number, name } = row;
    const topic = this.addTopic({ id, number, name, prefix: row.prefix ?? folder?.topic?.prefix }, neededSequence, {
      neededSequence: isRetaining(retention ?? this.registry.defaultRetention) ? 0 : neededSequence,
      syncedSequence: synced,
    });
    if (retention !== undefined) topic.restoreRetention(retention);
    topic.paused = row.paused;
    if (row.durability !== undefined) topic.restoreDurability(row.durability);
    this.skipLost(topic, Math.max(row.released, synced ?? 0, ...channels.map(({ floor }) => floor)), synced);
    topic.restoreReleased(row.released, channels.length > 0);
    topic.deferredPublishes.restoreHeld(heldFrom);
    this.parts.deferred.raiseNextNumber(heldFrom);
    // An earlier release made the row.
    if (row.prefix === undefined) this.parts.checkpointer.saveTopic(topic);
    for (const channel of channels) this.restoreChannel(topic, channel);
    // To place its cursors the log was read. Nobody may use it for long.
    topic.log.files?.closeSegments();
  }

  private restoreChannel(topic: Topic, row: ChannelRow): void {
    const { log } = topic;
    let floor = row.floor;
    let progress: Progress = { finished: [], tried: [] };
    try {
      progress = decodeProgress(row.progress, row.floor);
    } catch (error) {
      this.parts.logger.error(
        `CHANNEL(${row.name}) of ${topic.name}: its progress is damaged (${(error as Error).message}); finished messages may be delivered again`,
      );
    }
    if (floor < log.startSequence) floor = log.startSequence;
    const last = Math.max(floor, progress.finished.at(-1)?.to ?? 0, progress.tried.at(-1)?.to ?? 0);
    if (last > log.next) this.skipLost(topic, last);
    this.parts.deferred.raiseNextNumber(Math.max(row.voidBefore, row.requeuesVoidBefore));
    const channel = topic.restoreChannel(row.id, row.name, floor);
    const finished = progress.finished.map(({ from, to }) => ({ from: Math.max(from, floor), to: Math.min(to, log.next) }));
    const tried = progress.tried.map(({ from, to, attempts }) => ({ from: Math.max(from, floor), to: Math.min(to, log.next), attempts }));
    channel.restore({ finished: finished.filter(({ from, to }) => from < to), tried: tried.filter(({ from, to }) => from < to) }, row);
  }

  private addTopic(
    topic: Omit<TopicIdentity, "prefix"> & { prefix: number | undefined },
    firstSequence: number,
    known: Partial<LogFilesOptions>,
  ): Topic {
    return this.registry.addTopic(topic, firstSequence, known, (opened) => this.restoreJournaled(opened, topic));
  }

  /** Writes to the log's files what a run that was killed had in the journal only. */
  private restoreJournaled(opened: LogFiles, { id, number, name: topicName }: Omit<TopicIdentity, "prefix">): void {
    let restored = 0;
    replayJournal(this.journaled.of(id, number), opened.nextSequence, (records, firstSequence, count, timeMs) => {
      const from = opened.nextSequence;
      // Either the earlier run skipped these sequences, or a power cut or damage took their messages.
      if (firstSequence > from)
        this.parts.logger.warn(
          `TOPIC(${topicName}): messages from sequence ${from} to ${firstSequence - 1} are neither in its log nor in the journal`,
        );
      this.parts.ballast.use(() => opened.restoreJournaled(records, firstSequence, count, timeMs));
      restored += count;
    });
    if (restored > 0) this.parts.logger.info(`TOPIC(${topicName}): ${restored} messages restored from the journal`);
  }
}
