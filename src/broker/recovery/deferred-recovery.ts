import type { Logger } from "../../base/logger.ts";
import { BODY_OFFSET, ID_OFFSET } from "../../frame/frame.ts";
import type { DeferredStore } from "../storage/deferred/deferred-store.ts";
import { KIND_PUBLISH, type ScannedEntry, type StoredEntry } from "../storage/deferred/entry.ts";
import { UnreadableFile } from "../storage/disk/unreadable-file.ts";
import type { FileNotes } from "../storage/file-notes.ts";
import { recordAt } from "../storage/log/records.ts";
import type { TopicLog } from "../storage/log/topic-log.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { TopicRegistry } from "../topics/topic-registry.ts";
import type { Turn } from "../topics/turn.ts";
import { EntryTally, isClaimed } from "./entry-tally.ts";
import { skipLost } from "./lost-messages.ts";

/**
 * How many sequences each log skips while a bucket cannot be read. The bucket may mention messages behind the log's end: some that
 * a crash took from the log, and deferred publishes that were about to join it. Later messages must not get their sequences: a
 * publish would seem to have joined.
 */
const SKIPPED_SEQUENCES = 2 ** 24;

export interface DeferredRecoveryParts {
  readonly deferred: DeferredStore;
  readonly logger: Logger;
  readonly turn: Pick<Turn, "queueSync">;
  readonly notes: Pick<FileNotes, "lastRunWroteAll">;
}

/** Restores what channels and topics of an earlier run have in the deferred store. */
export class DeferredRecovery {
  /** run() was called. */
  private started = false;
  /** After a power cut: numbers of publishes that had joined their logs, of which their buckets did not say so yet. */
  private readonly joined = new Set<number>();

  constructor(
    private readonly parts: DeferredRecoveryParts,
    private readonly registry: TopicRegistry,
    /** Tells whether rows of the metadata store are missing. */
    private readonly topics: { readonly rowsLost: boolean },
  ) {}

  /** Reads all buckets that were not read yet and are not waiting, for the topics that are open. */
  run(): void {
    const total = new EntryTally(this.registry);
    let tally = new EntryTally(this.registry);
    this.parts.deferred.recover(
      (entry, sequence) => {
        if (this.registry.waitingTopics.hasTopic(entry.topicId)) return undefined;
        return this.hasJoined(entry, sequence, tally);
      },
      (entry) => tally.add(entry),
      (counted) => {
        if (counted) {
          restorePublishes(tally);
          total.addAll(tally);
        }
        tally = new EntryTally(this.registry);
      },
    );
    if (total.unclaimed > 0 && this.topics.rowsLost) this.keepUnclaimed(total.unclaimed);
    this.apply(total);
    // Topics that are made later are in no bucket of an earlier run.
    if (!this.started) for (const partition of this.registry.partitions) this.skipMentioned(partition);
    this.started = true;
  }

  /** Restores what a partition has that was just opened. @throws UnreadableFile: nothing has changed then */
  runPartition(topic: TopicPartition): void {
    const tally = new EntryTally(this.registry);
    this.parts.deferred.recoverTopic(
      topic.id,
      (entry, sequence) => this.hasJoined(entry, sequence, tally),
      (entry) => tally.add(entry),
    );
    restorePublishes(tally);
    this.apply(tally);
    this.skipMentioned(topic);
  }

  /** Which of some entries, by their numbers, a power cut has left in their buckets or in the logs that they joined. */
  stored(numbers: ReadonlySet<number>): Set<number> {
    const found = new Set([...numbers].filter((number) => this.joined.has(number)));
    this.joined.clear();
    try {
      this.parts.deferred.revisitRecovered(({ number }) => {
        if (numbers.has(number)) found.add(number);
      });
    } catch (error) {
      if (!(error instanceof UnreadableFile)) throw error;
      this.parts.logger.error(`deferred messages: ${error.message}; those with idempotency keys may be published twice`);
    }
    return found;
  }

