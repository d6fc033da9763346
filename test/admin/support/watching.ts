import { Views } from "../../../src/admin/views/views.ts";
import type { Sight } from "../../../src/admin/watch/sight.ts";
import { Watcher, type WatchOptions } from "../../../src/admin/watch/watcher.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";
import { ANYBODY } from "./anybody.ts";
import { type FakeBroker, FakeUpstream } from "./fake-upstream.ts";

/** The time at the start, ms since 1970. */
export const START_MS = 1_700_000_000_000;

/** A watcher of fake brokers, with a clock that stands still. */
export class Watching implements Disposable {
  readonly upstream = new FakeUpstream();
  readonly clock = new SimulatedClock(START_MS);
  readonly logger = new MemoryLogger();
  readonly watcher: Watcher;
  readonly views: Views;

  constructor(brokers: Record<string, FakeBroker>, options: Partial<WatchOptions> = {}) {
    for (const [address, broker] of Object.entries(brokers)) this.upstream.brokers.set(address, broker);
    const defaults = {
      brokers: () => Object.keys(brokers),
      lookups: () => [],
      sights: () => [],
      pollMs: 2_000,
      historyBytes: 8 * 1024 * 1024,
    };
    this.watcher = new Watcher({ ...defaults, ...options }, this.upstream, this.logger, this.clock, () => 0.5);
    this.views = new Views(this.watcher);
  }

  /** Polls for the first time. */
  async start(): Promise<void> {
    this.watcher.look();
    this.watcher.start();
    await this.settle();
  }

  /** Lets time pass and polls fall due, in steps of a second. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 1_000) {
      this.clock.advance(Math.min(left, 1_000));
      await this.settle();
    }
  }

  /** Lets everything happen that needs no time. */
  async settle(): Promise<void> {
    for (let i = 0; i < 5; i++) {
      await new Promise(setImmediate);
      this.clock.endTurn();
    }
  }

  /** A view, as the page gets it. */
  async read<View>(path: string, sight: Sight = ANYBODY.grants): Promise<View> {
    return JSON.parse(JSON.stringify(await this.views.read(path, sight))) as View;
  }

  [Symbol.dispose](): void {
    this.watcher.close();
    this.views.close();
  }
}
