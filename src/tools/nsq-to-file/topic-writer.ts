import type { Logger } from "../../base/logger.ts";
import type { Consumer, Message } from "../../client/bun.ts";
import type { OutputFile } from "./output-file.ts";

/** How a topic's messages are written. */
export interface WriterOptions {
  maxInFlight: number;
  syncIntervalMs: number;
  /** An old file is closed, and the next one is opened only for a message. */
  skipsEmptyFiles: boolean;
}

/** Where this part of a connection's messages waits to be finished, it waits for a sync, as go-nsq sees it. */
const STARVED = 0.85;

/**
 * Writes a topic's messages to its files. A message is finished after its line has been synced to the disk: every sync interval,
 * and as soon as the brokers may send no more before that.
 */
export class TopicWriter {
  private readonly received: Message[] = [];
  /** Messages whose lines are not synced. */
  private unsynced: Message[] = [];
  private readonly perBroker = new Map<string, number>();
  private resume = () => {};
  /** Something came since the last step began. */
  private isDue = false;
  private isTick = false;
  private isReopening = false;
  private isStopping = false;
  private isOver = false;
  private closing: Promise<void> | undefined;

  constructor(
    private readonly consumer: Pick<Consumer, "run" | "close" | "connected">,
    private readonly file: Pick<OutputFile, "needsRotation" | "append" | "flush" | "sync" | "rotate" | "close">,
    private readonly options: WriterOptions,
    private readonly logger: Logger,
    private readonly who: string,
  ) {}

  /** Writes until stop(). @throws Fatal if that is not possible any more */
  async run(): Promise<void> {
    void this.consumer.run(
      (message) => {
        this.received.push(message);
        this.wake();
      },
      { manual: true },
    );
    const ticker = setInterval(() => {
      this.isTick = true;
      this.wake();
    }, this.options.syncIntervalMs);
    try {
      while (!this.isOver) {
        this.isDue = false;
        await this.step();
        if (this.isDue) continue;
        await new Promise<void>((resolve) => {
          this.resume = resolve;
        });
      }
      await this.step();
      await this.file.close();
    } finally {
      clearInterval(ticker);
    }
  }

  /** Closes the file. The next message opens another one, or the same again. */
  reopen(): void {
    this.isReopening = true;
    this.wake();
  }

  /** Receives no more messages, and ends run() when those in flight are written and finished. */
  stop(): void {
    this.isStopping = true;
    this.closing ??= this.consumer.close().then(() => {
      this.isOver = true;
      this.wake();
    });
    this.wake();
  }

  private wake(): void {
    this.isDue = true;
    this.resume();
  }

  private async step(): Promise<void> {
    const [isTick, isReopening] = [this.isTick, this.isReopening];
    this.isTick = false;
    this.isReopening = false;
    let mustSync = isTick || isReopening || this.isStopping;
    for (const message of this.received.splice(0)) {
      if (this.file.needsRotation) {
        await this.file.rotate();
        mustSync = true;
      }
      this.file.append(message.body);
      this.unsynced.push(message);
      this.perBroker.set(message.broker, (this.perBroker.get(message.broker) ?? 0) + 1);
      if (this.unsynced.length >= this.options.maxInFlight) await this.sync();
    }
    await this.file.flush();
    let mustClose = isReopening;
    if (isTick && this.file.needsRotation) {
      if (this.options.skipsEmptyFiles) mustClose = true;
      else await this.file.rotate();
    }
    if (mustSync || this.isStarved) await this.sync();
    if (mustClose) await this.file.close();
  }

  /** Whether a broker has sent about as much as it may. */
  private get isStarved(): boolean {
    const { connected } = this.consumer;
    const share = Math.max(1, Math.floor(this.options.maxInFlight / Math.max(1, connected.length)));
    for (const count of this.perBroker.values()) if (count >= share * STARVED) return true;
    return false;
  }

  private async sync(): Promise<void> {
    if (this.unsynced.length === 0) return;
    this.logger.info(`${this.who} syncing ${this.unsynced.length} records to disk`);
    await this.file.sync();
    for (const message of this.unsynced) message.finish();
    this.unsynced = [];
    this.perBroker.clear();
  }
}