  private hasJoined(entry: ScannedEntry, sequence: number, tally: EntryTally): boolean {
    const topic = this.registry.partitionById(entry.topicId);
    if (topic === undefined) return false;
    if (
      topic.log.files?.survivedRestart(sequence) === true &&
      !isAnother(topic.log, sequence, entry.page, entry.frameAt, entry.frameBytes)
    ) {
      // That the entry is done with is noted after the next sync, which has to cover the log.
      this.parts.turn.queueSync(topic);
      if (!this.parts.notes.lastRunWroteAll) this.joined.add(entry.number);
      return true;
    }
    tally.mention(topic, sequence + 1);
    return false;
  }

  private apply(tally: EntryTally): void {
    const { stored, mentioned } = tally;
    for (const [channel, { all }] of stored) tally.mention(channel.partition, all.next);
    for (const [topic, next] of mentioned) skipLost(this.parts.logger, this.registry, topic, next);
    this.findSuperseded(tally);
    for (const [channel, { all }] of stored) {
      const { backlog, deferrals, inFlight, floor } = channel;
      deferrals.storedCount += all.size;
      // A message in the deferred store must not be delivered from the log as well. The cursor's last save before a crash may be
      // older than an entry. What was delivered from the log before the bucket could be read, Deferrals.due() finds.
      for (const { from, to } of all.rangesFrom(Math.max(floor, inFlight.window.cursor))) {
        // The run before may have been killed before it synced the entries.
        deferrals.moves.note();
        backlog.skip(from, to);
      }
    }
  }

  /** Makes all entries of a message but the last one void. A crash leaves several, if it comes before the older ones are marked as done. */
  private findSuperseded({ stored }: EntryTally): void {
    if ([...stored.values()].every(({ repeated }) => repeated.size === 0)) return;
    const visit = (entry: StoredEntry) => {
      const channel = entry.kind === KIND_PUBLISH ? undefined : this.registry.channelPartitions.get(entry.channelId);
      const repeated = channel === undefined ? undefined : stored.get(channel)?.repeated;
      const known = repeated?.get(entry.sequence);
      if (known === undefined || !this.registry.deferredTarget.wanted(entry)) return;
      if (known >= 0) this.registry.deferredTarget.supersede(Math.min(known, entry.number));
      repeated?.set(entry.sequence, Math.max(known, entry.number));
    };
    try {
      this.parts.deferred.revisitRecovered(visit);
    } catch (error) {
      if (!(error instanceof UnreadableFile)) throw error;
      this.parts.logger.error(
        `deferred messages: ${error.message}; messages that were requeued just before a crash may be delivered twice`,
      );
    }
  }

  /** Keeps entries aside that no topic and no channel gets: those of deleted ones, and those whose row was lost. */
  private keepUnclaimed(count: number): void {
    const { deferred, logger } = this.parts;
    const what = `${count} deferred messages belong to topics or channels that the metadata store does not know`;
    try {
      const path = deferred.keepAside((entry) => !isClaimed(this.registry, entry));
      logger.error(`${what}; they are not delivered, and kept as ${path}`);
    } catch (error) {
      logger.error(`${what}; they are not delivered, and cannot be kept: ${(error as Error).message}`);
    }
  }

  /** Skips sequences that a bucket may mention which was not read yet. */
  private skipMentioned(topic: TopicPartition): void {
    if (topic.log.files === undefined || this.parts.deferred.unrecovered === undefined) return;
    topic.skipLost(topic.log.next + SKIPPED_SEQUENCES);
  }
}

function restorePublishes({ publishes }: EntryTally): void {
  for (const [topic, numbers] of publishes) for (const number of numbers) topic.deferredPublishes.restore(number);
}

/**
 * Whether a log has another message at the sequence at which a publish was about to join it. The log may have refused the publish and
 * given the sequence to the next message, and the record that says so may not have been written.
 *
 * @param page holds the publish's frame at `frameAt`
 */
export function isAnother(log: TopicLog, sequence: number, page: Buffer, frameAt: number, frameBytes: number): boolean {
  const record = recordAt(log, sequence);
  if (record === undefined) return false;
  const { buffer, from, to } = record;
  if (to - from !== frameBytes) return true;
  // The id is the log's.
  const differs = (start: number, end: number) => buffer.compare(page, frameAt + start, frameAt + end, from + start, from + end) !== 0;
  return differs(0, ID_OFFSET) || differs(BODY_OFFSET, frameBytes);
}
