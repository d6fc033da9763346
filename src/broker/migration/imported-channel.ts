import type { ChannelRow } from "../storage/metadata/rows.ts";
import { decodeProgress, encodeProgress, type Range, type Tries } from "../topics/channel/progress.ts";

/** The progress of a channel while messages are imported: it has finished all that it does not get. */
export class ImportedChannel {
  private readonly finished: Range[];
  private readonly tried: Tries[];
  /** How many messages it gets. */
  messages = 0;

  /**
   * @param row as it is in the metadata store
   * @param next messages from this sequence on are not decided yet
   */
  constructor(
    private readonly row: ChannelRow,
    private next: number,
  ) {
    const { finished, tried } = decodeProgress(row.progress, row.floor);
    this.finished = finished;
    this.tried = tried;
  }

  /** Gives it a message. Sequences ascend. @param attempts how often it was sent to a consumer */
  add(sequence: number, attempts: number): void {
    finish(this.finished, this.next, sequence);
    this.next = sequence + 1;
    this.messages++;
    if (attempts === 0) return;
    const last = this.tried.at(-1);
    if (last !== undefined && last.to === sequence && last.attempts === attempts) last.to++;
    else this.tried.push({ from: sequence, to: sequence + 1, attempts });
  }

  /** Its row when all messages below `end` are decided. */
  toRow(end: number): ChannelRow {
    const finished = this.finished.map(({ from, to }) => ({ from, to }));
    finish(finished, this.next, end);
    let { floor } = this.row;
    while (finished.length > 0 && finished[0].from <= floor) floor = Math.max(floor, finished.shift()?.to ?? 0);
    const tried = this.tried.filter(({ to }) => to > floor);
    return { ...this.row, floor, progress: encodeProgress({ finished, tried }, floor) };
  }
}

/** Adds a range behind all others. */
function finish(ranges: Range[], from: number, to: number): void {
  if (from >= to) return;
  const last = ranges.at(-1);
  if (last !== undefined && last.to === from) last.to = to;
  else ranges.push({ from, to });
}
