import type { Clock } from "../../base/clock.ts";

/** The least time between two refreshes: a script that does a thousand things must not have brokers asked a thousand times. */
const GAP_MS = 250;
/** The longest time that a view waits for a refresh. */
const PATIENCE_MS = 1_000;

/**
 * Has servers asked again that were told to do something, so that what is shown next has it. One refresh is under way at a time, and
 * what changes meanwhile is asked about by the next one, together.
 */
export class Refresher {
  private readonly changed = new Set<string>();
  private refreshing: Promise<void> | undefined;
  private startMs = Number.NEGATIVE_INFINITY;

  /** @param ask asks these servers. It may note some again, if they cannot be asked now */
  constructor(
    private readonly clock: Clock,
    private readonly ask: (servers: ReadonlySet<string>) => Promise<void>,
  ) {}

  /** A server was told to do something. */
  note(server: string): void {
    this.changed.add(server);
  }

  /** Begins to ask the servers that have been noted, unless that is under way. */
  start(): void {
    if (this.changed.size === 0) return;
    this.refreshing ??= this.refresh().finally(() => {
      this.refreshing = undefined;
      this.start();
    });
  }

  /** Forgets what has been noted. */
  close(): void {
    this.changed.clear();
  }

  /** Waits for what is under way, but not for long; undefined if nothing is. */
  wait(): Promise<void> | undefined {
    if (this.refreshing === undefined) return undefined;
    const patience = Promise.withResolvers<void>();
    const timer = this.clock.callAfter(PATIENCE_MS, patience.resolve);
    return Promise.race([this.refreshing, patience.promise]).finally(() => this.clock.cancel(timer));
  }

  private async refresh(): Promise<void> {
    while (this.changed.size > 0) {
      const waitMs = this.startMs + GAP_MS - this.clock.steadyMs();
      if (waitMs > 0) await new Promise<void>((resolve) => this.clock.callAfter(waitMs, resolve));
      this.startMs = this.clock.steadyMs();
      const servers = new Set(this.changed);
      this.changed.clear();
      await this.ask(servers);
    }
  }
}
