/** Why an operator's call was refused. The HTTP API answers with these codes. */
export type OperatorErrorCode =
  /** The message was delivered, finished or moved while the deferred store was read or written. */
  | "MESSAGE_CHANGED"
  | "MESSAGE_FINISHED"
  | "MESSAGE_NOT_FOUND"
  /** The topic is spread over brokers: who gives it more partitions says which of them this one gets. */
  | "MISSING_ARG_PARTITIONS"
  /** The call was carried out, but could not be saved: a crash would undo it. */
  | "NOT_SAVED"
  /** The metadata store or the disk did not take the call. Nothing has changed. */
  | "NOT_STORED"
  /** The topic has more partitions than were asked for. They are never merged. */
  | "TOO_FEW_PARTITIONS"
  /** The backlog has as many holes as it may have; with more of them the channel's row would become too long. */
  | "TOO_MANY_HOLES"
  /** Too many calls are searching the deferred store. */
  | "TOO_MANY_REQUESTS";

/** The refusal of an operator's call: a seek, finishing or requeueing a message by its id, and others. */
export class OperatorError extends Error {
  override name = "OperatorError";

  constructor(readonly code: OperatorErrorCode) {
    super(code);
  }
}
