/**
 * A client's acknowledgements that wait for a commit, in the order in which they go out. They are numbered from the start of
 * the connection, so whoever waits for a sync can say up to which one it covers, whatever has gone out meanwhile.
 */
export class AckQueue<Ack, Client extends { readonly closed: boolean }> {
  protected readonly waiting: Ack[] = [];
  /** How many of the waiting ones, from the first on, are committed. */
  protected committed = 0;
  /** How many have left the queue. */
  protected removed = 0;
  /** The number of the last one that waits for a sync. */
  protected syncUpTo = 0;

  /** @param client that gets the acknowledgements */
  constructor(protected readonly client: Client) {}

  get closed(): boolean {
    return this.client.closed;
  }

  get length(): number {
    return this.waiting.length;
  }

  /** @returns whether it is the first one that the next commit covers */
  push(ack: Ack): boolean {
    return this.waiting.push(ack) === this.committed + 1;
  }

  /** Whether a committed acknowledgement must not go out before a sync. */
  get waitsForSync(): boolean {
    return this.syncUpTo > this.removed;
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
}
