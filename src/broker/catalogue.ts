import { basename, join } from "node:path";
import { idPrefix, TOPIC_NUMBER_LIMIT } from "../frame/id.ts";
import { isEphemeral, isValidName } from "../frame/names.ts";
import type { Broker } from "./broker.ts";
import type { Channel } from "./channel.ts";
import { KIND_PUBLISH, type StoredEntry } from "./deferred/entry.ts";
import type { StoredMessage } from "./deferred/stored-message.ts";
import type { DeferredTargets } from "./deferred/targets.ts";
import { files, removeFolder } from "./files.ts";
import { PublishError } from "./held.ts";
import { type JournalEntry, readJournal, replay } from "./log/journal.ts";
import { LogFiles, type LogFilesOptions } from "./log/log-files.ts";
import { Recycler } from "./log/recycler.ts";
import { isRetaining, type Retention } from "./log/retention.ts";
import { TopicLog } from "./log/topic-log.ts";
import { decodeProgress, type Progress } from "./progress.ts";
import type { KeyedTopic } from "./publish-keys.ts";
import { SequenceSet } from "./sequence-set.ts";
import { type ChannelRow, MEMORY_TOPIC_RESERVE, type TopicRow } from "./store.ts";
import { type StoreFound, topicFolders } from "./store-rescue.ts";
import { Topic } from "./topic.ts";
import { TopicTable } from "./topic-table.ts";

/** Segment files kept for reuse, in segments' worth of bytes. */
const RECYCLED_SEGMENTS = 4;
/** A file of this name in a topic's folder: the topic was deleted, and only its files are left. */
export const DELETED_MARK = "deleted";
/** After this long the messages of a topic that only its folder told of go to the channels that there are. */
export const WITHHOLD_ADOPTED_MS = 60_000;
/** Ids of what has no row in the store, and so dies with the process. */
const FIRST_MEMORY_ID = 2 ** 31;

/** Hears of topics and channels that come and go, after recovery. */
export interface TopicObserver {
  topicCreated(topic: Topic): void;
  /** Its channels were reported as deleted before. */
  topicDeleted(topic: Topic): void;
  channelCreated(channel: Channel): void;
  channelDeleted(channel: Channel): void;
}

/** What recovery finds of one channel in the deferred store. */
interface StoredSequences {
  all: SequenceSet;
  /** Of which there are several entries, and the highest number of these. */
  twice: Map<number, number>;
}

/** The topics and channels there are: makes and removes them, and finds them again after a restart. */
export class Catalogue implements DeferredTargets {
  readonly topics = new Map<string, Topic>();
  readonly channelsById = new Map<number, Channel>();
  observer: TopicObserver | undefined;
  /** Regions of log files that were skipped because they are damaged. */
  corruptRegions = 0;
  private readonly corruptRegionsOf = new Map<string, number>();
  private readonly topicsById = new Map<number, Topic>();
  private readonly topicsByName = new TopicTable();
  readonly recycler: Recycler;
  /** Entries of the deferred store that a later one of the same message takes the place of. */
  private readonly superseded = new Set<number>();
  private readonly adopted: Topic[] = [];
  /** What stands in the journal of the run before, by topic number; only while topics are restored. */
  private journaled = new Map<number, JournalEntry[]>();
  private nextMemoryId = FIRST_MEMORY_ID;

  /** @param directory the broker's folder below the data path */
  constructor(
    private readonly broker: Broker,
    private readonly directory: string,
  ) {
    files.makeDirectory(join(directory, "topics"));
    this.recycler = new Recycler(join(directory, "recycled"), RECYCLED_SEGMENTS * broker.options.maxBytesPerFile);
  }

  /** An existing topic, or a new one. The caller has checked the name. @throws when it cannot be made */
  topic(name: string): Topic {
    const existing = this.topics.get(name);
    if (existing !== undefined) return existing;
    try {
      return this.createTopic(name);
    } catch (error) {
      // Whoever publishes is told in the protocol's words, as of a message that could not be written.
      throw error instanceof PublishError ? error : new PublishError((error as Error).message);
    }
  }

