import type { Clock, Timer } from "../base/clock.ts";
import { parseBroker } from "./connection-options.ts";
import { asError, ClientError } from "./errors.ts";
import type { LinkEvent } from "./events.ts";
import type { HttpOptions } from "./http.ts";
import { LookupClient, type LookupNode, nodeAddress } from "./lookup-client.ts";

/** Where brokers are found. One of the two. */
export interface BrokerSource {
  /** The brokers' TCP addresses: `host:port`, or the path of a unix socket. */
  brokers?: readonly string[];
  /** The lookup servers' HTTP addresses. All are asked. */
  lookups?: readonly string[];
  /** How often they are asked, ms. Default 60,000. */
  lookupPollMs?: number;
  /** By which part of the interval polls are shifted at random, so that clients that started together do not ask together. Default 0.3. */
  lookupJitter?: number;
  /** How long an answer may take, ms. Default 5,000. */
  lookupTimeoutMs?: number;
  /** How else they are asked. */
  lookupHttp?: Omit<HttpOptions, "timeoutMs">;
}

/** Who uses the list. */
export interface BrokerListOwner {
  /** @param brokers all that are known now */
  onBrokers(brokers: ReadonlySet<string>): void;
  emit(event: LinkEvent): void;
}

const DEFAULT_POLL_MS = 60_000;
/** Polls that are asked for in between are at least this far apart. */
const MIN_POLL_MS = 1_000;
/** How often lookup servers are asked while they know no broker, so that a new topic is found soon. */
const SEARCH_POLL_MS = 2_000;
/**
 * After a broker was lost they are asked after this time, and then after twice the time and so on: another broker of a cluster takes its
 * place within two seconds, and one that is only started anew is back soon.
 */
const LOST_POLL_MS = 500;

/** The brokers that a client uses: a fixed list, or what the lookup servers say. */
export class BrokerList {
  /** One for each lookup server. */
  readonly clients: readonly LookupClient[];
  /** How often they are asked, ms. */
  readonly pollMs: number;
  private readonly jitter: number;
  /** What each lookup server said last. */
  private readonly answers = new Map<string, ReadonlySet<string>>();
  private readonly stopper = new AbortController();
  private timer: Timer | undefined;
  private lastPollMs = Number.NEGATIVE_INFINITY;
  private isPolling = false;
  /** The wait before the next poll, if that is shorter than usual. */
  private searchMs = Number.POSITIVE_INFINITY;

  /**
   * @param topic whose brokers are wanted; undefined for all brokers
   * @throws ClientError INVALID_OPTION
   */
  constructor(
    private readonly source: BrokerSource,
    private readonly topic: string | undefined,
    private readonly clock: Clock,
    private readonly owner: BrokerListOwner,
  ) {
    const { brokers = [], lookups = [] } = source;
    if (brokers.length > 0 === lookups.length > 0) throw new ClientError("INVALID_OPTION", "give either brokers or lookups");
    for (const broker of brokers) parseBroker(broker);
    const { lookupTimeoutMs, lookupHttp } = source;
    const http = { ...lookupHttp, ...(lookupTimeoutMs === undefined ? {} : { timeoutMs: lookupTimeoutMs }) };
    this.clients = lookups.map((address) => new LookupClient(address, http));
    this.pollMs = source.lookupPollMs ?? DEFAULT_POLL_MS;
    this.jitter = source.lookupJitter ?? 0.3;
    if (!(this.pollMs > 0 && this.jitter >= 0 && this.jitter <= 1)) {
      throw new ClientError("INVALID_OPTION", "lookupPollMs must be positive, and lookupJitter between 0 and 1");
    }
  }

  start(): void {
    if (this.clients.length === 0) this.owner.onBrokers(new Set(this.source.brokers));
    else void this.poll(true);
  }

  /** A broker was lost, so the lookup servers may know more. */
  pollSoon(): void {
    this.searchMs = LOST_POLL_MS;
    if (this.clients.length === 0 || this.isPolling || this.stopper.signal.aborted) return;
    const waitMs = Math.max(0, this.lastPollMs + MIN_POLL_MS - this.clock.steadyMs());
    this.plan(waitMs);
  }

  stop(): void {
    this.stopper.abort();
    if (this.timer !== undefined) this.clock.cancel(this.timer);
    this.timer = undefined;
  }

  /** Asks all lookup servers. Never rejects. */
  private async poll(isFirst: boolean): Promise<void> {
    this.isPolling = true;
    this.lastPollMs = this.clock.steadyMs();
    const results = await Promise.all(this.clients.map((client) => this.ask(client)));
    this.isPolling = false;
    if (this.stopper.signal.aborted) return;
    // While a lookup server is down, what it said last counts.
    const known = new Set([...this.answers.values()].flatMap((brokers) => [...brokers]));
    if (isFirst || results.includes(true)) this.owner.onBrokers(known);
    const wholeMs = Math.min(this.pollMs, this.searchMs, known.size === 0 ? SEARCH_POLL_MS : Number.POSITIVE_INFINITY);
    this.searchMs *= 2;
    this.plan(wholeMs * (1 + this.jitter * (Math.random() - 0.5)));
  }

  private async ask(client: LookupClient): Promise<boolean> {
    const { signal } = this.stopper;
    try {
      const { topic } = this;
      const nodes: LookupNode[] = topic === undefined ? await client.nodes(signal) : (await client.lookup(topic, signal)).producers;
      this.answers.set(client.address, new Set(nodes.map(nodeAddress)));
      return true;
    } catch (thrown) {
      if (signal.aborted) return false;
      const error =
        thrown instanceof ClientError
          ? thrown
          : new ClientError("LOOKUP_FAILED", asError(thrown).message, { broker: client.address, cause: thrown });
      this.owner.emit({ type: "lookup-failed", lookup: client.address, error });
      return false;
    }
  }

  private plan(delayMs: number): void {
    if (this.timer !== undefined) this.clock.cancel(this.timer);
    this.timer = this.clock.callAfter(delayMs, () => {
      this.timer = undefined;
      void this.poll(false);
    });
  }
}
