import type { Logger } from "../../base/logger.ts";
import { Refusal } from "../../http/server/reply.ts";
import type { Identity } from "../access/identity.ts";
import type { Activity } from "../console-api.ts";
import type { Views } from "../views/views.ts";
import type { Sight } from "../watch/sight.ts";
import type { Watcher } from "../watch/watcher.ts";
import { EventStream } from "./event-stream.ts";
import { Feed } from "./feed.ts";

const MOST_STREAMS = 200;
const MOST_VIEWS_PER_STREAM = 16;
/** Different views of all streams. Each is made after every poll, and kept as JSON. */
const MOST_FEEDS = 200;
/** A path with a filter and names that are escaped. */
const MAX_VIEW = 2_000;

/** The streams of all pages that are open. */
export class Streams {
  /** With whether who reads it still may. */
  private readonly streams = new Map<EventStream, Identity>();
  private readonly feeds = new Map<string, Feed>();
  private endRounds: (() => void) | undefined;
  private isClosed = false;

  constructor(
    private readonly views: Views,
    private readonly watcher: Watcher,
    private readonly logger: Logger,
  ) {}

  /**
   * Begins a stream.
   *
   * @param views paths and queries, as Views.read() takes them
   * @param identity of who asks. When it does not hold any more, the stream ends
   * @throws Refusal 400 if there are none or too many, 503 if there are too many streams or the console ends
   */
  open(views: readonly string[], identity: Identity): EventStream {
    const { grants } = identity;
    if (this.isClosed) throw new Refusal(503, "EXITING");
    const distinct = [...new Set(views)];
    const isValid = distinct.length > 0 && distinct.length <= MOST_VIEWS_PER_STREAM && distinct.every((view) => view.length <= MAX_VIEW);
    if (!isValid) throw new Refusal(400, "INVALID_ARG_VIEW");
    const added = distinct.filter((view) => !this.feeds.has(keyOf(view, grants)));
    if (this.streams.size >= MOST_STREAMS || this.feeds.size + added.length > MOST_FEEDS) throw new Refusal(503, "TOO_MANY_STREAMS");
    const feeds = distinct.map((view) => this.feedOf(view, grants));
    const stream = new EventStream(feeds, this.watcher.clock, () => this.remove(stream));
    this.streams.set(stream, identity);
    this.endRounds ??= this.watcher.onRound(() => void this.refresh());
    this.watcher.look();
    return stream;
  }

  /** Tells every page what somebody did. */
  tell(activity: Activity): void {
    for (const [stream, { grants }] of this.streams)
      if (activity.topic === "" || grants.maySee(activity.topic)) stream.send("activity", activity);
  }

  /** Ends all streams: without that a server would wait for them when it stops. */
  close(): void {
    this.isClosed = true;
    for (const stream of this.streams.keys()) stream.end();
  }

  private feedOf(view: string, sight: Sight): Feed {
    const key = keyOf(view, sight);
    const known = this.feeds.get(key);
    if (known !== undefined) return known;
    const feed = new Feed(view, sight, this.views, this.logger);
    this.feeds.set(key, feed);
    void feed.refresh();
    return feed;
  }

  /** Makes all views anew. A turn for each, so that the console answers requests in between. */
  private async refresh(): Promise<void> {
    for (const [stream, identity] of this.streams) if (!identity.isCurrent()) stream.end();
    for (const feed of this.feeds.values()) {
      void feed.refresh();
      await new Promise<void>((resolve) => this.watcher.clock.callAfterTurn(resolve));
    }
  }

  private remove(stream: EventStream): void {
    this.streams.delete(stream);
    for (const feed of stream.feeds) if (feed.watchers.size === 0) this.feeds.delete(keyOf(feed.view, feed.sight));
    if (this.streams.size > 0) return;
    this.endRounds?.();
    this.endRounds = undefined;
  }
}

/** A view is made once for all who may see the same. */
function keyOf(view: string, { key }: Sight): string {
  return `${view}\n${key}`;
}
