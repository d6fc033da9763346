import { StartInterrupted } from "../base/start-error.ts";
import type { RecoveryProgress } from "./recovery/recovery.ts";

/** The event loop has its turn this often while a data path is opened, ms. */
const SLICE_MS = 5;

/** The opening of a data path: how far it is, and what stops it. */
export class Opening {
  /** What is done now, for operators. */
  stage = "recovering";
  /** How many topics of the earlier run are open; undefined: it is not known yet how many there are. */
  progress: RecoveryProgress | undefined;
  private stopped = false;
  private readonly ended = Promise.withResolvers<void>();
  private running = false;

  /** Runs the steps of the opening in slices. @throws what they throw, and StartInterrupted after stop() */
  async run<Result>(steps: Generator<RecoveryProgress, Result>): Promise<Result> {
    this.running = true;
    try {
      for (;;) {
        const untilMs = performance.now() + SLICE_MS;
        do {
          const step = this.stopped
            ? steps.throw(new StartInterrupted("the start was interrupted; the next one recovers again"))
            : steps.next();
          if (step.done === true) return step.value;
          this.progress = step.value;
        } while (performance.now() < untilMs);
        await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      this.running = false;
      this.ended.resolve();
    }
  }

  /** Has the opening end before its next step. Resolves when it has ended. Without an opening under way it does nothing. */
  stop(): Promise<void> {
    this.stopped = true;
    return this.running ? this.ended.promise : Promise.resolve();
  }

  /** What the answer to /ready says. */
  get reason(): string {
    const { stage, progress } = this;
    return progress === undefined ? stage : `${stage}: ${progress.opened} of ${progress.total} topics are open`;
  }
}
