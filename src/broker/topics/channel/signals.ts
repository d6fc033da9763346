/** What the parts of a channel report to it. */
export interface ChannelSignals {
  /** There may be a message to deliver and a consumer to take it: the next tick dispatches. */
  markDirty(): void;
  /** The progress changed, and is saved soon. */
  markUnsaved(): void;
  /** The floor or the cursor moved, so chunks and segments of the log may be free. */
  markTrimmable(): void;
  /** A message was finished, came back or left the window. This includes the three others. */
  markProgress(): void;
}
