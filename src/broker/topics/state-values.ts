/**
 * Values by keys that go along with the messages of a partition which this broker leads. The other brokers that have it get them, and
 * whoever leads it next builds its channels and deferred messages from them.
 */
export interface StateValues {
  /** The last change has this number. */
  readonly number: number;
  /** All replicas that count have the changes up to this one. */
  readonly mark: number;
  /** @param value undefined: the key is removed */
  set(key: string, value: Buffer | undefined): void;
  get(key: string): Buffer | undefined;
  /** The keys that begin with a text, in ascending order. */
  keys(prefix: string): Iterable<string>;
}

export const TOPIC_KEY = "topic";
/** Behind it, the name of a channel. What a channel has of the partition. */
export const CHANNEL_KEY = "channel/";
/** Behind it, the name of a channel. Its settings, as JSON; the default has none. */
export const SETTINGS_KEY = "settings/";
/** Behind it, where an entry of the deferred store stands among those of the partition. */
export const DEFERRED_KEY = "deferred/";
/** Behind it, the same. The sequence at which a deferred publish joins the log. */
export const JOINING_KEY = "joining/";

const PLACE_DIGITS = 16;

/** The part of a key that says where an entry stands. In the order of texts, too, entries that were made later come later. */
export function placeText(place: number): string {
  return String(place).padStart(PLACE_DIGITS, "0");
}
