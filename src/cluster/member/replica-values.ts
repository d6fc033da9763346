import type { Clock } from "../../base/clock.ts";
import { decodeChannel, decodeTopic } from "../../broker/topics/state-format.ts";
import { CHANNEL_KEY, type StateValues, TOPIC_KEY } from "../../broker/topics/state-values.ts";
import type { Replica } from "../replication/replica.ts";
import type { ReplicaState } from "../replication/state/replica-state.ts";

const KEYS_AT_ONCE = 1_000;

/** What goes along with the messages of a partition, as its channels see it. */
export class ReplicaValues implements StateValues {
  /** Changes that were made while this broker was only about to lead. */
  private early: [key: string, value: Buffer | undefined][] = [];
  private keptSequence: number | undefined;
  /** The state has changed since the first sequence was looked for that channels need. */
  private hasChanged = true;
  /** What replication works with. */
  readonly state: ReplicaState;

  constructor(
    private readonly clock: Pick<Clock, "callAfterTurn">,
    private readonly stored: ReplicaState,
    private readonly replica: () => Pick<Replica, "leading" | "hasState"> | undefined,
  ) {
    this.state = {
      ...stored,
      apply: (changes, done) => {
        this.hasChanged = true;
        stored.apply(changes, done);
      },
    };
  }

  private get leader() {
    return this.replica()?.leading?.state;
  }

  get number(): number {
    return (this.leader?.number ?? 0) + this.early.length;
  }

  get mark(): number {
    return this.leader?.mark ?? -1;
  }

  set(key: string, value: Buffer | undefined): void {
    if (this.leader === undefined) {
      if (this.early.length === 0) this.clock.callAfterTurn(() => this.begin());
      this.early.push([key, value]);
      return;
    }
    this.begin();
    this.leader.change(key, value);
  }

  private begin(): void {
    const { leader } = this;
    for (const [key, value] of this.early.splice(0)) leader?.change(key, value);
  }

  get(key: string): Buffer | undefined {
    return this.leader === undefined ? this.stored.get(key)?.value : this.leader.get(key);
  }

  *keys(prefix: string): Iterable<string> {
    for (let after = prefix; ; ) {
      const keys = this.stored.keysAfter(after, KEYS_AT_ONCE);
      for (const { key } of keys) {
        if (!key.startsWith(prefix)) return;
        yield key;
        after = key;
      }
      if (keys.length < KEYS_AT_ONCE) return;
    }
  }

  /**
   * While another broker leads: the first sequence that channels may need, as it was at the last review. All may be needed as long as it is
   * not known which channels the leader has.
   *
   * @param start of the log
   */
  keptFrom(start: number): number {
    return this.isComplete ? Math.max(start, this.keptSequence ?? start) : start;
  }

  private get isComplete(): boolean {
    return this.replica()?.hasState === true;
  }

  /** Looks for that sequence. @returns whether it is another one */
  review(): boolean {
    if (!this.hasChanged || !this.isComplete) return false;
    this.hasChanged = false;
    const before = this.keptSequence;
    this.keptSequence = this.lowestNeeded();
    return this.keptSequence !== before;
  }

  /** @returns undefined: it is not known */
  private lowestNeeded(): number | undefined {
    let lowest = Number.POSITIVE_INFINITY;
    try {
      const topic = decodeTopic(this.stored.get(TOPIC_KEY)?.value);
      if (topic === undefined) return undefined;
      for (const key of this.keys(CHANNEL_KEY)) {
        const value = this.stored.get(key)?.value;
        if (value !== undefined) lowest = Math.min(lowest, decodeChannel(value).floor);
      }
      // Without channels, and while the topic is paused, messages wait for them.
      return lowest === Number.POSITIVE_INFINITY || topic.paused ? Math.min(lowest, topic.released) : lowest;
    } catch {
      // Another release wrote it, or the disk fails.
      return undefined;
    }
  }
}
