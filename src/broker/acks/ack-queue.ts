import type { ClientAcks } from "./group-commit.ts";
import { type Committed, type Replicated, WAITS_FOR_LEADER, WAITS_FOR_REPLICAS, WAITS_FOR_SYNC } from "./pending-publish.ts";

/** What waiting acknowledgements need of the broker. */
export interface AckServices {
  readonly acks: { add(acks: ClientAcks): void };
  readonly turn: { readonly steadyMs: number; schedule(): void };
}

/**
 * A client's acknowledgements that wait for a commit, in the order in which they go out. They are numbered from the start of
 * the connection, so whoever waits for a sync can say up to which one it covers, whatever has gone out meanwhile.
 */
export abstract class AckQueue<Ack, Client extends { readonly closed: boolean }> implements ClientAcks {
  protected readonly waiting: Ack[] = [];
  /** How many of the waiting ones, from the first on, are committed. */
  protected committed = 0;
  /** How many have left the queue. */
  protected removed = 0;
  /** When the first publish since the last commit came, ms of a steady clock. */
  uncommittedSinceMs = 0;
  /** The number of the last one whose time was measured. */
  measuredUpTo = 0;
  /** The number of the last one that waits for a sync. */
  protected syncUpTo = 0;
  /** The number of the last one that waits for replicas, or for the broker that leads its partition. */
  private replicasUpTo = 0;
  /** The partitions for whose replicas those of the last commit wait. */
  private replicated: Replicated[] = [];

  /** @param client that gets the acknowledgements */
  constructor(
    protected readonly client: Client,
    private readonly services: AckServices,
  ) {}

  get closed(): boolean {
    return this.client.closed;
  }

  get length(): number {
    return this.waiting.length;
  }

  /** Adds an acknowledgement that goes out after the next commit, or another frame that waits for its turn. */
  add(ack: Ack): void {
    if (this.waiting.push(ack) !== this.committed + 1) return;
    this.uncommittedSinceMs = this.services.turn.steadyMs;
    this.services.acks.add(this);
    this.services.turn.schedule();
  }

  /** Whether a committed acknowledgement must not go out before a sync. */
  get waitsForSync(): boolean {
    return this.syncUpTo > this.removed;
  }

  /** Whether a committed acknowledgement must not go out before replicas have its messages. */
  get waitsForReplicas(): boolean {
    return this.replicasUpTo > this.removed;
  }

  /** The partitions for whose replicas the acknowledgements of the last commit wait. */
  takeReplicated(): readonly Replicated[] {
    const { replicated } = this;
    if (replicated.length > 0) this.replicated = [];
    return replicated;
  }

  /** Notes that an acknowledgement waits for more than its commit. @param at its index */
  protected noteWait(target: Committed, at: number): void {
    const { waitsFor } = target;
    const number = this.removed + at + 1;
    if ((waitsFor & WAITS_FOR_SYNC) !== 0) this.syncUpTo = number;
    if ((waitsFor & (WAITS_FOR_REPLICAS | WAITS_FOR_LEADER)) === 0) return;
    this.replicasUpTo = number;
    // Each publish that another broker carries out is waited for by itself.
    for (const one of target.replicated ?? [])
      if (waitsFor === WAITS_FOR_LEADER || !this.replicated.includes(one)) this.replicated.push(one);
  }

  /** The number of the last committed acknowledgement. */
  get committedUpTo(): number {
    return this.removed + this.committed;
  }

  /** Forgets all of them: the connection is closed, or everything was refused. */
  clear(): void {
    this.removed += this.waiting.length;
    this.waiting.length = 0;
    this.committed = 0;
  }

  /** Removes the first `count`, which have gone out. */
  protected remove(count: number): void {
    if (count === this.waiting.length) this.waiting.length = 0;
    else this.waiting.splice(0, count);
    this.committed = Math.max(0, this.committed - count);
    this.removed += count;
  }

  abstract onCommitted(): void;
  abstract sendUpTo(upTo: number): void;
  abstract settleUpTo(upTo: number, failure?: Error): void;
}
