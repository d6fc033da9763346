import { join } from "node:path";
import { idPrefix, topicNumberOf } from "../../frame/id.ts";
import { isEphemeral } from "../../frame/names.ts";
import { PublishError } from "../acks/pending-publish.ts";
import { FolderNames } from "../storage/disk/folder-names.ts";
import { deletedFolder } from "../storage/log/deleted-folder.ts";
import { LogFiles, type LogFilesOptions } from "../storage/log/log-files.ts";
import { TopicFiles, type TopicIdentity } from "../storage/log/topic-file.ts";
import { TopicLog } from "../storage/log/topic-log.ts";
import { topicFolder } from "../storage/metadata/metadata-backup.ts";
import { MEMORY_TOPIC_RESERVE, type NewTopic } from "../storage/metadata/metadata-store.ts";
import { partitionName } from "../storage/metadata/partition-name.ts";
import { isPlain, type TopicSettings } from "../storage/metadata/topic-settings.ts";
import { OperatorError } from "./operator-error.ts";
import type { TopicPartition } from "./topic-partition.ts";
import type { RegistryParts } from "./topic-parts.ts";
import type { PartitionOrigin, TopicPlan } from "./topic-plan.ts";

/** A partition that was made and is not open yet. */
export interface MadePartition extends NewTopic {
  /** The name of its row. */
  readonly name: string;
  readonly index: number;
  /** Position of its first message. */
  readonly firstPosition: number;
}

/** A partition of which only the log may tell the prefix, because an earlier release made it. */
export type KnownIdentity = Omit<TopicIdentity, "prefix"> & { prefix: number | undefined };

/** The options of log files that depend on what an earlier run noted, and the call that counts damage. */
export type NotedOfFiles = Partial<LogFilesOptions> & Pick<LogFilesOptions, "onCorrupt">;

/** The rows, folders and logs of partitions: makes, opens and removes them. */
export class PartitionStore {
  private readonly topicFiles: TopicFiles;
  /** The names of the logs' folders. */
  private readonly folders: FolderNames;

  /** @param directory the broker's folder below the data path */
  constructor(
    private readonly parts: RegistryParts,
    private readonly directory: string,
  ) {
    this.folders = new FolderNames(parts.disk, join(directory, "topics"));
    parts.disk.makeDirectory(this.folders.directory);
    this.topicFiles = new TopicFiles({ ...parts, folders: this.folders });
  }

  close(): void {
    this.topicFiles.close();
  }

  /**
   * Gives partitions that are new to a topic their numbers, and unless the topic is #ephemeral their rows: all or none.
   *
   * @param plan settings of the topic with them, and which they are
   * @param newId gives an id without a row
   * @param settle writes what else the rows of a stored topic say, in the same transaction
   * @throws PublishError; what the metadata store throws
   */
  make(
    topic: string,
    { settings, missing, origins }: TopicPlan,
    newId: () => number,
    settle: (made: readonly MadePartition[]) => void,
  ): MadePartition[] {
    const { metadata } = this.parts;
    if (isEphemeral(topic)) return missing.map((index) => this.makeInMemory(topic, index, newId()));
    const work = () => {
      const made = missing.map((index) => this.makeStored(topic, index, origins?.get(index)));
      metadata.topicSettings.save(topic, settings);
      settle(made);
      return made;
    };
    // What settings say of messages must not be lost while the messages are there.
    return metadata.changeAll(work, isPlain(settings) ? undefined : true);
  }

  private makeStored(topic: string, index: number, origin: PartitionOrigin | undefined): MadePartition {
    const name = partitionName(topic, index);
    const made = this.parts.metadata.makeTopic(name, (number) => origin?.prefix ?? this.newPrefix(number), origin?.firstSequence);
    if (made === undefined) throw new PublishError("too many topics");
    return { name, index, firstPosition: origin?.firstPosition ?? 0, ...made };
  }

  private makeInMemory(topic: string, index: number, id: number): MadePartition {
    const allocated = this.parts.metadata.numbers.allocate(MEMORY_TOPIC_RESERVE);
    if (allocated === undefined) throw new PublishError("too many topics");
    return { name: partitionName(topic, index), index, id, prefix: this.newPrefix(allocated.number), firstPosition: 0, ...allocated };
  }

  /**
   * Takes make() back.
   *
   * @param settings of the topic without them
   * @throws what the metadata store throws; the next topics of these names replace the rows
   */
  unmake(topic: string, made: readonly MadePartition[], settings: TopicSettings): void {
    const { metadata } = this.parts;
    if (isEphemeral(topic)) {
      for (const { number, nextSequence } of made) metadata.numbers.free(number, nextSequence);
      return;
    }
    metadata.changeAll(() => {
      for (const { id, number, nextSequence } of made) metadata.removeTopic(id, number, nextSequence);
      metadata.topicSettings.save(topic, settings);
    }, true);
  }

  /**
   * Opens the log of a partition.
   *
   * @param known what an earlier run noted of its files
   * @param opened called with the files before anything else reads them
   * @param inFolder what the topic's file says, if the caller has read it
   */
  openLog(
    identity: KnownIdentity,
    inMemory: boolean,
    firstSequence: number,
    known: NotedOfFiles,
    opened: (files: LogFiles) => void,
    inFolder: TopicIdentity | undefined,
  ): TopicLog {
    const { id, number, name } = identity;
    const files = inMemory ? undefined : this.openFiles(identity, firstSequence, known);
    if (files !== undefined) opened(files);
    const prefix = identity.prefix ?? files?.recordedPrefix ?? this.newPrefix(number);
    if (files !== undefined) {
      files.prefix = prefix;
      this.topicFiles.write(files.names, { id, number, name, prefix }, inFolder);
    }
    return new TopicLog(this.parts.chunks, this.parts.clock, prefix, files, firstSequence);
  }

