import { CHANNEL_PREFIX, type ReplicaState, type StateKey } from "./replica-state.ts";
import type { StateKeys } from "./state-frames.ts";

/** So many of the leader's keys are looked at before what was found missing is sent. */
const KEYS_PER_LOOK = 2_000;

/**
 * What one follower lacks of the state, as its leader knows it. A follower tells all of its keys first, frame by frame, and what it lacks is
 * sent meanwhile. What changes from then on is sent, too.
 *
 * A follower may take over at any moment, in the middle of this, and no message may be in neither of two places then. So all values that
 * channels may rest on go before the channels, and what is removed goes last.
 */
export class StateProgress {
  ask = 0;
  /** It has everything up to this change; below 0: it is not known. */
  has = -1;
  /** It was told to have everything up to this change; below 0: it was not told since it began to tell its keys. */
  sent = -1;
  private isCompared = false;
  /** The keys that the follower told last, while they are compared, and up to where that has come. */
  private told: { frame: StateKeys; at: string; left: Map<string, StateKey> } | undefined;
  private readonly values = new Set<string>();
  private readonly channels = new Set<string>();
  private readonly removed = new Set<string>();
  private isAsked = false;
  /** Since when it has been waited for, and for which change. */
  private awaited = 0;
  private sinceMs: number;

  constructor(nowMs: number) {
    this.sinceMs = nowMs;
  }

  /** It begins to tell its keys, or goes on. */
  onKeys(frame: StateKeys, nowMs: number): void {
    if (frame.ask !== this.ask || frame.after === "") {
      this.forget();
      this.ask = frame.ask;
      this.isAsked = true;
    }
    this.sinceMs = nowMs;
    const left = new Map(frame.keys.map((key) => [key.key, key]));
    this.told = { frame, at: frame.after, left };
  }

  /** What it told does not count any more: its connection was lost. */
  forget(): void {
    this.has = this.sent = -1;
    this.isCompared = this.isAsked = false;
    this.told = undefined;
    for (const keys of [this.values, this.channels, this.removed]) keys.clear();
  }

  /** A key has another value, or none. */
  changed(key: string, isRemoved: boolean): void {
    // What it has told nothing of is compared as it is then.
    if (!this.isAsked) return;
    for (const keys of [this.values, this.channels, this.removed]) keys.delete(key);
    this.setOf(key, isRemoved).add(key);
  }

  private setOf(key: string, isRemoved: boolean): Set<string> {
    if (isRemoved) return this.removed;
    return key.startsWith(CHANNEL_PREFIX) ? this.channels : this.values;
  }

  /**
   * The next keys that it is to be sent, values first; undefined: it was sent everything, or has to tell more keys.
   *
   * @param tellMore called when it is to tell the keys behind one
   */
  next(state: ReplicaState, tellMore: (after: string) => void): IterableIterator<string> | undefined {
    while (this.values.size === 0 && this.told !== undefined) this.compare(state, tellMore);
    if (this.values.size > 0) return this.values.values();
    if (!this.isCompared) return undefined;
    if (this.channels.size > 0) return this.channels.values();
    return this.removed.size > 0 ? this.removed.values() : undefined;
  }

  /** Values that have changed since it was known what it lacks; undefined: that is not known. */
  get changedValues(): ReadonlySet<string> | undefined {
    return this.isCompared ? this.values : undefined;
  }

  /** A key was put into a frame. */
  took(key: string): void {
    for (const keys of [this.values, this.channels, this.removed]) keys.delete(key);
  }

  /** Nothing can be sent before it says more, or a key changes. */
  get isWaiting(): boolean {
    return this.told === undefined && this.values.size + this.channels.size + this.removed.size === 0;
  }

  /** Whether nothing is left to be sent. */
  get isDone(): boolean {
    return this.isCompared && this.values.size + this.channels.size + this.removed.size === 0;
  }

  /** Compares some of the keys that it told with those of the leader. */
  private compare(state: ReplicaState, tellMore: (after: string) => void): void {
    const { told } = this;
    if (told === undefined) return;
    const { frame, left } = told;
    const to = frame.isLast ? undefined : (frame.keys.at(-1)?.key ?? "");
    const own = state.keysAfter(told.at, KEYS_PER_LOOK);
    for (const { key, epoch, number } of own) {
      if (to !== undefined && key > to) break;
      told.at = key;
      const theirs = left.get(key);
      left.delete(key);
      if (theirs?.epoch !== epoch || theirs.number !== number) this.setOf(key, false).add(key);
    }
    const isMore = own.length === KEYS_PER_LOOK && told.at === own.at(-1)?.key;
    if (isMore) return;
    // What it has and the leader has not.
    for (const key of left.keys()) if (!this.values.has(key) && !this.channels.has(key)) this.removed.add(key);
    this.told = undefined;
    if (to === undefined) this.isCompared = true;
    else tellMore(to);
  }

  /** @returns false for what cannot be */
  answered(number: number): boolean {
    if (number > this.sent || number <= this.has) return false;
    this.has = number;
    return true;
  }

  /** How long it has been waited for. @param number of the last change */
  waitedMs(number: number, nowMs: number): number {
    if (this.has >= this.awaited && this.awaited < number) {
      this.awaited = number;
      this.sinceMs = nowMs;
    }
    return this.has >= this.awaited ? 0 : nowMs - this.sinceMs;
  }

  /** The leader stood still: the answers that came meanwhile have not been read. */
  waitAnew(nowMs: number): void {
    this.sinceMs = nowMs;
  }
}
