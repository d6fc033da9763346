import { encodeFrame, FRAME_TYPE_ERROR } from "../../frame/frame.ts";

/** Something that a tick commits, and that may fail at it. */
export interface Committed {
  failure: Error | undefined;
  /** Its answer goes out once the commit is on the disk, not only in the file. */
  readonly fsync: boolean;
}

/** The answer to a publish that waits for its commit: OK then, or the command's own error. */
export class HeldPublish {
  constructor(
    readonly target: Committed,
    readonly command: "PUB" | "MPUB" | "DPUB",
  ) {}

  /** nsqd: `E_PUB_FAILED PUB failed <reason>`. */
  errorFrame(error: Error): Buffer {
    return encodeFrame(FRAME_TYPE_ERROR, `E_${this.command}_FAILED ${this.command} failed ${error.message}`);
  }
}

/** A publish that was refused: the broker is closing, or the disk did not take it. */
export class PublishError extends Error {
  override name = "PublishError";
}
