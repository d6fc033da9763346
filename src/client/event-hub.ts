/** A stream that is not read keeps this many events, and drops the oldest. */
const MAX_WAITING = 1000;

/** Hands events to any number of streams, and to one callback. */
export class EventHub<Event> {
  private readonly streams = new Set<EventStream<Event>>();
  private isClosed = false;

  /** @param listener called for each event; what it throws, also later, is ignored, because nobody could catch it */
  constructor(private readonly listener: ((event: Event) => void) | undefined) {}

  emit(event: Event): void {
    for (const stream of this.streams) stream.push(event);
    if (this.listener === undefined) return;
    try {
      const result: unknown = this.listener(event);
      if (result instanceof Promise) result.catch(() => {});
    } catch {
      // The listener's own business.
    }
  }

  /** The events from now on. It ends with the hub, with the signal, or when the loop over it is left. */
  stream(signal?: AbortSignal): AsyncIterableIterator<Event> {
    const abort = () => stream.end();
    const stream: EventStream<Event> = new EventStream<Event>(() => {
      this.streams.delete(stream);
      signal?.removeEventListener("abort", abort);
    });
    if (this.isClosed || signal?.aborted) {
      stream.end();
      return stream;
    }
    this.streams.add(stream);
    signal?.addEventListener("abort", abort, { once: true });
    return stream;
  }

  close(): void {
    this.isClosed = true;
    for (const stream of this.streams) stream.end();
  }
}

/** A queue with one reader. */
class EventStream<Event> implements AsyncIterableIterator<Event> {
  private readonly waiting: Event[] = [];
  private readonly readers: ((result: IteratorResult<Event>) => void)[] = [];
  private hasEnded = false;

  constructor(private readonly onEnd: () => void) {}

  push(event: Event): void {
    const reader = this.readers.shift();
    if (reader !== undefined) return reader({ done: false, value: event });
    if (this.waiting.length === MAX_WAITING) this.waiting.shift();
    this.waiting.push(event);
  }

  end(): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.onEnd();
    for (const reader of this.readers.splice(0)) reader({ done: true, value: undefined });
  }

  next(): Promise<IteratorResult<Event>> {
    const event = this.waiting.shift();
    if (event !== undefined) return Promise.resolve({ done: false, value: event });
    if (this.hasEnded) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => this.readers.push(resolve));
  }

  return(): Promise<IteratorResult<Event>> {
    this.waiting.length = 0;
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
