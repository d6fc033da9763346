import { encodeFrame, FRAME_TYPE_ERROR } from "../../frame/frame.ts";

/** Bits of what acknowledgements wait for after the commit: a sync, or the replicas of a partition. */
export const WAITS_FOR_SYNC = 1;
export const WAITS_FOR_REPLICAS = 2;

/** A partition whose publishes are acknowledged when its replicas have them. */
export interface Replicated {
  /** Sequence after its last committed message. */
  readonly committedNext: number;
  /** Its replicas have the messages below this sequence. */
  readonly releasable: number;
  /** Why it refuses the publishes that its replicas lack; undefined: it does not. */
  readonly replicaFailure: Error | undefined;
}

/** Something that a tick commits. The commit may fail. */
export interface Committed {
  failure: Error | undefined;
  /** WAITS_FOR_SYNC and WAITS_FOR_REPLICAS; 0: acknowledgements go out after the commit. */
  readonly waitsFor: number;
  /** The partitions whose replicas they wait for. */
  readonly replicated?: readonly Replicated[] | undefined;
  /** Why the last sync that its publishes waited for refused them; undefined if it did not. */
  readonly syncFailure: Error | undefined;
}

/** Why a committed publish is refused after all. @param failure refuses whatever waits for more than its commit */
export function lateRefusal({ waitsFor, syncFailure }: Committed, failure: Error | undefined): Error | undefined {
  if (waitsFor === 0) return undefined;
  return failure ?? ((waitsFor & WAITS_FOR_SYNC) !== 0 ? syncFailure : undefined);
}

/** A publish that waits for its commit, and then is answered, or with the error of its command. */
export class PendingPublish {
  constructor(
    readonly target: Committed,
    readonly command: "PUB" | "MPUB" | "DPUB",
    /** The frame that it is answered with; undefined: OK. */
    readonly answer?: Buffer,
  ) {}

  /** Youzan's error frame: `E_PUB_FAILED <reason>`. */
  shortErrorFrame(error: Error): Buffer {
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
