import { encodeFrame, FRAME_TYPE_ERROR } from "../../frame/frame.ts";

/** Something that a tick commits. The commit may fail. */
export interface Committed {
  failure: Error | undefined;
  /** Acknowledgements go out after a sync, not only after the commit. */
  readonly fsync: boolean;
  /** Why the last sync that its publishes waited for refused them; undefined if it did not. */
  readonly syncFailure: Error | undefined;
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
