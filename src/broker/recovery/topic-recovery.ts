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

/** What recovery finds of one channel in the deferred store. */
interface StoredSequences {
  all: SequenceSet;
  /** Of which there are several entries, and the highest number of these. */
  twice: Map<number, number>;
}

/** What recovery works with. */
export interface RecoveryParts {
  readonly metadata: MetadataStore;
  readonly deferred: DeferredStore;
  readonly journal: Journal;
  readonly disk: Disk;
  readonly ballast: Ballast;
  readonly logger: Logger;
}

/** Finds the topics and channels again that an earlier run left, as far as store, logs, journal and deferred store tell of them. */
export class TopicRecovery {
  /** What stands in the journal of the run before, by topic number. */
  private journaled = new Map<number, JournalEntry[]>();

  /** @param directory the broker's folder below the data path */
  constructor(
    private readonly parts: RecoveryParts,
    private readonly registry: TopicRegistry,
    private readonly directory: string,
  ) {}

  /**
   * Takes up what an earlier run left in the data path.
   *
   * @param found what became of the store
   */
  run(found: RestoreResult): void {
    const { metadata: store } = this.parts;
    this.journaled = readJournal(this.parts.disk, this.parts.journal.path);
    store.freeOrphanedNumbers();
    const folders = topicFolders(this.parts.disk, this.directory);
    const byTopic = new Map(folders.map(({ folder, number, name }) => [`${number} ${name}`, folder]));
    const synced = store.syncedSequences();
    const retentions = store.retentions();
    for (const read of store.topics()) {
      const row = read.damaged === true ? this.mendTopicRow(read, folders) : read;
      const folder = byTopic.get(`${row.number} ${row.name}`);
      if (folder !== undefined && this.isMarkedDeleted(folder)) store.removeTopic(row.id, row.number, synced.get(row.id) ?? 0);
      else if (folder === undefined && found === "restored") {
        this.parts.logger.warn(`TOPIC(${row.name}): the store's copy knows it, but it has no folder: it was deleted since`);
        store.removeTopic(row.id, row.number, row.released);
      } else this.restoreTopic(row, synced.get(row.id), retentions.get(row.id));
    }
    for (const { folder, number, name } of folders) {
      if (this.registry.topics.get(name)?.number === number) continue;
      if (this.isMarkedDeleted(folder)) removeFolder(this.parts.disk, folder);
      else this.adopt(folder, number, name);
    }
    this.journaled.clear();
    this.parts.journal.remove();
    const known = new Map<Topic, number>();
    const knowOf = (topic: Topic, next: number) => known.set(topic, Math.max(known.get(topic) ?? 0, next));
    const stored = new Map<Channel, StoredSequences>();
    this.parts.deferred.recover(
      (entry, sequence) => {
        const topic = this.registry.topicById(entry.topicId);
        if (topic === undefined) return false;
        if (topic.log.files?.survivedRestart(sequence) === true) return true;
        knowOf(topic, sequence + 1);
        return false;
      },
      (entry) => this.countStored(entry, stored),
    );
    for (const [channel, { all }] of stored) knowOf(channel.topic, all.next);
    for (const [topic, next] of known) this.passOver(topic, next);
    this.findSuperseded(stored);
    for (const [channel, { all }] of stored) {
      channel.deferrals.storedCount += all.size;
      // A message that stands in the deferred store must not come from the log as well: what the cursor's last save
      // before a crash did not know, the entries tell.
      for (const { from, to } of all.rangesFrom(channel.floor)) channel.backlog.skip(from, to);
    }
    if (this.registry.topics.size > 0)
      this.parts.logger.info(
        `NSQ: ${this.registry.topics.size} topics and ${this.registry.channelsById.size} channels restored from ${this.directory}`,
      );
  }

  private countStored(entry: StoredEntry, stored: Map<Channel, StoredSequences>): void {
    if (!this.registry.wanted(entry)) return;
    if (entry.kind === KIND_PUBLISH) {
      const topic = this.registry.topicById(entry.topicId) as Topic;
      topic.deferredPublishes.count++;
      for (const channel of topic.channels.values()) if (!channel.deferrals.wantsPublish(entry.number)) channel.deferrals.voidedPublishes++;
      return;
    }
    const channel = this.registry.channelsById.get(entry.channelId) as Channel;
    let found = stored.get(channel);
    if (found === undefined) {
      found = { all: new SequenceSet(), twice: new Map() };
      stored.set(channel, found);
    }
    if (!found.all.add(entry.sequence)) found.twice.set(entry.sequence, -1);
  }

  /** A requeue that was written, but not yet the word that it takes the place of the entry before: the last counts. */
  private findSuperseded(stored: Map<Channel, StoredSequences>): void {
    if ([...stored.values()].every(({ twice }) => twice.size === 0)) return;
    this.parts.deferred.revisitRecovered((entry) => {
      const channel = entry.kind === KIND_PUBLISH ? undefined : this.registry.channelsById.get(entry.channelId);
      const twice = channel === undefined ? undefined : stored.get(channel)?.twice;
      const known = twice?.get(entry.sequence);
      if (known === undefined || !this.registry.wanted(entry)) return;
      if (known >= 0) this.registry.supersede(Math.min(known, entry.number));
      twice?.set(entry.sequence, Math.max(known, entry.number));
    });
  }

  private isMarkedDeleted(folder: string): boolean {
    return this.parts.disk.list(folder).includes(DELETED_MARK);
  }

