import { existsSync, mkdirSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { StartError } from "../../base/start-error.ts";
import { idPrefix } from "../../frame/id.ts";
import { isNsqdDataPath } from "../../nsqd-data/data-path.ts";
import { type NsqdTopic, writeNsqdMetadata } from "../../nsqd-data/nsqd-metadata.ts";
import { lockExclusively } from "../exclusive-data-path.ts";
import type { BrokerOptions } from "../options.ts";
import { DATA_FOLDER } from "../storage/data-path.ts";
import { type Disk, systemDisk } from "../storage/disk/disk.ts";
import { OverlayDisk } from "../storage/disk/overlay-disk.ts";
import { ChunkPool } from "../storage/log/chunk.ts";
import { deletedFolders, isMarkedDeleted } from "../storage/log/deleted-folder.ts";
import { JOURNAL_FILE } from "../storage/log/journal.ts";
import { type JournalContents, readJournal, replayJournal } from "../storage/log/journal-reader.ts";
import { LogFiles } from "../storage/log/log-files.ts";
import { Recycler } from "../storage/log/recycler.ts";
import { TopicLog } from "../storage/log/topic-log.ts";
import { inspectMetadata, METADATA_FILE, topicFolder } from "../storage/metadata/metadata-backup.ts";
import { MetadataStore } from "../storage/metadata/metadata-store.ts";
import { parsePartitionName } from "../storage/metadata/partition-name.ts";
import type { ChannelRow, TopicRow } from "../storage/metadata/rows.ts";
import { DeferredExport } from "./deferred-export.ts";
import { nsqdFiles } from "./nsqd-files.ts";
import { refuseUnfinishedImport } from "./nsqd-import.ts";
import { Pace } from "./pace.ts";
import { exportTopic, type StoredPartition } from "./topic-export.ts";
import type { ExportCounts } from "./topic-queues.ts";

/** nsqd's default for --max-msg-size. */
const NSQD_MAX_MSG_BYTES = 1024 * 1024;

/**
 * Writes what a stopped broker has still to deliver as a data path of Go's nsqd. The broker's data is read as a broker recovers it,
 * but all changes stay in memory. The caller holds the lock of the broker's data path.
 *
 * @param target made if it does not exist
 * @returns the number of problems, which are logged
 * @throws StartError; nothing is left in the target then
 */
export async function exportNsqdData(options: BrokerOptions, target: string, maxBytesPerFile: number, logger: Logger): Promise<number> {
  const { dataPath } = options;
  const directory = join(dataPath, DATA_FOLDER);
  if (target === dataPath)
    throw new StartError(`${target} is the broker's own data path, whose next start would import nsqd's files again; name another`);
  if (!existsSync(directory)) throw new StartError(`there is no ${DATA_FOLDER} in ${dataPath}`);
  refuseUnfinishedImport(dataPath);
  const state = inspectMetadata(join(directory, METADATA_FILE));
  if (state === "locked") throw new StartError(`${directory} is in use by a running broker; stop it first`);
  if (state !== "sound")
    throw new StartError(`the metadata store in ${directory} is damaged or missing; run bunsq check --repair ${dataPath} first`);
  try {
    mkdirSync(target, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new StartError(`cannot make ${target}: ${(error as Error).message}`);
  }
  const unlock = lockExclusively(target, logger);
  try {
    if (isNsqdDataPath(target)) throw new StartError(`${target} has data of nsqd already; name an empty folder`);
    return await new NsqdExport(options, directory, target, maxBytesPerFile, logger).run();
  } finally {
    unlock();
  }
}

class NsqdExport {
  private readonly disk: Disk = new OverlayDisk(systemDisk);
  private readonly counts: ExportCounts = { messages: 0, deferred: 0, unreadable: 0, largestBodyBytes: 0, headersLost: 0 };
  private readonly pace: Pace;
  private readonly recycler: Recycler;
  private readonly journaled: JournalContents;
  private topic = "";

  constructor(
    private readonly options: BrokerOptions,
    private readonly directory: string,
    private readonly target: string,
    private readonly maxBytesPerFile: number,
    private readonly logger: Logger,
  ) {
    this.pace = new Pace(logger, () => `exporting topic ${this.topic}: ${this.counts.messages} messages written`);
    this.recycler = new Recycler(this.disk, join(directory, "recycled"), Number.MAX_SAFE_INTEGER);
    this.journaled = readJournal(this.disk, join(directory, JOURNAL_FILE)).contents;
  }

  async run(): Promise<number> {
    const metadata = new MetadataStore(this.directory);
    try {
      return await this.export(metadata);
    } catch (error) {
      for (const name of nsqdFiles(this.target)) unlinkSync(join(this.target, name));
      if (error instanceof StartError) throw error;
      throw new StartError(`cannot export to ${this.target}: ${(error as Error).message}; nothing is left there`);
    } finally {
      metadata.close();
    }
  }

  private async export(metadata: MetadataStore): Promise<number> {
    const { directory, target, maxBytesPerFile, counts, pace, logger, disk } = this;
    const deleted = new Set(deletedFolders(disk, directory).map(({ topicId }) => topicId));
    const rows = metadata.topics().filter(({ id, number, name }) => {
      const folder = topicFolder(directory, number, name);
      return !deleted.has(id) && !(disk.exists(folder) && isMarkedDeleted(disk, folder, metadata.numbers.wasUsedBefore(number)));
    });
    const topics = rows.map((row) => ({ row, channels: metadata.channels(row.id) }));
    for (const { row, channels } of topics) {
      if (row.damaged !== true && channels.every(({ damaged }) => damaged !== true)) continue;
      throw new StartError(`a row of topic ${row.name} in the metadata store is damaged; start a broker once, which repairs it`);
    }
    const synced = metadata.syncedSequences();
    const channelsById = new Map(topics.flatMap(({ channels }) => channels.map((channel): [number, ChannelRow] => [channel.id, channel])));
    const rowsById = new Map(topics.map((topic) => [topic.row.id, topic]));
    const deferred = new DeferredExport(directory, disk, logger, channelsById, metadata.heldEntries(), (topicId, sequence) => {
      const topic = rowsById.get(topicId);
      return topic !== undefined && this.openFiles(topic.row, topic.channels, synced.get(topicId)).survivedRestart(sequence);
    });
    const exported: NsqdTopic[] = [];
    for (const [name, partitions] of Map.groupBy(topics, ({ row }) => parsePartitionName(row.name).topic)) {
      this.topic = name;
      const channels = channelsOf(name, partitions);
      const files = partitions.map(({ row, channels }) => this.openFiles(row, channels, synced.get(row.id)));
      const logs = partitions.map(
        ({ row }, i) => new TopicLog(new ChunkPool(0), systemClock, row.prefix ?? idPrefix(this.options.nodeId, row.number), files[i]),
      );
      await exportTopic(
        { target, maxBytesPerFile, deferred, counts, pace },
        name,
        channels.map((channel) => channel.name),
        partitions,
        logs,
      );
      for (const file of files) await file.close();
      exported.push({ name, paused: partitions.some(({ row }) => row.paused), channels });
    }
    // Without this file nsqd takes none of the others, so it is the last one.
    writeNsqdMetadata(target, exported);
    return this.tell(exported);
  }

  /** Opens a log as a broker does at its start, with what only the journal has. */
  private openFiles(row: TopicRow, channels: readonly ChannelRow[], syncedSequence: number | undefined): LogFiles {
    const { options, directory, disk, recycler, logger } = this;
    const neededSequence = Math.min(row.released, ...channels.map(({ floor }) => floor));
    const files = new LogFiles(
      {
        ...{ disk, recycler, logger, syncedSequence, neededSequence },
        directory: topicFolder(directory, row.number, row.name),
        topicId: row.id,
        topicNumber: row.number,
        topicName: row.name,
        maxBytesPerFile: options.maxBytesPerFile,
        syncEvery: options.syncEvery,
        onCorrupt: () => {},
      },
      neededSequence,
    );
    replayJournal(this.journaled.of(row.id, row.number), files.nextSequence, (records, firstSequence, count, timeMs) => {
      files.restoreJournaled(records, firstSequence, count, timeMs);
    });
    return files;
  }

  /** Says what was exported and what nsqd does not keep. @returns the number of problems */
  private tell(exported: readonly NsqdTopic[]): number {
    const { counts, logger, target } = this;
    const { messages, deferred, unreadable, largestBodyBytes, headersLost } = counts;
    if (deferred > 0)
      logger.info(`${deferred} of the messages are deferred; nsqd does not store when they are due, and delivers them at once`);
    if (headersLost > 0) logger.info(`${headersLost} messages had headers, which nsqd does not have: their bodies were exported without`);
    if (largestBodyBytes > NSQD_MAX_MSG_BYTES) {
      logger.info(
        `the largest body has ${largestBodyBytes} bytes; start nsqd with --max-msg-size=${largestBodyBytes} or more, or it gives up that file`,
      );
    }
    if (unreadable > 0) logger.error(`${unreadable} messages are damaged or missing in the logs, and were not exported`);
    const channels = exported.reduce((count, topic) => count + topic.channels.length, 0);
    logger.info(`exported ${exported.length} topics, ${channels} channels and ${messages} messages in their queues to ${target}`);
    return unreadable > 0 ? 1 : 0;
  }
}

/**
 * The channels of a topic. Each partition has a row of each, in the same order. A channel that is paused in one of them is paused in nsqd.
 *
 * @throws StartError if one is missing
 */
function channelsOf(topic: string, partitions: readonly StoredPartition[]): { name: string; paused: boolean }[] {
  const names = partitions[0].channels.map(({ name }) => name);
  for (const { channels } of partitions) {
    if (channels.length === names.length && channels.every(({ name }, i) => name === names[i])) continue;
    throw new StartError(
      `partitions of topic ${topic} in the metadata store have different channels; start a broker once, which repairs it`,
    );
  }
  return names.map((name, i) => ({ name, paused: partitions.some(({ channels }) => channels[i].paused) }));
}
