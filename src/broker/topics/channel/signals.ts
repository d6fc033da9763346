/** What the parts of a channel tell it. */
export interface ChannelSignals {
  /** There may be something to deliver, and somebody to deliver it to: the next tick dispatches. */
  markDirty(): void;
  /** The cursor, or what is finished beyond it, changed: it is saved soon. */
  markUnsaved(): void;
  /** The floor or the cursor moved: chunks and segments of the log may be free. */
  markTrimmable(): void;
  /** A message was finished, came back or left the window: floors may have moved, and consumers may take more. */
  markProgress(): void;
}
