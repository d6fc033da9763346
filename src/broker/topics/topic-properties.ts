/** What was asked of a topic when it was made, in Youzan's terms. It is kept in memory only. */
export interface TopicProperties {
  /** Whether messages may have headers, and Youzan's clients must understand them. Undefined: messages may, and clients need not. */
  extended: boolean | undefined;
  /** Youzan's clients have to name a partition when they publish, and to consume in order. */
  ordered: boolean;
  /** Youzan's clients make no channel by SUB. */
  channelsAreRegistered: boolean;
}

export const DEFAULT_PROPERTIES: Readonly<TopicProperties> = { extended: undefined, ordered: false, channelsAreRegistered: false };