  /** The topic whose name stands in [from, to), if there is one; no string is made to find it. */
  knownTopic(bytes: Uint8Array, from: number, to: number): Topic | undefined {
    return this.topicsByName.find(bytes, from, to);
  }

  /** Removes a topic with its channels and messages, and hangs up its consumers. @returns false: no such topic */
  deleteTopic(name: string): boolean {
    const topic = this.topics.get(name);
    if (topic === undefined) return false;
    this.broker.log.info(`TOPIC(${name}): deleting`);
    this.topics.delete(name);
    this.topicsById.delete(topic.id);
    this.topicsByName.delete(topic);
    topic.deleted = true;
    for (const channel of topic.channels.values()) {
      this.channelDeleted(channel);
      channel.delete();
    }
    topic.channels.clear();
    this.corruptRegionsOf.delete(name);
    this.observer?.topicDeleted(topic);
    // Before its row goes: a folder without a row is taken for a topic that the store forgot.
    this.markDeleted(topic);
    if (topic.ephemeral) this.broker.store.freeNumber(topic.number, topic.log.next);
    else this.broker.store.removeTopic(topic.id, topic.number, topic.log.next);
    topic.log.dispose();
    this.removeFiles(topic);
    return true;
  }

  /** Damaged regions that were met in a topic's log since the start. */
  corruptRegionsIn(topicName: string): number {
    return this.corruptRegionsOf.get(topicName) ?? 0;
  }

  channelCreated(channel: Channel): void {
    this.channelsById.set(channel.id, channel);
    this.observer?.channelCreated(channel);
  }

  channelDeleted(channel: Channel): void {
    this.channelsById.delete(channel.id);
    this.observer?.channelDeleted(channel);
  }

  /** Whether there is a topic, and its log has a message, or had it and let it go. */
  has({ id, nameCrc }: KeyedTopic, sequence: number): boolean {
    const topic = this.topicsById.get(id);
    if (topic === undefined || topic.nameCrc !== nameCrc) return false;
    return sequence < topic.log.startSequence || topic.log.files?.has(sequence) === true;
  }

  newMemoryId(): number {
    return this.nextMemoryId++;
  }

  private createTopic(name: string): Topic {
    if (this.broker.closing) throw new PublishError("exiting");
    const ephemeral = isEphemeral(name);
    const taken = this.broker.store.takeNumber(ephemeral ? MEMORY_TOPIC_RESERVE : 0);
    if (taken === undefined) throw new PublishError("too many topics");
    const { number, nextSequence } = taken;
    const id = ephemeral ? this.newMemoryId() : this.broker.store.addTopic(number, name, nextSequence);
    if (!ephemeral) this.broker.store.saveSynced(id, nextSequence);
    try {
      const topic = this.addTopic(id, number, name, nextSequence);
      this.broker.log.info(`TOPIC(${name}): created`);
      this.observer?.topicCreated(topic);
      return topic;
    } catch (error) {
      if (ephemeral) this.broker.store.freeNumber(number, nextSequence);
      else this.broker.store.removeTopic(id, number, nextSequence);
      throw error;
    }
  }

  private markDeleted(topic: Topic): void {
    if (topic.ephemeral) return;
    try {
      files.close(files.open(join(this.folder(topic.number, topic.name), DELETED_MARK), "w+"));
    } catch (error) {
      // A full disk must not keep a topic from being deleted; a crash now may bring it back.
      this.broker.log.warn(`TOPIC(${topic.name}): cannot mark its folder as deleted: ${(error as Error).message}`);
    }
  }

  private removeFiles(topic: Topic): void {
    try {
      topic.log.files?.remove();
    } catch (error) {
      this.broker.log.error(`TOPIC(${topic.name}): cannot remove all of its files: ${(error as Error).message}`);
    }
  }

  private folder(number: number, name: string): string {
    // The number in front keeps names such as "." and ".." harmless.
    return join(this.directory, "topics", `${number.toString().padStart(5, "0")}-${name}`);
  }

