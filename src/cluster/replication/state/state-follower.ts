import type { Peer } from "../peer.ts";
import type { PartitionParts, ReplicationParts } from "../replica-parts.ts";
import type { StateKey } from "./replica-state.ts";
import { KEYS_PER_FRAME, type StateFrame, type StateMore } from "./state-frames.ts";

/** How long to wait before the leader is asked again after something went wrong here. */
const AGAIN_MS = 500;

/** The state of a partition that this broker follows in one epoch: it tells its leader the keys that it has, and takes what it lacks. */
export class StateFollower {
  /** Everything up to this change of the epoch is stored here; below 0: it is not known what is missing. */
  number = -1;
  private ask = 0;
  private againAtMs: number | undefined;

  /** @param onNumber called when the number is higher than before */
  constructor(
    private readonly epoch: number,
    private readonly parts: ReplicationParts,
    private readonly partition: PartitionParts,
    private readonly leader: () => Peer | undefined,
    private readonly onNumber: () => void,
  ) {}

  /** Begins to tell the leader what is here. */
  begin(): void {
    this.ask = this.parts.nextAsk();
    this.number = -1;
    this.againAtMs = undefined;
    this.tellKeys("");
  }

  /** Nothing more is taken, or told. */
  stop(): void {
    this.ask = this.parts.nextAsk();
    this.againAtMs = undefined;
  }

  onMore({ ask, after }: StateMore): void {
    if (ask === this.ask) this.tellKeys(after);
  }

  private tellKeys(after: string): void {
    const { number: partition, state } = this.partition;
    const peer = this.leader();
    if (peer === undefined) return;
    let keys: readonly StateKey[];
    try {
      keys = state.keysAfter(after, KEYS_PER_FRAME);
    } catch (error) {
      return this.failed(error as Error);
    }
    const isLast = keys.length < KEYS_PER_FRAME;
    peer.send({ kind: "state-keys", partition, epoch: this.epoch, ask: this.ask, after, isLast, keys });
  }

  onState({ ask, number, changes }: StateFrame): void {
    // After something went wrong, what was under way does not count.
    if (ask !== this.ask || this.againAtMs !== undefined) return;
    this.partition.state.apply(changes, (failure) => {
      if (ask !== this.ask || this.againAtMs !== undefined) return;
      if (failure !== undefined) return this.failed(failure);
      if (number === undefined) return;
      this.number = number;
      this.onNumber();
    });
  }

  private failed(failure: Error): void {
    this.parts.errors.error(`PARTITION(${this.partition.name}): cannot keep its channels: ${failure.message}`);
    this.number = -1;
    this.againAtMs = this.parts.clock.steadyMs() + AGAIN_MS;
  }

  /** To be called several times a second. */
  review(nowMs: number): void {
    if (this.againAtMs !== undefined && nowMs >= this.againAtMs) this.begin();
  }
}
