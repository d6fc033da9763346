import type { ServerState } from "../console-api.ts";

/** A server that does not answer is asked again after the time between two polls, then twice that, up to this. */
const MOST_BACK_OFF_MS = 30_000;
/** Why a server does not answer may be a page of HTML. */
const MAX_REASON = 300;

/** What brokers and lookups have alike: whether they answer, and when they are to be asked again. */
export abstract class WatchedServer {
  version = "";
  product: ServerState["product"] = "";
  /** Why it does not answer; undefined if it does, and empty if it has not been asked. */
  down: string | undefined = "";
  unhealthy = "";
  /** Since when it does not answer, ms since 1970 on a clock that does not go back; undefined if it does. */
  downSince: number | undefined;
  /** When it is to be asked, on a clock that nobody sets, ms. */
  nextPollMs = 0;
  /** It is being asked now. */
  isAsked = false;
  private failures = 0;

  /** @param address `host:port` of its HTTP API */
  constructor(readonly address: string) {}

  get isUp(): boolean {
    return this.down === undefined;
  }

  protected succeed(): void {
    this.down = undefined;
    this.downSince = undefined;
    this.failures = 0;
  }

  /**
   * @param intervalMs the time between two polls
   * @param timeMs ms since 1970, on a clock that does not go back
   */
  fail(reason: string, nowMs: number, intervalMs: number, timeMs: number): void {
    this.downSince ??= timeMs;
    this.down = reason.length <= MAX_REASON ? reason : `${reason.slice(0, MAX_REASON)} …`;
    this.nextPollMs = nowMs + Math.max(intervalMs, Math.min(MOST_BACK_OFF_MS, intervalMs * 2 ** this.failures));
    this.failures = Math.min(16, this.failures + 1);
  }

  /** Why it does not answer, and since when; nothing if it does. */
  downState(): Pick<ServerState, "down" | "down_since"> {
    const { down, downSince } = this;
    if (down === undefined) return {};
    return { down: down === "" ? "not asked yet" : down, ...(downSince === undefined ? {} : { down_since: Math.round(downSince) }) };
  }

  state(): ServerState {
    const { address, unhealthy, version, product } = this;
    return {
      address,
      ...this.downState(),
      ...(unhealthy === "" ? {} : { unhealthy }),
      version,
      product,
    };
  }
}
