import { encodeFrame, FRAME_TYPE_ERROR } from "../../frame/frame.ts";

/** Bits of what acknowledgements wait for after the commit: a sync, the replicas of a partition, or the broker that leads it. */
export const WAITS_FOR_SYNC = 1;
export const WAITS_FOR_REPLICAS = 2;
export const WAITS_FOR_LEADER = 4;

/** A partition whose publishes are acknowledged when its replicas have them. */
export interface Replicated {
  /** Sequence after its last committed message. */
  readonly committedNext: number;
  /** Its replicas have the messages below this sequence. */
  readonly releasable: number;
  /** Why it refuses the publishes that its replicas lack; undefined: it does not. */
  readonly replicaFailure: Error | undefined;
  /** It stands for one publish that another broker carries out, and whose answer is waited for whatever others fail. */
  readonly isElsewhere?: true;
}

/** Something that a tick commits. The commit may fail. */
export interface Committed {
  failure: Error | undefined;
  /** WAITS_FOR_SYNC, WAITS_FOR_REPLICAS and WAITS_FOR_LEADER; 0: acknowledgements go out after the commit. */
  readonly waitsFor: number;
  /** The partitions whose replicas they wait for. */
  readonly replicated?: readonly Replicated[] | undefined;
  /** Why the last sync that its publishes waited for, or the broker that leads, refused them; undefined if it did not. */
  readonly syncFailure: Error | undefined;
}

/** Why a committed publish is refused after all. @param failure refuses whatever waits for more than its commit */
export function lateRefusal({ waitsFor, syncFailure }: Committed, failure: Error | undefined): Error | undefined {
  if (waitsFor === 0) return undefined;
  // Whatever else its client waits for, its leader has said what became of it.
  if (waitsFor === WAITS_FOR_LEADER) return syncFailure;
  return failure ?? ((waitsFor & (WAITS_FOR_SYNC | WAITS_FOR_LEADER)) !== 0 ? syncFailure : undefined);
}

/** A publish that waits for its commit, and then is answered, or with the error of its command. */
export class PendingPublish {
  constructor(
    readonly target: Committed,
    readonly command: "PUB" | "MPUB" | "DPUB",
    /** The frame that it is answered with; undefined: OK. */
    public answer?: Buffer,
  ) {}

  /** Youzan's error frame: `E_PUB_FAILED <reason>`, or the code after which its clients ask for the leader again. */
  shortErrorFrame(error: Error): Buffer {
    if (error instanceof LeaderError && error.youzanCode !== undefined) return encodeFrame(FRAME_TYPE_ERROR, `${error.youzanCode} `);
    return encodeFrame(FRAME_TYPE_ERROR, `E_${this.command}_FAILED ${error.message}`);
  }

  /** nsqd's error frame: `E_PUB_FAILED PUB failed <reason>`. */
  errorFrame(error: Error): Buffer {
    return encodeFrame(FRAME_TYPE_ERROR, `E_${this.command}_FAILED ${this.command} failed ${error.message}`);
  }
}

/** The reasons of publishes that are refused because the broker leaves. Clients know them: another broker may take the message. */
export const EXITING = "exiting";
export const DRAINING = "draining";

/** Why a publish was refused: the broker is closing, or the disk did not take it. */
export class PublishError extends Error {
  override name = "PublishError";
}

/** What Youzan's clients are told. They ask for the leader again, and repeat the publish. */
export type YouzanCode = "E_FAILED_ON_NOT_LEADER" | "E_FAILED_ON_NOT_WRITABLE";

/** Why a publish was refused to a partition that another broker leads, or nobody. */
export class LeaderError extends PublishError {
  /** @param youzanCode undefined: it may have been carried out, so that a repetition may make a duplicate */
  constructor(
    message: string,
    readonly youzanCode: YouzanCode | undefined,
  ) {
    super(message);
  }
}
