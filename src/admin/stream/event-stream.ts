import type { Clock, Timer } from "../../base/clock.ts";
import type { Feed } from "./feed.ts";

/** A comment is sent after this time without an event, so that proxies keep the connection, and a page notices a dead one. */
const HEARTBEAT_MS = 15_000;
const HEARTBEAT = ": \n\n";
/** How soon a browser connects again. */
const BEGINNING = "retry: 2000\n\n";
/** Events of no view that wait for a slow reader; older ones are dropped. */
const MOST_EVENTS = 100;

/**
 * One connection of server-sent events. Nothing is queued but what is new in itself: when the connection accepts more, each
 * view is sent as it is then. So a slow reader has the newest state, later, and costs no memory.
 */
export class EventStream {
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  private readonly sent = new Map<Feed, number>();
  private events: string[] = [BEGINNING];
  private isHeartbeatDue = false;
  private isEnded = false;
  private timer: Timer | undefined;
  private woken = Promise.withResolvers<void>();
  private readonly wake = (): void => this.woken.resolve();

  /** @param onEnd called once, when either side has ended it */
  constructor(
    feeds: readonly Feed[],
    private readonly clock: Clock,
    private readonly onEnd: () => void,
  ) {
    for (const feed of feeds) {
      this.sent.set(feed, 0);
      feed.watchers.add(this.wake);
    }
    // It asks for the next piece when the connection has taken the one before.
    this.body = new ReadableStream({ pull: (controller) => this.pull(controller), cancel: () => this.end() }, { highWaterMark: 0 });
    this.startHeartbeat();
  }

  get feeds(): Iterable<Feed> {
    return this.sent.keys();
  }

  /** Sends an event that is of no view. */
  send(event: string, data: unknown): void {
    this.events.push(`event: ${event}\ndata: ${JSON.stringify({ data })}\n\n`);
    if (this.events.length > MOST_EVENTS) this.events.shift();
    this.wake();
  }

  /** Ends the stream, after what is being sent. */
  end(): void {
    if (this.isEnded) return;
    this.isEnded = true;
    if (this.timer !== undefined) this.clock.cancel(this.timer);
    for (const feed of this.sent.keys()) feed.watchers.delete(this.wake);
    this.wake();
    this.onEnd();
  }

  private async pull(controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>): Promise<void> {
    let text = this.next();
    while (text === "" && !this.isEnded) {
      await this.woken.promise;
      this.woken = Promise.withResolvers();
      text = this.next();
    }
    if (text !== "") controller.enqueue(Buffer.from(text));
    if (this.isEnded) controller.close();
  }

  /** What is to be sent now: of one view at a time, so that not all are encoded at once. */
  private next(): string {
    if (this.isEnded) return "";
    let text = this.events.splice(0).join("");
    for (const [feed, version] of this.sent) {
      if (text !== "") break;
      text = feed.eventAfter(version);
      this.sent.set(feed, feed.version);
    }
    if (text === "" && this.isHeartbeatDue) text = HEARTBEAT;
    if (text !== "") this.startHeartbeat();
    return text;
  }

  private startHeartbeat(): void {
    this.isHeartbeatDue = false;
    if (this.timer !== undefined) this.clock.cancel(this.timer);
    this.timer = this.clock.callAfter(HEARTBEAT_MS, () => {
      this.isHeartbeatDue = true;
      this.wake();
    });
  }
}