  private addTopic(id: number, number: number, name: string, firstSequence: number, known: Partial<LogFilesOptions> = {}): Topic {
    const files = isEphemeral(name) ? undefined : this.openFiles(number, name, firstSequence, known);
    const log = new TopicLog(this.broker.chunks, idPrefix(this.broker.options.nodeId, number), files, firstSequence);
    const topic = new Topic(this.broker, id, number, name, log);
    this.topics.set(name, topic);
    this.topicsById.set(id, topic);
    this.topicsByName.add(topic);
    return topic;
  }

  private openFiles(number: number, name: string, firstSequence: number, known: Partial<LogFilesOptions>): LogFiles {
    const { maxBytesPerFile, syncEvery } = this.broker.options;
    const opened = new LogFiles(
      {
        directory: this.folder(number, name),
        topicNumber: number,
        topicName: name,
        maxBytesPerFile,
        syncEvery,
        ballast: this.broker.ballast,
        recycler: this.recycler,
        log: this.broker.log,
        onCorrupt: () => this.countCorrupt(name),
        ...known,
      },
      firstSequence,
    );
    this.restoreJournaled(opened, name);
    return opened;
  }

  /** What a run that was killed had in the journal only goes to the log's own files. */
  private restoreJournaled(opened: LogFiles, topicName: string): void {
    const from = opened.nextSequence;
    const next = replay(this.journaled.get(opened.topicNumber) ?? [], from, (buffer, firstSequence, count, timeMs) => {
      const part = { buffer, from: 0, to: buffer.length, firstSequence, continuesBatch: false };
      this.broker.ballast.use(() => opened.commit([part], count, timeMs));
    });
    const restored = next - from;
    if (restored > 0) this.broker.log.info(`TOPIC(${topicName}): ${restored} messages restored from the journal`);
  }

  /**
   * Takes up what an earlier run left in the data path.
   *
   * @param found what became of the store
   */
  recover(found: StoreFound): void {
    const { store } = this.broker;
    this.journaled = readJournal(this.broker.journal.path);
    store.freeOrphanedNumbers();
    const folders = topicFolders(this.directory);
    const byTopic = new Map(folders.map(({ folder, number, name }) => [`${number} ${name}`, folder]));
    const synced = store.syncedSequences();
    const retentions = store.retentions();
    for (const read of store.topics()) {
      const row = read.damaged === true ? this.mendTopicRow(read, folders) : read;
      const folder = byTopic.get(`${row.number} ${row.name}`);
      if (folder !== undefined && this.isMarkedDeleted(folder)) store.removeTopic(row.id, row.number, synced.get(row.id) ?? 0);
      else if (folder === undefined && found === "copied") {
        this.broker.log.warn(`TOPIC(${row.name}): the store's copy knows it, but it has no folder: it was deleted since`);
        store.removeTopic(row.id, row.number, row.released);
      } else this.restoreTopic(row, synced.get(row.id), retentions.get(row.id));
    }
    for (const { folder, number, name } of folders) {
      if (this.topics.get(name)?.number === number) continue;
      if (this.isMarkedDeleted(folder)) removeFolder(folder);
      else this.adopt(folder, number, name);
    }
    this.journaled = new Map();
    this.broker.journal.remove();
    const known = new Map<Topic, number>();
    const knowOf = (topic: Topic, next: number) => known.set(topic, Math.max(known.get(topic) ?? 0, next));
    const stored = new Map<Channel, StoredSequences>();
    this.broker.deferred.recover(
      (entry, sequence) => {
        const topic = this.topicsById.get(entry.topicId);
        if (topic === undefined) return false;
        if (topic.log.files?.had(sequence) === true) return true;
        knowOf(topic, sequence + 1);
        return false;
      },
      (entry) => this.countStored(entry, stored),
    );
    for (const [channel, { all }] of stored) knowOf(channel.topic, all.next);
    for (const [topic, next] of known) this.passOver(topic, next);
    this.findSuperseded(stored);
    for (const [channel, { all }] of stored) {
      channel.restoreStored(all.size);
      // A message that stands in the deferred store must not come from the log as well: what the cursor's last save
      // before a crash did not know, the entries tell.
      for (const { from, to } of all.rangesFrom(channel.floor)) channel.skip(from, to);
    }
    if (this.topics.size > 0)
      this.broker.log.info(`NSQ: ${this.topics.size} topics and ${this.channelsById.size} channels restored from ${this.directory}`);
  }

