import type { Logger } from "../../base/logger.ts";
import { StartInterrupted } from "../../base/start-error.ts";

/** How long the event loop may wait: a signal is noticed after this time. */
const BREATH_MS = 50;
const REPORT_MS = 1000;

/** Lets the event loop run during a long piece of work, logs how far it is once a second, and stops it when that is asked for. */
export class Pace {
  private breathAtMs = performance.now() + BREATH_MS;
  private reportAtMs = performance.now() + REPORT_MS;
  private stopping = false;

  /**
   * @param report returns the line to log
   * @param onBreath called each time the event loop gets its turn; tests stop the work there
   */
  constructor(
    private readonly logger: Logger,
    private readonly report: () => string,
    private readonly onBreath: () => void = () => {},
  ) {}

  /** Makes the next breathe() throw. */
  stop(): void {
    this.stopping = true;
  }

  /** To be called often. */
  get isDue(): boolean {
    return performance.now() >= this.breathAtMs;
  }

  /** Gives the event loop a turn if it is due. @throws StartInterrupted after stop() */
  async breathe(): Promise<void> {
    this.onBreath();
    if (this.isDue) {
      await new Promise(setImmediate);
      const now = performance.now();
      this.breathAtMs = now + BREATH_MS;
      if (now >= this.reportAtMs) {
        this.reportAtMs = now + REPORT_MS;
        this.logger.info(this.report());
      }
    }
    if (this.stopping) throw new StartInterrupted("interrupted; the next start goes on where this one stopped");
  }
}
