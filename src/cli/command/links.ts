import type { ClientError, ConsumerEvent, ProducerEvent } from "../../client/bun.ts";
import type { Terminal } from "./terminal.ts";

/** What a producer or a consumer reports. */
type ClientEvent = ProducerEvent | ConsumerEvent;

/** Errors that another attempt does not cure: the command line lacks something, or the broker does not allow it. */
const LASTING: ReadonlySet<string> = new Set([
  "E_AUTH_FIRST",
  "E_UNAUTHORIZED",
  "E_INVALID",
  "E_IDENTIFY_FAILED",
  "TLS_FAILED",
  "TLS_REFUSED",
]);

/**
 * Says on standard error what happens to connections, and tells whether the first of them failed for good. One that is lost later is
 * made again.
 */
export class Links {
  private readonly failing = new AbortController();
  private hasConnected = false;
  private hasLost = false;
  private readonly untried = new Set<string>();
  private readonly lookupsDown = new Set<string>();

  /** @param lookups how many lookup servers there are. Without it, brokers and lookup servers that cannot be reached are tried again */
  constructor(
    private readonly terminal: Terminal,
    private readonly lookups?: number,
  ) {}

  /** Aborts once the command cannot succeed, with the ClientError that says why. */
  get failed(): AbortSignal {
    return this.failing.signal;
  }

  readonly onEvent = (event: ClientEvent): void => {
    const failure = this.failureIn(event);
    if (event.type === "connected") this.hasConnected = true;
    if (event.type === "broker-found") this.untried.add(event.broker);
    if (event.type === "disconnected") this.hasLost = true;
    if (failure !== undefined) this.failing.abort(failure);
    else if (!this.failed.aborted) this.report(event);
  };

  private failureIn(event: ClientEvent): ClientError | undefined {
    if (event.type === "connect-failed" || event.type === "lookup-failed") {
      const isHopeless = this.lookups === undefined ? LASTING.has(event.error.code) : this.noneIsLeft(event, this.lookups);
      return !this.hasConnected && isHopeless ? event.error : undefined;
    }
    // A broker that refuses SUB ends a connection that was open.
    return event.type === "disconnected" && !this.hasLost && LASTING.has(event.error?.code ?? "") ? event.error : undefined;
  }

  /** Whether all brokers, or all lookup servers, have failed with this one. */
  private noneIsLeft(event: Extract<ClientEvent, { type: "connect-failed" | "lookup-failed" }>, lookups: number): boolean {
    if (event.type === "connect-failed") {
      this.untried.delete(event.broker);
      return this.untried.size === 0;
    }
    this.lookupsDown.add(event.lookup);
    return this.lookupsDown.size >= lookups;
  }

  private report(event: ClientEvent): void {
    const { terminal } = this;
    switch (event.type) {
      case "disconnected":
        if (event.error !== undefined) terminal.warn(`lost ${event.broker}: ${event.error.message}; connecting again`);
        break;
      case "connect-failed":
      case "broker-error":
      case "lookup-failed":
        terminal.warn(`warning: ${event.error.message}`);
        break;
      case "maybe-duplicated":
        terminal.warn(`warning: ${event.count} messages that may have reached ${event.from} were sent to ${event.to}`);
        break;
      default:
    }
  }
}
