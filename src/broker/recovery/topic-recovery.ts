import { basename, join } from "node:path";
import type { Logger } from "../../base/logger.ts";
import { TOPIC_NUMBER_LIMIT } from "../../frame/id.ts";
import { isEphemeral, isValidName } from "../../frame/names.ts";
import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import { KIND_PUBLISH, type StoredEntry } from "../storage/deferred/entry.ts";
import type { Ballast } from "../storage/disk/ballast.ts";
import { type Disk, removeFolder } from "../storage/disk/disk.ts";
import { type Journal, type JournalEntry, readJournal, replayJournal } from "../storage/log/journal.ts";
import type { LogFiles, LogFilesOptions } from "../storage/log/log-files.ts";
import { isRetaining, type Retention } from "../storage/log/retention.ts";
import { type RestoreResult, topicFolders } from "../storage/metadata/metadata-backup.ts";
import type { ChannelRow, MetadataStore, TopicRow } from "../storage/metadata/metadata-store.ts";
import type { Channel } from "../topics/channel/channel.ts";
import { decodeProgress, type Progress } from "../topics/channel/progress.ts";
import type { Topic } from "../topics/topic.ts";
import { DELETED_MARK, type TopicRegistry, WITHHOLD_ADOPTED_MS } from "../topics/topic-registry.ts";
import { SequenceSet } from "./sequence-set.ts";

/** The messages of one channel that are in the deferred store. */
interface StoredSequences {
  all: SequenceSet;
  /** Sequences with several entries, and the highest number among the entries of each that were read so far. */
  repeated: Map<number, number>;
}

type TopicFolder = ReturnType<typeof topicFolders>[number];

/** What recovery works with. */
export interface RecoveryParts {
  readonly metadata: MetadataStore;
  readonly deferred: DeferredStore;
  readonly journal: Journal;
  readonly disk: Disk;
  readonly ballast: Ballast;
  readonly logger: Logger;
}

/** Restores the topics and channels of an earlier run from the metadata store, the logs, the journal and the deferred store. */
export class TopicRecovery {
  /** What the earlier run left in the journal, by topic number. */
  private journaled = new Map<number, JournalEntry[]>();

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
    const folders = topicFolders(disk, this.directory);
    this.restoreTopics(folders, found);
    this.adoptFolders(folders);
    this.journaled.clear();
    journal.remove();
    this.restoreDeferred();
    const { topics, channelsById } = this.registry;
    if (topics.size > 0) logger.info(`NSQ: ${topics.size} topics and ${channelsById.size} channels restored from ${this.directory}`);
  }

  /** Restores the topics that have a row in the metadata store. */
  private restoreTopics(folders: TopicFolder[], found: RestoreResult): void {
    const { metadata, logger } = this.parts;
    const folderOf = new Map(folders.map(({ folder, number, name }) => [`${number} ${name}`, folder]));
    const synced = metadata.syncedSequences();
    const retentions = metadata.retentions();
    const held = metadata.heldEntries();
    for (const read of metadata.topics()) {
      const row = read.damaged === true ? this.mendTopicRow(read, folders) : read;
      const folder = folderOf.get(`${row.number} ${row.name}`);
      if (folder !== undefined && this.isMarkedDeleted(folder)) {
        metadata.removeTopic(row.id, row.number, synced.get(row.id) ?? 0);
      } else if (folder === undefined && found === "restored") {
        logger.warn(
          `TOPIC(${row.name}): the metadata store's backup has a row for it, but it has no folder: it was deleted after the backup`,
        );
        metadata.removeTopic(row.id, row.number, row.released);
      } else {
        this.restoreTopic(row, synced.get(row.id), retentions.get(row.id), held.get(row.id) ?? 0);
      }
    }
  }

  /** Makes topics of the folders without a row, and removes those of deleted topics. */
  private adoptFolders(folders: TopicFolder[]): void {
    for (const { folder, number, name } of folders) {
      if (this.registry.topics.get(name)?.number === number) continue;
      if (this.isMarkedDeleted(folder)) removeFolder(this.parts.disk, folder);
      else this.adopt(folder, number, name);
    }
  }

  /** Restores what the channels and topics have in the deferred store. */
  private restoreDeferred(): void {
    /** By topic, one more than the highest sequence that the deferred store mentions. */
    const mentioned = new Map<Topic, number>();
    const mention = (topic: Topic, next: number) => mentioned.set(topic, Math.max(mentioned.get(topic) ?? 0, next));
    const stored = new Map<Channel, StoredSequences>();
    this.parts.deferred.recover(
      (entry, sequence) => {
        const topic = this.registry.topicById(entry.topicId);
        if (topic === undefined) return false;
        if (topic.log.files?.survivedRestart(sequence) === true) return true;
        mention(topic, sequence + 1);
        return false;
      },
      (entry) => this.countStored(entry, stored),
    );
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

  private isMarkedDeleted(folder: string): boolean {
    return this.parts.disk.list(folder).includes(DELETED_MARK);
  }

  /** Makes a topic of a folder that has no row, because the row was lost. */
  private adopt(folder: string, number: number, name: string): void {
    const { metadata, disk, logger } = this.parts;
    if (disk.list(folder).length === 0 && !this.journaled.has(number)) return removeFolder(disk, folder);
    const taken = [...this.registry.topics.values()].find((topic) => topic.number === number || topic.name === name);
    if (taken !== undefined || number >= TOPIC_NUMBER_LIMIT || !isValidName(name) || isEphemeral(name)) {
      const aside = join(this.directory, "topics", `damaged-${basename(folder)}`);
      disk.rename(folder, aside);
      logger.error(`${folder} cannot become a topic${taken === undefined ? "" : ` beside ${taken.name}`}; kept it as ${aside}`);
      return;
    }
    const topic = this.addTopic(metadata.claimTopic(number, name), number, name, 0, {});
    topic.restoreReleased(0, false);
    topic.log.files?.closeSegments();
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
  private mendTopicRow(row: TopicRow, folders: TopicFolder[]): TopicRow {
    const rows = this.parts.metadata.topics().filter(({ damaged }) => damaged !== true);
    const free = folders.filter((folder) => !rows.some(({ number, name }) => number === folder.number && name === folder.name));
    const folder = free.find(({ number }) => number === row.number) ?? free.find(({ name }) => name === row.name);
    const mended: TopicRow = {
      id: row.id,
      number: folder?.number ?? row.number,
      name: folder?.name ?? row.name,
      paused: false,
      released: 0,
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

  private restoreTopic(row: TopicRow, synced: number | undefined, retention: Retention | undefined, heldFrom: number): void {
    const rows = this.parts.metadata.channels(row.id);
    const channels = rows.map((channel) => (channel.damaged === true ? this.mendChannelRow(row.name, channel) : channel));
    const neededSequence = channels.reduce((needed, { floor }) => Math.min(needed, floor), row.released);
    const topic = this.addTopic(row.id, row.number, row.name, neededSequence, {
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

  private addTopic(id: number, number: number, name: string, firstSequence: number, known: Partial<LogFilesOptions>): Topic {
    return this.registry.addTopic(id, number, name, firstSequence, known, (opened) => this.restoreJournaled(opened, name));
  }

  /** Writes to the log's files what a run that was killed had in the journal only. */
  private restoreJournaled(opened: LogFiles, topicName: string): void {
    let restored = 0;
    replayJournal(this.journaled.get(opened.topicNumber) ?? [], opened.nextSequence, (records, firstSequence, count, timeMs) => {
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
