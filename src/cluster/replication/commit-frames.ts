import { UnreadableFile } from "../../broker/storage/disk/unreadable-file.ts";
import type { ReplicaLog } from "./replica-log.ts";
import type { PartitionParts, ReplicationParts } from "./replica-parts.ts";
import { encodeFrame } from "./wire.ts";

/** Some commits of a log as one frame, or that nobody has them any more. */
export interface CommitFrame {
  /** The sequence of its first message, and the one after its last. */
  readonly from: number;
  readonly end: number;
  /** What its commits have. */
  readonly bytes: number;
  readonly frame: Buffer;
  readonly isSkip: boolean;
}

/** The commits of one log as frames for followers, in one epoch. All followers that keep up get the same frame. */
export class CommitFrames {
  private last: { readonly of: CommitFrame; readonly mark: number } | undefined;

  constructor(
    private readonly parts: Pick<ReplicationParts, "errors">,
    private readonly partition: PartitionParts,
    private readonly epoch: number,
  ) {}

  /** To be called when all followers have been looked at. */
  forget(): void {
    this.last = undefined;
  }

  /** The commits from a sequence on; undefined where the log cannot give them now. @param mark the high watermark, which goes along */
  from(from: number, maxBytes: number, mark: number): CommitFrame | undefined {
    const { last, epoch } = this;
    const { number: partition, log } = this.partition;
    if (last?.of.from === from && last.mark === mark && last.of.end === log.end) return last.of;
    const run = this.commitsFrom(from, maxBytes);
    if (run === undefined) return undefined;
    if (run.isGap) return this.skip(from, Math.min(run.nextSequence, log.end));
    const { firstSequence, count } = run.commits[run.commits.length - 1];
    const frame = encodeFrame({ kind: "append", partition, epoch, highWatermark: mark, run });
    const of = { from, end: firstSequence + count, bytes: run.bytes.length, frame, isSkip: false };
    this.last = { of, mark };
    return of;
  }

  private skip(from: number, to: number): CommitFrame {
    const { number: partition } = this.partition;
    return { from, end: to, bytes: 0, frame: encodeFrame({ kind: "skip", partition, epoch: this.epoch, from, to }), isSkip: true };
  }

  /** Where they cannot be read now, or are damaged and read from another replica, followers wait. */
  private commitsFrom(sequence: number, maxBytes: number): ReturnType<ReplicaLog["commitsFrom"]> {
    try {
      return this.partition.log.commitsFrom(sequence, maxBytes);
    } catch (error) {
      if (!(error instanceof UnreadableFile)) throw error;
      this.parts.errors.error(`PARTITION(${this.partition.name}): followers wait: ${error.message}`);
      return undefined;
    }
  }
}
