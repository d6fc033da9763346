import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { RateLimitedLog } from "../../base/rate-limited-log.ts";
import type { EtcdError } from "./etcd-error.ts";

/** How often it is said that etcd is still away. */
const AGAIN_AFTER_MS = 60_000;

/** Logs what keeps a server from etcd. The lease, the watches and reads all find that etcd is away: it is said once, and then each minute. */
export class EtcdTrouble {
  private readonly errors: RateLimitedLog;
  private awayMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly logger: Logger,
    private readonly clock: Clock,
  ) {
    this.errors = new RateLimitedLog(logger, () => clock.steadyMs());
  }

  tell(error: EtcdError): void {
    if (error.reason !== "unreachable") return this.errors.error(`CLUSTER: ${error.message}`);
    const nowMs = this.clock.steadyMs();
    if (nowMs - this.awayMs < AGAIN_AFTER_MS) return;
    this.awayMs = nowMs;
    this.logger.error(`CLUSTER: ${error.message}. It is tried again; until etcd answers, what fails in the cluster is not replaced`);
  }

  /** etcd answers: if it is away again, it is said at once. */
  over(): void {
    this.awayMs = Number.NEGATIVE_INFINITY;
  }
}
