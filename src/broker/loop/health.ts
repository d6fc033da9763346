/** Something whose last attempt may have failed. */
interface Failing {
  readonly failure: Error | undefined;
}

/** What a broker's health is asked of. */
export interface HealthParts {
  /** The lock of the data path. */
  lock: Failing;
  freeSpace: { readonly refusal: Error | undefined };
  checkpointer: Failing;
  groupSync: Failing;
  readFailures: Failing;
}

/** Whether a broker can do its work: what /ping and /stats show. A failure lasts until the same kind of write, or the read, succeeds. */
export class Health {
  /** Why the last commit of a topic's log failed. */
  log: Error | undefined;
  /** Why the deferred store's last commit failed. */
  deferred: Error | undefined;

  constructor(private readonly parts: HealthParts) {}

  /** Why it cannot; undefined: it can. */
  get failure(): Error | undefined {
    const { lock, freeSpace, checkpointer, groupSync, readFailures } = this.parts;
    const failing = checkpointer.failure ?? groupSync.failure ?? readFailures.failure;
    return lock.failure ?? freeSpace.refusal ?? this.log ?? this.deferred ?? failing;
  }

  /** "OK", or "NOK - " and why. */
  get text(): string {
    const { failure } = this;
    return failure === undefined ? "OK" : `NOK - ${failure.message}`;
  }

  /** A write failed, and none of its kind was tried since. */
  get hasWriteFailure(): boolean {
    return this.log !== undefined || this.deferred !== undefined;
  }

  /** The disk takes writes again: whoever asks /ping before publishing would otherwise never find out. */
  forgetWriteFailures(): void {
    this.log = undefined;
    this.deferred = undefined;
  }
}
