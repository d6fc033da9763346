import type { Database } from "bun:sqlite";
import type { RandomSource } from "../../../base/random-source.ts";
import { TOPIC_NUMBER_LIMIT } from "../../../frame/id.ts";
import type { Ballast } from "../disk/ballast.ts";

/** More sequences than a topic gives to messages between two backups of the store. */
export const BACKUP_SEQUENCES = 2 ** 30;

/** The numbers of topics, which are part of message ids, and the sequences that topics with them have given, also those that are deleted. */
export class TopicNumbers {
  constructor(
    private readonly database: Database,
    private readonly ballast: Ballast,
    private readonly random: RandomSource,
  ) {}

  /**
   * Allocates a topic number that no topic uses, and the sequence at which the new topic begins.
   *
   * @param reserve how many sequences count as used from here on. A memory-only topic needs it: nothing else records the sequences
   *   that it gives to messages, and after a crash they must not be given again
   * @returns undefined when all 16,384 numbers are in use
   */
  allocate(reserve: number): { number: number; nextSequence: number } | undefined {
    return this.ballast.use(this.database.transaction(() => this.take(reserve)));
  }

  /** Allocates a number, as a part of a transaction. */
  take(reserve: number): { number: number; nextSequence: number } | undefined {
    const free = this.database
      .query("SELECT number, next_sequence AS nextSequence FROM numbers WHERE used = 0 ORDER BY number LIMIT 1")
      .get() as { number: number; nextSequence: number } | null;
    if (free !== null) {
      this.database.query("UPDATE numbers SET used = 1, next_sequence = ? WHERE number = ?").run(free.nextSequence + reserve, free.number);
      return free;
    }
    const { count } = this.database.query("SELECT count(*) AS count FROM numbers").get() as { count: number };
    if (count >= TOPIC_NUMBER_LIMIT) return undefined;
    const nextSequence = this.freshSequence();
    this.database.query("INSERT INTO numbers (number, used, next_sequence) VALUES (?, 1, ?)").run(count, nextSequence + reserve);
    return { number: count, nextSequence };
  }

  /** The sequence at which a topic begins whose number no topic had before. */
  private freshSequence(): number {
    const row = this.database.query("SELECT next_sequence AS nextSequence FROM fresh_numbers").get() as { nextSequence: number } | null;
    return row?.nextSequence ?? 0;
  }

  /**
   * To be called when changes of the store were lost: topics that get a free number begin behind all sequences that topics with
   * that number, of which nothing is known any more, may have given.
   *
   * @param everything nothing of the store is left. Its place in the sequences is drawn at random then, since this may happen again
   */
  skipLostSequences(everything: boolean): void {
    const drawn = Buffer.alloc(1);
    if (everything) this.random(drawn);
    const sequences = BACKUP_SEQUENCES * (1 + drawn[0]);
    this.ballast.use(
      this.database.transaction(() => {
        this.database.query("UPDATE numbers SET next_sequence = next_sequence + ? WHERE used = 0").run(sequences);
        this.database.query("INSERT OR REPLACE INTO fresh_numbers (id, next_sequence) VALUES (1, ?)").run(this.freshSequence() + sequences);
      }),
    );
  }

  /** Whether a topic had this number before the one that has it now. */
  wasUsedBefore(number: number): boolean {
    return this.database.query("SELECT 1 FROM numbers WHERE number = ? AND next_sequence > 0").get(number) !== null;
  }

  /** Reserves the sequences of a memory-only topic's number up to `nextSequence`. */
  reserve(number: number, nextSequence: number): void {
    this.ballast.use(() => this.database.query("UPDATE numbers SET next_sequence = ? WHERE number = ?").run(nextSequence, number));
  }

  /** Frees the number of a memory-only topic; the topic that gets it next begins at `nextSequence`. */
  free(number: number, nextSequence: number): void {
    this.ballast.use(() =>
      this.database.query("UPDATE numbers SET used = 0, next_sequence = ? WHERE number = ?").run(nextSequence, number),
    );
  }

  /** Frees the numbers that memory-only topics of an earlier run had. */
  freeOrphaned(): void {
    this.ballast.use(() => this.database.run("UPDATE numbers SET used = 0 WHERE used = 1 AND number NOT IN (SELECT number FROM topics)"));
  }

  /** Gives a topic the number that its folder has, as a part of a transaction. @returns the sequence at which it goes on if it has no log */
  claim(number: number): number {
    const { count } = this.database.query("SELECT count(*) AS count FROM numbers").get() as { count: number };
    const add = this.database.query("INSERT INTO numbers (number, used, next_sequence) VALUES (?, 0, ?)");
    for (let missing = count; missing <= number; missing++) add.run(missing, this.freshSequence());
    const { nextSequence } = this.database
      .query("UPDATE numbers SET used = 1 WHERE number = ? RETURNING next_sequence AS nextSequence")
      .get(number) as { nextSequence: number };
    return nextSequence;
  }

  /** Frees the number of a topic that is removed, as a part of a transaction. The topic that gets it next begins at `nextSequence` or later. */
  giveBack(number: number, nextSequence: number): void {
    this.database.query("UPDATE numbers SET used = 0, next_sequence = max(next_sequence, ?) WHERE number = ?").run(nextSequence, number);
  }
}
