import { type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { Activity, StreamEvent } from "../../console-api.ts";
import { ApiError } from "./api-error.ts";
import { applyDelta } from "./delta.ts";

/** A stream of events, and what it is about. */
export interface Connection {
  close(): void;
}

/** What a LiveStore needs of the browser. */
export interface LiveSource {
  /** Opens a stream of these views. `lost` may be called once, when the stream has ended or could not be opened. */
  connect(views: readonly string[], event: (event: StreamEvent) => void, opened: () => void, lost: () => void): Connection;
  /** Loads one view once. @throws an error that says why there is none */
  load(view: string): Promise<unknown>;
  /** Calls back after a time. @returns what cancels it */
  later(ms: number, callback: () => void): () => void;
}

export interface LiveStatus {
  state: "idle" | "connecting" | "live" | "lost";
  /** When the next try is made, ms since 1970; only if lost. */
  retryAt: number;
}

/** One view's data, and why there is none. */
interface View {
  data: Signal<unknown>;
  error: Signal<unknown>;
  users: number;
}

/** A view that somebody looks at. */
export interface Watched {
  readonly data: ReadonlySignal<unknown>;
  readonly error: ReadonlySignal<unknown>;
}

/** Views that nobody looks at are kept for the way back, up to this many. */
const KEPT_VIEWS = 12;
const KEPT_ACTIVITY = 500;
/** Views that change together, as those of a page that opens, are asked for by one stream. */
const GATHER_MS = 20;
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 30_000;

/**
 * What the page shows: the views that are looked at, kept up to date by one stream of deltas. A stream that is lost is opened
 * again after a while that doubles up to half a minute; meanwhile each try loads the views by plain calls.
 */
export class LiveStore {
  private readonly views = new Map<string, View>();
  private connection: Connection | undefined;
  /** What the open stream is about. */
  private streamed = "";
  private isGathering = false;
  private isPaused = false;
  private cancelRetry = (): void => {};
  private retryMs = FIRST_RETRY_MS;
  private readonly currentStatus = signal<LiveStatus>({ state: "idle", retryAt: 0 });
  /** What was done since the page was opened, newest first. */
  readonly activity = signal<readonly Activity[]>([]);

  constructor(private readonly source: LiveSource) {}

  get status(): ReadonlySignal<LiveStatus> {
    return this.currentStatus;
  }

  /** The data of a view, without watching it. */
  view(path: string): Watched {
    return this.find(path);
  }

  /** Watches a view until the returned function is called. */
  watch(path: string): () => void {
    const view = this.find(path);
    view.users++;
    this.gather();
    return () => {
      view.users--;
      this.gather();
    };
  }

  /** Tries at once to open the stream again. */
  reconnect(): void {
    this.retryMs = FIRST_RETRY_MS;
    this.open();
  }

  /** Ends the stream while nobody sees the page. What was shown stays. */
  pause(): void {
    this.isPaused = true;
    this.close();
    this.currentStatus.value = { state: "idle", retryAt: 0 };
  }

  /** Goes on after pause(). */
  resume(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.open();
  }

  /** Ends the stream, and forgets everything: another user has logged in. */
  reset(): void {
    this.close();
    for (const view of this.views.values()) {
      view.data.value = undefined;
      view.error.value = undefined;
    }
    this.activity.value = [];
    this.gather();
  }

  private find(path: string): View {
    let view = this.views.get(path);
    if (view === undefined) {
      view = { data: signal<unknown>(undefined), error: signal<unknown>(undefined), users: 0 };
      this.forgetOldViews();
    } else {
      // The map's order is that of the last use.
      this.views.delete(path);
    }
    this.views.set(path, view);
    return view;
  }

  private forgetOldViews(): void {
    const unused = [...this.views].filter(([, view]) => view.users === 0);
    for (const [path] of unused.slice(0, Math.max(0, unused.length - KEPT_VIEWS))) this.views.delete(path);
  }

  private watched(): string[] {
    return [...this.views].filter(([, view]) => view.users > 0).map(([path]) => path);
  }

  private gather(): void {
    if (this.isGathering) return;
    this.isGathering = true;
    this.source.later(GATHER_MS, () => {
      this.isGathering = false;
      if (this.watched().sort().join("\n") !== this.streamed) this.open();
    });
  }

  private close(): void {
    this.cancelRetry();
    this.connection?.close();
    this.connection = undefined;
    this.streamed = "";
  }

  private open(): void {
    const wasLost = this.currentStatus.value.state === "lost";
    this.close();
    const views = this.isPaused ? [] : this.watched();
    if (views.length === 0) {
      this.currentStatus.value = { state: "idle", retryAt: 0 };
      return;
    }
    this.streamed = [...views].sort().join("\n");
    // A lost stream is live again when it has been opened, not when that is tried.
    if (!wasLost) this.currentStatus.value = { state: "connecting", retryAt: 0 };
    let isOver = false;
    const connection = this.source.connect(
      views,
      (event) => {
        if (!isOver) this.receive(event);
      },
      () => {
        if (!isOver) this.setLive();
      },
      () => {
        if (isOver) return;
        isOver = true;
        this.lose();
      },
    );
    this.connection = {
      close: () => {
        isOver = true;
        connection.close();
      },
    };
  }

  private setLive(): void {
    this.retryMs = FIRST_RETRY_MS;
    if (this.currentStatus.value.state !== "live") this.currentStatus.value = { state: "live", retryAt: 0 };
  }

  private lose(): void {
    this.connection?.close();
    this.connection = undefined;
    const waitMs = this.retryMs;
    this.retryMs = Math.min(waitMs * 2, LAST_RETRY_MS);
    this.currentStatus.value = { state: "lost", retryAt: Date.now() + waitMs };
    this.cancelRetry = this.source.later(waitMs, () => this.open());
    for (const path of this.watched()) void this.load(path);
  }

  private async load(path: string): Promise<void> {
    const view = this.find(path);
    try {
      view.data.value = await this.source.load(path);
      view.error.value = undefined;
    } catch (error) {
      view.error.value = error;
    }
  }

  private receive(event: StreamEvent): void {
    this.setLive();
    if (event.event === "activity") {
      this.activity.value = [event.data, ...this.activity.value].slice(0, KEPT_ACTIVITY);
      return;
    }
    const view = this.views.get(event.view);
    if (view === undefined) return;
    if (event.event === "error") {
      view.data.value = undefined;
      view.error.value = new ApiError(event.data.status, event.data.message, event.data.detail ?? "");
      return;
    }
    const data = event.event === "full" ? event.data : applyDelta(view.data.peek(), event.data);
    if (data === undefined) {
      // Something was missed: the stream begins anew.
      this.open();
      return;
    }
    view.data.value = data;
    view.error.value = undefined;
  }
}
