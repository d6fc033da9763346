import { runToEnd } from "../../base/run-to-end.ts";
import { StartError } from "../../base/start-error.ts";
import type { ReadFailures, ReadRetry } from "../storage/disk/read-failures.ts";
import { UnreadableFile } from "../storage/disk/unreadable-file.ts";
import type { RestoreResult } from "../storage/metadata/metadata-backup.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { TopicRegistry } from "../topics/topic-registry.ts";
import type { WaitingTopic } from "../topics/waiting-topic.ts";
import { DeferredRecovery } from "./deferred-recovery.ts";
import { TopicRecovery, type RecoveryParts as TopicRecoveryParts, type TopicSource } from "./topic-recovery.ts";
import type { WithoutUnreadable } from "./without-unreadable.ts";

export interface RecoveryParts extends TopicRecoveryParts {
  readonly readFailures: ReadFailures;
  readonly withoutUnreadable: WithoutUnreadable;
}

/** How far the opening of the topics of an earlier run is. */
export interface RecoveryProgress {
  readonly opened: number;
  readonly total: number;
}

/** A topic that is to be opened. */
interface ToOpen extends WaitingTopic {
  readonly retry: ReadRetry;
  readonly source: TopicSource;
}

/**
 * Restores what an earlier run left: topics, channels and deferred messages. What cannot be read waits, alone, and is tried again
 * until it can; everything else starts.
 */
export class Recovery {
  /** Called with each partition that was opened after the start. */
  onOpened: (partition: TopicPartition) => void = () => {};
  private readonly topics: TopicRecovery;
  private readonly deferred: DeferredRecovery;
  /** The retries of reading what all topics rest on: the journal, and the names of their folders. */
  private readonly basis: ReadRetry;
  private readonly toOpen = new Set<ToOpen>();
  private prepared = false;
  private started = false;
  /** Nothing waits any more. */
  private complete = false;

  /**
   * @param directory the broker's folder below the data path
   * @param found whether the metadata store is as the earlier run left it, or its backup took its place
   */
  constructor(
    private readonly parts: RecoveryParts,
    private readonly registry: TopicRegistry,
    private readonly directory: string,
    found: RestoreResult,
  ) {
    this.topics = new TopicRecovery(parts, registry, directory, found);
    this.deferred = new DeferredRecovery(parts, registry, this.topics);
    this.basis = parts.readFailures.retry("opening topics", () => {});
  }

  /**
   * Restores what can be read. Between two topics the caller may do other work.
   *
   * @throws StartError when a newer version wrote one of the files
   */
  *run(): Generator<RecoveryProgress, void> {
    const { metadata, logger } = this.parts;
    metadata.numbers.freeOrphaned();
    const channelIds = metadata.channelIds();
    for (const row of metadata.topics()) this.expect(this.topics.rowSource(row), channelIds.get(row.id) ?? []);
    const { toOpen, registry } = this;
    for (const _ of this.openAll()) yield { opened: registry.topics.size, total: registry.topics.size + toOpen.size };
    this.parts.withoutUnreadable.run(() => {
      this.deferred.run();
      const { unrecovered } = this.parts.deferred;
      if (!this.parts.withoutUnreadable.applies(unrecovered)) return;
      this.parts.deferred.forgetReadFailures();
      throw unrecovered;
    });
    this.started = true;
    const { topics, channelCount } = this.registry;
    if (topics.size > 0) logger.info(`NSQ: ${topics.size} topics and ${channelCount} channels restored from ${this.directory}`);
  }

  /** Which of some entries of the deferred store a power cut has left, by their numbers. */
  storedEntries(numbers: ReadonlySet<number>): ReadonlySet<number> {
    return this.deferred.stored(numbers);
  }

  /** Tries again to open and read what waits, if it is time to. */
  resume(): void {
    if (this.complete) return;
    if (this.toOpen.size > 0 || !this.prepared) runToEnd(this.openAll());
    if (this.parts.deferred.unrecovered !== undefined) this.deferred.run();
    this.complete = this.prepared && this.toOpen.size === 0 && this.parts.deferred.unrecovered === undefined;
  }

  private *openAll(): Generator<void, void> {
    if (!(yield* this.prepare())) return;
    yield* this.tryAll();
    if (this.toOpen.size > 0) return this.parts.journal.hold();
    this.topics.removeDeletedTopics();
    this.topics.end();
  }

  private *tryAll(): Generator<void, void> {
    for (const topic of this.toOpen) {
      this.tryToOpen(topic);
      yield;
    }
  }

  /** Reads what all topics rest on. @returns false if that must wait */
  private *prepare(): Generator<void, boolean> {
    if (this.prepared) return true;
    if (this.basis.isWaiting) return false;
    try {
      this.parts.withoutUnreadable.run(() => this.topics.prepare());
      yield* this.topics.readTopicFiles();
    } catch (error) {
      if (!(error instanceof UnreadableFile) && !this.started) throw error;
      this.basis.failed(error as Error);
      // Until it is known which topics there were, a new one could take the folder of another.
      this.registry.creationRefusal = error as Error;
      this.parts.journal.hold();
      return false;
    }
    this.prepared = true;
    this.basis.succeeded();
    this.registry.creationRefusal = undefined;
    // Rows go first: a folder that a row has is not one without a row.
    yield* this.tryAll();
    for (const source of this.topics.folderSources()) this.expect(source);
    return true;
  }

  /** @param known the ids of the topic's channels; undefined: the metadata store is asked for them */
  private expect(source: TopicSource, known?: readonly number[]): void {
    const { name, id } = source;
    const channelIds = known ?? (id === 0 ? [] : this.parts.metadata.channels(id).map((channel) => channel.id));
    const retry = this.parts.readFailures.retry(`TOPIC(${name})`, () => {});
    const { basis } = this;
    const topic: ToOpen = {
      name,
      id,
      nameCrc: Bun.hash.crc32(name),
      channelIds,
      source,
      retry,
      get failure() {
        return retry.failure ?? basis.failure;
      },
    };
    this.toOpen.add(topic);
    this.registry.addWaiting(topic);
  }

  /** Opens a topic. Whatever it fails at, the topic waits. @throws StartError at the start */
  private tryToOpen(topic: ToOpen): void {
    if (topic.retry.isWaiting) return;
    let opened: TopicPartition | undefined;
    // A folder that is left of an earlier topic may have the name of one that is open.
    const other = this.registry.topics.get(topic.name);
    const forget = () => {
      if (this.registry.topics.get(topic.name) !== other) this.registry.forgetTopic(topic.name);
    };
    try {
      opened = this.parts.withoutUnreadable.run(() => {
        forget();
        return topic.source.open();
      });
      if (this.started && opened !== undefined) this.deferred.runTopic(opened);
    } catch (error) {
      forget();
      if (error instanceof StartError && !this.started) throw error;
      topic.retry.failed(error as Error);
      return;
    }
    this.toOpen.delete(topic);
    this.registry.removeWaiting(topic);
    topic.retry.succeeded();
    if (this.started && opened !== undefined) this.announce(opened);
  }

  /** Does for a topic that was opened late what the others had at the start. */
  private announce(partition: TopicPartition): void {
    this.onOpened(partition);
    this.registry.observer?.topicOpened(partition.topic);
    for (const channel of partition.channels.values()) channel.markDirty();
    partition.markTrimmable();
  }
}