  private countStored(entry: StoredEntry, stored: Map<Channel, StoredSequences>): void {
    if (!this.wanted(entry)) return;
    if (entry.kind === KIND_PUBLISH) {
      const topic = this.topicsById.get(entry.topicId) as Topic;
      topic.restoreDeferred();
      for (const channel of topic.channels.values()) if (entry.number < channel.voidBefore) channel.restoreVoided();
      return;
    }
    const channel = this.channelsById.get(entry.channelId) as Channel;
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
    this.broker.deferred.revisit((entry) => {
      const channel = entry.kind === KIND_PUBLISH ? undefined : this.channelsById.get(entry.channelId);
      const twice = channel === undefined ? undefined : stored.get(channel)?.twice;
      const known = twice?.get(entry.sequence);
      if (known === undefined || !this.wanted(entry)) return;
      if (known >= 0) this.superseded.add(Math.min(known, entry.number));
      twice?.set(entry.sequence, Math.max(known, entry.number));
    });
  }

  private isMarkedDeleted(folder: string): boolean {
    return files.list(folder).includes(DELETED_MARK);
  }

  /** A log that the store knows nothing of: its row was lost, so it is made again, and no message of it is. */
  private adopt(folder: string, number: number, name: string): void {
    const { store, log } = this.broker;
    if (files.list(folder).length === 0 && !this.journaled.has(number)) return removeFolder(folder);
    const taken = [...this.topics.values()].find((topic) => topic.number === number || topic.name === name);
    if (taken !== undefined || number >= TOPIC_NUMBER_LIMIT || !isValidName(name) || isEphemeral(name)) {
      const aside = join(this.directory, "topics", `damaged-${basename(folder)}`);
      files.rename(folder, aside);
      log.error(`${folder} cannot be a topic${taken === undefined ? "" : ` beside ${taken.name}`}; it is kept as ${aside}`);
      return;
    }
    const topic = this.addTopic(store.claimTopic(number, name), number, name, 0);
    topic.restoreReleased(0, false);
    topic.withhold();
    this.adopted.push(topic);
    log.error(
      `TOPIC(${name}): the store does not know it; it is taken from its folder with ${topic.depth} messages, which go to all channels ` +
        `that are made within ${WITHHOLD_ADOPTED_MS / 1000} s`,
    );
  }

  get hasAdopted(): boolean {
    return this.adopted.length > 0;
  }

  /** Lets the messages of adopted topics go: by now their channels should have been made. */
  releaseAdopted(): void {
    for (const topic of this.adopted.splice(0)) if (!topic.deleted) topic.endWithholding();
  }

  /** @param synced what is below was on the disk: if it is gone, no crash took it */
  private passOver(topic: Topic, next: number, synced = 0): void {
    const from = topic.log.next;
    if (next <= from) return;
    topic.passOver(next);
    const what = `TOPIC(${topic.name}): its log ends before sequence ${from}`;
    // A kill between noting that deferred messages are about to join and writing them leaves this too, and costs nothing.
    if (from >= synced) {
      this.broker.log.warn(`${what}; messages up to ${next - 1} were on their way into it, and their ids are passed over`);
      return;
    }
    this.countCorrupt(topic.name);
    this.broker.log.error(`${what}, but messages up to ${next - 1} are known of; those are lost, and their ids are passed over`);
  }

  private countCorrupt(topicName: string): void {
    this.corruptRegions++;
    this.corruptRegionsOf.set(topicName, this.corruptRegionsIn(topicName) + 1);
  }

  /** A row that is not what was written: number and name are told by the folder, and all that is in the log counts as not released. */
  private mendTopicRow(row: TopicRow, folders: ReturnType<typeof topicFolders>): TopicRow {
    const rows = this.broker.store.topics().filter(({ damaged }) => damaged !== true);
    const free = folders.filter((folder) => !rows.some(({ number, name }) => number === folder.number && name === folder.name));
    const folder = free.find(({ number }) => number === row.number) ?? free.find(({ name }) => name === row.name);
    const mended: TopicRow = {
      id: row.id,
      number: folder?.number ?? row.number,
      name: folder?.name ?? row.name,
      paused: false,
      released: 0,
    };
    if (folder !== undefined) this.broker.store.updateTopic(mended);
    this.countCorrupt(mended.name);
    this.broker.log.error(
      `TOPIC(${mended.name}): its row in the store is damaged; it is not paused any more, and all of its log waits for a first channel`,
    );
    return mended;
  }

