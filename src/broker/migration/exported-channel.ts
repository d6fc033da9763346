import type { SequenceSet } from "../recovery/sequence-set.ts";
import type { ChannelRow } from "../storage/metadata/rows.ts";
import { addRange, decodeProgress, type Range, type Tries } from "../topics/channel/progress.ts";
import { ABSENT } from "./topic-merge.ts";

/** Which messages of a log a channel has still to get. It is asked for ascending sequences. */
export class ExportedChannel {
  readonly name: string;
  readonly floor: number;
  private readonly finished: Range[];
  private readonly tried: Tries[];
  private finishedAt = 0;
  private triedAt = 0;

  /** @param stored sequences of messages that are in the deferred store, and not to be taken from the log */
  constructor(row: ChannelRow, stored: SequenceSet | undefined) {
    this.name = row.name;
    this.floor = row.floor;
    const { finished, tried } = decodeProgress(row.progress, row.floor);
    this.finished = finished;
    this.tried = tried;
    for (const { from, to } of stored?.rangesFrom(row.floor) ?? []) addRange(finished, from, to);
  }

  /** How often the channel sent a message to a consumer; ABSENT if it has finished it. */
  attemptsOf(sequence: number): number {
    if (sequence < this.floor) return ABSENT;
    const { finished, tried } = this;
    while (this.finishedAt < finished.length && finished[this.finishedAt].to <= sequence) this.finishedAt++;
    if (this.finishedAt < finished.length && finished[this.finishedAt].from <= sequence) return ABSENT;
    while (this.triedAt < tried.length && tried[this.triedAt].to <= sequence) this.triedAt++;
    const tries = tried[this.triedAt];
    return tries !== undefined && tries.from <= sequence ? tries.attempts : 0;
  }
}