  /** A log that the store knows nothing of: its row was lost, so it is made again, and no message of it is. */
  private adopt(folder: string, number: number, name: string): void {
    const { metadata: store, disk, logger } = this.parts;
    if (disk.list(folder).length === 0 && !this.journaled.has(number)) return removeFolder(this.parts.disk, folder);
    const taken = [...this.registry.topics.values()].find((topic) => topic.number === number || topic.name === name);
    if (taken !== undefined || number >= TOPIC_NUMBER_LIMIT || !isValidName(name) || isEphemeral(name)) {
      const aside = join(this.directory, "topics", `damaged-${basename(folder)}`);
      disk.rename(folder, aside);
      logger.error(`${folder} cannot be a topic${taken === undefined ? "" : ` beside ${taken.name}`}; it is kept as ${aside}`);
      return;
    }
    const topic = this.addTopic(store.claimTopic(number, name), number, name, 0, {});
    topic.restoreReleased(0, false);
    this.registry.adopt(topic);
    logger.error(
      `TOPIC(${name}): the store does not know it; it is taken from its folder with ${topic.depth} messages, which go to all channels ` +
        `that are made within ${WITHHOLD_ADOPTED_MS / 1000} s`,
    );
  }

  /** @param synced what is below was on the disk: if it is gone, no crash took it */
  private passOver(topic: Topic, next: number, synced = 0): void {
    const from = topic.log.next;
    if (next <= from) return;
    topic.passOver(next);
    const what = `TOPIC(${topic.name}): its log ends before sequence ${from}`;
    // A kill between noting that deferred messages are about to join and writing them leaves this too, and costs nothing.
    if (from >= synced) {
      this.parts.logger.warn(`${what}; messages up to ${next - 1} were on their way into it, and their ids are passed over`);
      return;
    }
    this.registry.countCorrupt(topic.name);
    this.parts.logger.error(`${what}, but messages up to ${next - 1} are known of; those are lost, and their ids are passed over`);
  }

  /** A row that is not what was written: number and name are told by the folder, and all that is in the log counts as not released. */
  private mendTopicRow(row: TopicRow, folders: ReturnType<typeof topicFolders>): TopicRow {
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
      `TOPIC(${mended.name}): its row in the store is damaged; it is not paused any more, and all of its log waits for a first channel`,
    );
    return mended;
  }

  /** A cursor that is not what was written could pass messages over: the channel begins where the log does. */
  private mendChannelRow(topicName: string, row: ChannelRow): ChannelRow {
    this.registry.countCorrupt(topicName);
    this.parts.logger.error(
      `CHANNEL(${row.name}) of ${topicName}: its row in the store is damaged; it begins where the log does, and finished messages may come again`,
    );
    const { id, topicId, name } = row;
    return { id, topicId, name, paused: row.paused, voidBefore: 0, requeuesVoidBefore: 0, floor: 0, progress: new Uint8Array() };
  }

  private restoreTopic(row: TopicRow, synced: number | undefined, retention: Retention | undefined): void {
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
    this.passOver(topic, Math.max(row.released, synced ?? 0, ...channels.map(({ floor }) => floor)), synced);
    topic.restoreReleased(row.released, channels.length > 0);
    for (const channel of channels) this.restoreChannel(topic, channel);
  }

  private restoreChannel(topic: Topic, row: ChannelRow): void {
    const { log } = topic;
    let floor = row.floor;
    let progress: Progress = { finished: [], tried: [] };
    try {
      progress = decodeProgress(row.progress, row.floor);
    } catch (error) {
      this.parts.logger.error(
        `CHANNEL(${row.name}) of ${topic.name}: its progress is damaged (${(error as Error).message}); finished messages may come again`,
      );
    }
    if (floor < log.startSequence) floor = log.startSequence;
    const last = Math.max(floor, progress.finished.at(-1)?.to ?? 0, progress.tried.at(-1)?.to ?? 0);
    if (last > log.next) this.passOver(topic, last);
    this.parts.deferred.raiseNextNumber(Math.max(row.voidBefore, row.requeuesVoidBefore));
    const channel = topic.restoreChannel(row.id, row.name, floor);
    const finished = progress.finished.map(({ from, to }) => ({ from: Math.max(from, floor), to: Math.min(to, log.next) }));
    const tried = progress.tried.map(({ from, to, attempts }) => ({ from: Math.max(from, floor), to: Math.min(to, log.next), attempts }));
    channel.restore({ finished: finished.filter(({ from, to }) => from < to), tried: tried.filter(({ from, to }) => from < to) }, row);
  }

  private addTopic(id: number, number: number, name: string, firstSequence: number, known: Partial<LogFilesOptions>): Topic {
    return this.registry.addTopic(id, number, name, firstSequence, known, (opened) => this.restoreJournaled(opened, name));
  }

  /** What a run that was killed had in the journal only goes to the log's own files. */
  private restoreJournaled(opened: LogFiles, topicName: string): void {
    let restored = 0;
    replayJournal(this.journaled.get(opened.topicNumber) ?? [], opened.nextSequence, (records, firstSequence, count, timeMs) => {
      const from = opened.nextSequence;
      // Passed over by the run before, and then nothing is lost; or what a power cut or damage took.
      if (firstSequence > from)
        this.parts.logger.warn(
          `TOPIC(${topicName}): no messages from sequence ${from} to ${firstSequence - 1}, neither in its log nor in the journal`,
        );
      this.parts.ballast.use(() => opened.restoreJournaled(records, firstSequence, count, timeMs));
      restored += count;
    });
    if (restored > 0) this.parts.logger.info(`TOPIC(${topicName}): ${restored} messages restored from the journal`);
  }
}
