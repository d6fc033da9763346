/**
 * A connection's answers that wait for a commit, in the order in which they go out. Each has a place, its number since the
 * connection began: so whoever waits for the disk can say up to where, whatever has gone out since.
 */
export class AnswerQueue<Answer, Client extends { readonly closed: boolean }> {
  protected readonly waiting: Answer[] = [];
  /** Of these, the first so many are committed. */
  protected committed = 0;
  /** How many are not waiting any more. */
  protected gone = 0;
  /** The place of the last that waits for the disk. */
  protected syncUpTo = 0;

  /** @param client whom the answers are for */
  constructor(protected readonly client: Client) {}

  get closed(): boolean {
    return this.client.closed;
  }

  get length(): number {
    return this.waiting.length;
  }

  /** @returns whether it is the first that the next commit covers */
  push(answer: Answer): boolean {
    return this.waiting.push(answer) === this.committed + 1;
  }

  /** One of the answers that are committed must not go out before a sync. */
  get waitsForSync(): boolean {
    return this.syncUpTo > this.gone;
  }

  /** The place up to which all is committed. */
  get committedUpTo(): number {
    return this.gone + this.committed;
  }

  /** The connection is gone, or nobody waits for the answers any more. */
  clear(): void {
    this.gone += this.waiting.length;
    this.waiting.length = 0;
    this.committed = 0;
  }

  /** The first so many have gone out. */
  protected drop(count: number): void {
    if (count === this.waiting.length) this.waiting.length = 0;
    else this.waiting.splice(0, count);
    this.committed = Math.max(0, this.committed - count);
    this.gone += count;
  }
}
