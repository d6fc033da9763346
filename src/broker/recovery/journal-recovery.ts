import type { Logger } from "../../base/logger.ts";
import type { DamageLog } from "../storage/damage-log.ts";
import type { Disk } from "../storage/disk/disk.ts";
import type { FileNotes } from "../storage/file-notes.ts";
import { JOURNAL_FILE, type Journal } from "../storage/log/journal.ts";
import { type JournalEntry, journalDamage, noJournal, readJournal } from "../storage/log/journal-reader.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";

/** What the recovery of a journal works with. */
export interface JournalRecoveryParts {
  readonly journal: Journal;
  readonly disk: Disk;
  readonly logger: Logger;
  readonly damage: DamageLog;
  readonly notes: FileNotes;
}

/** The topics, for which damage counts. */
interface Topics {
  readonly partitions: Iterable<TopicPartition>;
  partitionById(id: number): TopicPartition | undefined;
  countCorrupt(topicName: string): void;
}

/** The journal of an earlier run: what it had, what was lost with damage to it, and its end. */
export class JournalRecovery {
  private found = noJournal();

  constructor(
    private readonly parts: JournalRecoveryParts,
    private readonly registry: Topics,
  ) {}

  read(): void {
    const { disk, journal, notes } = this.parts;
    this.found = readJournal(disk, journal.path, notes.bytesOf(JOURNAL_FILE) !== undefined);
  }

  /** The commits of a topic, in the order in which they were written. */
  of(topicId: number, topicNumber: number): readonly JournalEntry[] {
    return this.found.contents.of(topicId, topicNumber);
  }

  /** Sequence of the first message of a topic. Undefined also for a journal of version 1, which may have those of an earlier topic with the number. */
  firstOf(topicId: number, topicNumber: number): number | undefined {
    return this.found.byNumber ? undefined : this.of(topicId, topicNumber)[0]?.firstSequence;
  }

  /** Reports that neither a log nor the journal has the messages of [from, to). */
  reportGap(topicName: string, from: number, to: number): void {
    const line = `TOPIC(${topicName}): messages from sequence ${from} to ${to - 1} are neither in its log nor in the journal`;
    // Either the earlier run skipped these sequences, or a power cut or damage took their messages.
    if (!this.isDamaged) return this.parts.logger.warn(line);
    this.registry.countCorrupt(topicName);
    this.parts.logger.error(line);
  }

  /** Everything that can be read in the journal is in the logs now: removes it, or keeps it where it is damaged. */
  end(): void {
    const { journal, logger } = this.parts;
    try {
      if (this.isDamaged) this.keep();
      else this.remove();
    } catch (error) {
      logger.error(`JOURNAL: cannot remove ${journal.path}: ${(error as Error).message}`);
    }
    this.found = noJournal();
  }

  private remove(): void {
    const { journal, damage } = this.parts;
    if (this.found.problems.length > 0) damage.warn(`${this.line}; a power cut explains it, because the journal is never synced`);
    journal.release();
  }

  private keep(): void {
    const { journal, damage } = this.parts;
    const { line } = this;
    const aside = journal.setAside();
    damage.report("journal", aside === undefined ? line : `${line}; it is kept as ${aside}`);
    for (const key of this.found.damaged.keys()) {
      const topic = this.topicOf(key);
      if (topic !== undefined) this.registry.countCorrupt(topic.name);
    }
  }

  private get line(): string {
    return journalDamage(this.parts.journal.path, this.found, (topic) => this.topicOf(topic)?.name);
  }

  private get isDamaged(): boolean {
    return this.found.problems.length > 0 && this.parts.notes.lastRun !== "power cut";
  }

  /** @param key the topic's id, or its number in a journal of version 1 */
  private topicOf(key: number): TopicPartition | undefined {
    if (!this.found.byNumber) return this.registry.partitionById(key);
    return [...this.registry.partitions].find(({ number }) => number === key);
  }
}
