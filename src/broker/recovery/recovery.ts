import { runToEnd } from "../../base/run-to-end.ts";
import { StartError } from "../../base/start-error.ts";
import type { ReadFailures, ReadRetry } from "../storage/disk/read-failures.ts";
import { UnreadableFile } from "../storage/disk/unreadable-file.ts";
import type { RestoreResult } from "../storage/metadata/metadata-backup.ts";
import { parsePartitionName } from "../storage/metadata/partition-name.ts";
import type { TopicRow } from "../storage/metadata/rows.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { TopicRegistry } from "../topics/topic-registry.ts";
import type { WaitingTopic } from "../topics/waiting-topic.ts";
import { CompleteTopics } from "./complete-topics.ts";
import { DeferredRecovery } from "./deferred-recovery.ts";
import { TopicRecovery, type RecoveryParts as TopicRecoveryParts } from "./topic-recovery.ts";
import type { TopicSource } from "./topic-source.ts";
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
  private readonly completion: CompleteTopics;
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
    this.completion = new CompleteTopics(parts, registry);
    this.topics = new TopicRecovery(parts, registry, directory, found);
    this.deferred = new DeferredRecovery(parts, registry, this.topics);
    this.basis = parts.readFailures.retry("opening topics", () => {});
  }

  /**
   * Restores what can be read. Between two partitions the caller may do other work.
   *
   * @throws StartError when a newer version wrote one of the files
   */
  *run(): Generator<RecoveryProgress, void> {
    const { metadata, logger } = this.parts;
    metadata.numbers.freeOrphaned();
    const channelIds = metadata.channelIds();
    for (const rows of rowsByTopic(metadata.topics())) {
      this.expect(
        this.topics.rowSource(rows),
        rows.flatMap(({ id }) => channelIds.get(id) ?? []),
      );
    }
    const { toOpen, registry } = this;
    for (const _ of this.openAll()) yield { opened: registry.topics.size, total: registry.topics.size + toOpen.size };
    this.completion.completeAll();
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
      yield* this.tryToOpen(topic);
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
    const { name, ids } = source;
    const channelIds = known ?? ids.flatMap((id) => (id === 0 ? [] : this.parts.metadata.channels(id).map((channel) => channel.id)));
    const retry = this.parts.readFailures.retry(`TOPIC(${name})`, () => {});
    const { basis } = this;
    const topic: ToOpen = {
      name,
      ids,
      nameCrc: Bun.hash.crc32(name),
      channelIds,
      source,
      retry,
      get failure() {
        return retry.failure ?? basis.failure;
      },
    };
    this.toOpen.add(topic);
    this.registry.waitingTopics.add(topic);
  }

  /** Opens a topic, a partition at a step. Whatever it fails at, the topic waits. @throws StartError at the start */
  private *tryToOpen(topic: ToOpen): Generator<void, void> {
    if (topic.retry.isWaiting) return;
    let opened: readonly TopicPartition[] = [];
    try {
      opened = yield* this.parts.withoutUnreadable.steps(() => {
        topic.source.forget();
        return topic.source.open();
      });
      if (this.started) for (const partition of opened) this.deferred.runPartition(partition);
    } catch (error) {
      topic.source.forget();
      if (error instanceof StartError && !this.started) throw error;
      topic.retry.failed(error as Error);
      return;
    }
    this.toOpen.delete(topic);
    this.registry.waitingTopics.remove(topic);
    topic.retry.succeeded();
    if (this.started) this.announce(opened);
  }

  /** Does for a topic that was opened late what the others had at the start. */
  private announce(opened: readonly TopicPartition[]): void {
    for (const partition of opened) this.onOpened(partition);
    for (const { topic } of opened.slice(0, 1)) {
      this.completion.complete(topic);
      this.registry.observer?.topicOpened(topic);
    }
    for (const partition of opened) {
      for (const channel of partition.channels.values()) channel.markDirty();
      partition.markTrimmable();
    }
  }
}

/** Rows by the topic whose partitions they are, each in the order of the indexes. A damaged row has no name that counts, and is by itself. */
function rowsByTopic(rows: readonly TopicRow[]): TopicRow[][] {
  const named = (row: TopicRow) => (row.damaged === true ? row : parsePartitionName(row.name).topic);
  const groups = [...Map.groupBy(rows, named).values()];
  const indexOf = (row: TopicRow) => parsePartitionName(row.name).index;
  return groups.map((group) => group.sort((a, b) => indexOf(a) - indexOf(b)));
}
