/** Which topics a user may see. */
export interface Sight {
  /** Equal for users who see the same. */
  readonly key: string;
  /** Whether all topics may be seen, also those that there will be. */
  readonly seesAll: boolean;
  maySee(topic: string): boolean;
}
