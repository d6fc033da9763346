/** Codes of what an operator's call is refused with; the HTTP API answers with them. */
export type OperatorErrorCode =
  /** It was delivered, finished or moved while the deferred store was read or written. */
  | "MESSAGE_CHANGED"
  | "MESSAGE_FINISHED"
  | "MESSAGE_NOT_FOUND"
  /** The call was carried out, and is lost if the broker crashes now. */
  | "NOT_SAVED"
  /** So many messages of the backlog are finished or moved one by one that the channel's row would grow too long. */
  | "TOO_MANY_HOLES"
  /** The deferred store is searched for others already. */
  | "TOO_MANY_REQUESTS";

/** Why an operator's call was not carried out: a seek, or finishing or requeueing a message by its id. */
export class OperatorError extends Error {
  override name = "OperatorError";

  constructor(readonly code: OperatorErrorCode) {
    super(code);
  }
}