  /** The beginning of the ids of a partition that is new, or of which nothing tells what it was. */
  private newPrefix(number: number): number {
    return idPrefix(this.parts.options.nodeId, number);
  }

  private openFiles({ id, number, name, prefix }: KnownIdentity, firstSequence: number, known: NotedOfFiles): LogFiles {
    const { options, disk, clock, ballast, recycler, logger } = this.parts;
    const { maxBytesPerFile, syncEvery } = options;
    return new LogFiles(
      {
        disk,
        clock,
        directory: this.folder(number, name),
        folders: this.folders,
        topicId: id,
        // Where the prefix was given by others, the folder's number is not the one in the ids.
        topicNumber: prefix === undefined ? number : topicNumberOf(prefix),
        topicName: name,
        prefix,
        maxBytesPerFile,
        syncEvery,
        ballast,
        recycler,
        logger,
        ...known,
      },
      firstSequence,
    );
  }

  /**
   * Renames the partitions' folders to names that no topic has, and removes their rows. From then on nothing of them comes back,
   * however much of the folders can be removed. Recovery adopts a folder that has no row, so the folders are first; where it finds
   * that of a first partition renamed, it goes on with the deletion of the others.
   *
   * @param partitions all of a topic
   * @throws OperatorError NOT_STORED if disk or metadata store did not take it; the topic is as before then
   */
  delete(topic: string, partitions: readonly TopicPartition[]): void {
    if (isEphemeral(topic)) {
      for (const partition of partitions) this.freeNumber(partition);
      return;
    }
    const moved: TopicPartition[] = [];
    try {
      for (const partition of partitions) {
        // A full disk must not keep a topic from being deleted, and may have no room for a longer name.
        this.parts.ballast.use(() => partition.log.files?.moveTo(deletedFolder(this.directory, partition.id)));
        moved.push(partition);
        // Should the power fail with another folder renamed and not this one, the topic would come back without that.
        if (moved.length === 1) this.folders.syncRemovalNow();
      }
      // Should the power fail with the rows gone and a folder's old name there, the topic would be restored from it.
      if (moved.length > 1) this.folders.syncRemovalNow();
      this.removeRows(topic, partitions);
    } catch (error) {
      const failure = this.moveBack(moved) ?? (error as Error);
      this.parts.logger.error(`TOPIC(${topic}): cannot delete it: ${failure.message}`, { topic });
      throw new OperatorError("NOT_STORED");
    }
  }

  /**
   * Removes some partitions of a topic. Should the power fail before their folders are renamed, the next start takes them up without rows,
   * and they are dropped again.
   *
   * @param settings of the topic without them
   */
  drop(topic: string, partitions: readonly TopicPartition[], settings: TopicSettings): void {
    const { metadata, ballast, logger } = this.parts;
    try {
      metadata.changeAll(() => {
        for (const { id, number, log } of partitions) metadata.removeTopic(id, number, log.next);
        metadata.topicSettings.save(topic, settings);
      }, true);
    } catch (error) {
      logger.error(`TOPIC(${topic}): cannot drop partitions: ${(error as Error).message}`, { topic });
      throw new OperatorError("NOT_STORED");
    }
    for (const partition of partitions) ballast.use(() => partition.log.files?.moveTo(deletedFolder(this.directory, partition.id)));
    this.folders.sync(() => {});
  }

  private removeRows(topic: string, partitions: readonly TopicPartition[]): void {
    const { metadata } = this.parts;
    metadata.changeAll(() => {
      for (const { id, number, log } of partitions) metadata.removeTopic(id, number, log.next);
      metadata.topicSettings.remove(topic);
      metadata.channelSettings.removeTopic(topic);
    }, true);
  }

  /** Takes the renaming of folders back, that of the first partition last. @returns why one could not be */
  private moveBack(moved: readonly TopicPartition[]): Error | undefined {
    if (moved.length === 0) return undefined;
    try {
      for (const { number, name, log } of moved.toReversed()) log.files?.moveBack(this.folder(number, name));
    } catch (error) {
      return error as Error;
    }
    // Should the power fail with the rows and the deleted folders' names there, the topic would be deleted after all.
    this.folders.sync(() => {});
    return undefined;
  }

  private freeNumber({ number, name, log }: TopicPartition): void {
    try {
      this.parts.metadata.numbers.free(number, log.next);
    } catch (error) {
      // The next start frees it.
      this.parts.logger.error(`TOPIC(${name}): its number stays in use: ${(error as Error).message}`, { topic: name });
    }
  }

  /** Removes the files of a partition that is deleted, off the event loop. */
  removeFiles({ name, log }: TopicPartition): void {
    log.files?.remove((error) =>
      this.parts.logger.error(`TOPIC(${name}): cannot remove all of its files: ${error.message}`, { topic: name }),
    );
  }

  private folder(number: number, name: string): string {
    return topicFolder(this.directory, number, name);
  }
}