  /** A cursor that is not what was written could pass messages over: the channel begins where the log does. */
  private mendChannelRow(topicName: string, row: ChannelRow): ChannelRow {
    this.countCorrupt(topicName);
    this.broker.log.error(
      `CHANNEL(${row.name}) of ${topicName}: its row in the store is damaged; it begins where the log does, and finished messages may come again`,
    );
    const { id, topicId, name } = row;
    return { id, topicId, name, paused: row.paused, voidBefore: 0, requeuesVoidBefore: 0, floor: 0, progress: new Uint8Array() };
  }

  private restoreTopic(row: TopicRow, synced: number | undefined, retention: Retention | undefined): void {
    const rows = this.broker.store.channels(row.id);
    const channels = rows.map((channel) => (channel.damaged === true ? this.mendChannelRow(row.name, channel) : channel));
    const neededSequence = channels.reduce((needed, { floor }) => Math.min(needed, floor), row.released);
    const topic = this.addTopic(row.id, row.number, row.name, neededSequence, {
      neededSequence: isRetaining(retention ?? this.broker.defaultRetention) ? 0 : neededSequence,
      syncedSequence: synced,
    });
    if (retention !== undefined) topic.restoreRetention(retention);
    topic.paused = row.paused;
    if (row.durability !== undefined) this.broker.applyDurability(topic, row.durability);
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
      this.broker.log.error(
        `CHANNEL(${row.name}) of ${topic.name}: its progress is damaged (${(error as Error).message}); finished messages may come again`,
      );
    }
    if (floor < log.startSequence) floor = log.startSequence;
    const last = Math.max(floor, progress.finished.at(-1)?.to ?? 0, progress.tried.at(-1)?.to ?? 0);
    if (last > log.next) this.passOver(topic, last);
    this.broker.deferred.numberFrom(Math.max(row.voidBefore, row.requeuesVoidBefore));
    const channel = topic.restoreChannel(row.id, row.name, floor);
    const finished = progress.finished.map(({ from, to }) => ({ from: Math.max(from, floor), to: Math.min(to, log.next) }));
    const tried = progress.tried.map(({ from, to, attempts }) => ({ from: Math.max(from, floor), to: Math.min(to, log.next), attempts }));
    channel.restore(
      { finished: finished.filter(({ from, to }) => from < to), tried: tried.filter(({ from, to }) => from < to) },
      row.paused,
      row.voidBefore,
      row.requeuesVoidBefore,
    );
  }

  /** Whether an entry of the deferred store still has somebody to go to. */
  wanted(entry: StoredEntry): boolean {
    if (entry.kind === KIND_PUBLISH) return this.topicsById.has(entry.topicId);
    const channel = this.channelsById.get(entry.channelId);
    if (channel === undefined || entry.number < channel.voidBefore || entry.number < channel.requeuesVoidBefore) return false;
    return !this.superseded.has(entry.number);
  }

  /** Whether a channel has an entry's message in flight or ready. */
  underWay(entry: StoredEntry): boolean {
    return entry.kind !== KIND_PUBLISH && this.channelsById.get(entry.channelId)?.holds(entry.sequence, entry.number) === true;
  }

  /** How many more messages of the deferred store a channel may have in memory. */
  room(channelId: number): number {
    return this.channelsById.get(channelId)?.storedRoom ?? Number.POSITIVE_INFINITY;
  }

  /** A message of the deferred store has fallen due. */
  due(message: StoredMessage): void {
    if (!this.wanted(message)) this.broker.deferred.finish(message);
    else if (message.kind === KIND_PUBLISH) this.topicsById.get(message.topicId)?.join(message);
    else this.channelsById.get(message.channelId)?.due(message);
    this.broker.schedule();
  }
}
