import { join } from "node:path";
import { idPrefix } from "../../frame/id.ts";
import { PublishError } from "../acks/pending-publish.ts";
import { FolderNames } from "../storage/disk/folder-names.ts";
import { deletedFolder } from "../storage/log/deleted-folder.ts";
import { LogFiles, type LogFilesOptions } from "../storage/log/log-files.ts";
import { TopicFiles, type TopicIdentity } from "../storage/log/topic-file.ts";
import { TopicLog } from "../storage/log/topic-log.ts";
import { topicFolder } from "../storage/metadata/metadata-backup.ts";
import { MEMORY_TOPIC_RESERVE, type NewTopic } from "../storage/metadata/metadata-store.ts";
import { OperatorError } from "./operator-error.ts";
import type { TopicPartition } from "./topic-partition.ts";
import type { RegistryParts } from "./topic-parts.ts";

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
   * Gives a partition that is new its number and its row.
   *
   * @param name of the row
   * @throws PublishError; what the metadata store throws
   */
  makeStored(name: string): NewTopic {
    const made = this.parts.metadata.makeTopic(name, (number) => this.newPrefix(number));
    if (made === undefined) throw new PublishError("too many topics");
    return made;
  }

  /** Gives a partition of an #ephemeral topic its number. @param id of nobody else @throws as makeStored() */
  makeInMemory(id: number): NewTopic {
    const allocated = this.parts.metadata.numbers.allocate(MEMORY_TOPIC_RESERVE);
    if (allocated === undefined) throw new PublishError("too many topics");
    return { id, prefix: this.newPrefix(allocated.number), ...allocated };
  }

  /** Takes makeStored() back. */
  unmake({ id, number, nextSequence }: NewTopic): void {
    // If this fails, the next topic of that name replaces the row.
    this.parts.metadata.removeTopic(id, number, nextSequence);
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
    isEphemeral: boolean,
    firstSequence: number,
    known: NotedOfFiles,
    opened: (files: LogFiles) => void,
    inFolder: TopicIdentity | undefined,
  ): TopicLog {
    const { id, number, name } = identity;
    const files = isEphemeral ? undefined : this.openFiles(identity, firstSequence, known);
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
        topicNumber: number,
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
   * Renames the partition's folder to a name that no topic has, and removes its row. From then on nothing of it comes back, however
   * much of the folder can be removed. Recovery adopts a folder that has no row, so the folder is first.
   *
   * @throws OperatorError NOT_STORED if disk or metadata store did not take it; the partition is as before then
   */
  delete(partition: TopicPartition): void {
    const { metadata, ballast, logger } = this.parts;
    const { id, number, name, log } = partition;
    const { files } = log;
    if (files === undefined) return this.freeNumber(partition);
    const folder = this.folder(number, name);
    try {
      // A full disk must not keep a topic from being deleted, and may have no room for a longer name.
      ballast.use(() => files.moveTo(deletedFolder(this.directory, id)));
      try {
        // Should the power fail with the row gone and the folder's old name there, the topic would be restored from it.
        this.folders.syncRemovalNow();
        metadata.removeTopic(id, number, log.next);
      } catch (error) {
        files.moveBack(folder);
        // Should the power fail with the row and the deleted folder's name there, the topic would be deleted after all.
        this.folders.sync(() => {});
        throw error;
      }
    } catch (error) {
      logger.error(`TOPIC(${name}): cannot delete it: ${(error as Error).message}`, { topic: name });
      throw new OperatorError("NOT_STORED");
    }
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
