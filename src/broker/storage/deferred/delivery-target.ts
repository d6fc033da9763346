import type { StoredEntry } from "./entry.ts";
import type { StoredMessage } from "./stored-message.ts";

/** What the deferred store asks of the broker. */
export interface DeferredTargets {
  /** Whether an entry still has somebody to go to: its topic, or its channel, exists and was not emptied since. */
  wanted(entry: StoredEntry): boolean;
  /** Whether an entry's message is on its way through its channel already, though its bucket was not in memory. */
  underWay(entry: StoredEntry): boolean;
  /** How many more messages a channel may have in memory: the others stay on the disk until it has room. */
  room(channelId: number): number;
  /** A message has fallen due. */
  due(message: StoredMessage): void;
}
