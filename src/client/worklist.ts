import type { Message } from "./message.ts";

/** The messages that wait for a handler or for a loop, and how many handlers are under way. Max-in-flight bounds it. */
export class Worklist {
  running = 0;
  concurrency = Number.POSITIVE_INFINITY;
  isOver = false;
  onOver: () => void = () => {};
  private waiting: Message[] = [];
  private readonly readers: ((result: IteratorResult<Message, undefined>) => void)[] = [];

  /** Whether another handler may run. */
  get hasRoom(): boolean {
    return this.running < this.concurrency;
  }

  /** Keeps a message until a handler has ended. */
  wait(message: Message): void {
    this.waiting.push(message);
  }

  /** The next message for a handler, if one may run. */
  takeNext(): Message | undefined {
    return this.hasRoom ? this.shift() : undefined;
  }

  takeWaiting(): Message[] {
    return this.waiting.splice(0);
  }

  /** Gives a message to the loop. */
  push(message: Message): void {
    const reader = this.readers.shift();
    if (reader === undefined) this.waiting.push(message);
    else reader({ done: false, value: message });
  }

  /** The next message for the loop. */
  next(): Promise<IteratorResult<Message, undefined>> {
    const message = this.shift();
    if (message !== undefined) return Promise.resolve({ done: false, value: message });
    if (this.isOver) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => this.readers.push(resolve));
  }

  /** No more messages come. */
  end(): void {
    this.isOver = true;
    for (const reader of this.readers.splice(0)) reader({ done: true, value: undefined });
    this.onOver();
  }

  /** Leaves out messages that cannot be answered any more, because they are delivered again. */
  private shift(): Message | undefined {
    let message = this.waiting.shift();
    while (message?.isLost) message = this.waiting.shift();
    return message;
  }
}
