import type { Clock, Timer } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { UpstreamError } from "../upstream/upstream.ts";
import { Cluster } from "./cluster.ts";
import { Refresher } from "./refresher.ts";
import { Replication } from "./replication.ts";
import type { Sight } from "./sight.ts";
import type { WatchedBroker } from "./watched-broker.ts";
import type { WatchedLookup } from "./watched-lookup.ts";
import type { WatchedServer } from "./watched-server.ts";

/** Asks brokers and lookups. */
export interface Upstream {
  /** Sends a GET. @returns the parsed JSON of the answer; rejects with an Error that says plainly what went wrong */
  getJson(address: string, path: string, signal: AbortSignal): Promise<unknown>;
}

export interface WatchOptions {
  /** The brokers to watch, beside those that the lookups list, and the lookups: `host:port` of HTTP. They may change at any time. */
  brokers(): readonly string[];
  lookups(): readonly string[];
  /** What users may see who do not see all topics. It may change at any time. */
  sights(): readonly Sight[];
  /** The time between two polls while somebody looks, ms. */
  pollMs: number;
  /** What the values of the history may take, bytes. */
  historyBytes: number;
}

/** With nobody looking, what is asked is for the history only, which has a value every 10 s. */
const IDLE_POLL_MS = 10_000;
/** Somebody looks who has asked for something within this time. */
const LOOKING_MS = 30_000;
/** Polls that are a little early or late each time do not fall together with those of other consoles. */
const JITTER = 0.1;
/** The servers that are asked at the same time. Each answer is folded into the state when it is complete, and not kept. */
const AT_A_TIME = 4;
/** What lookups know changes seldom. */
const LOOKUP_POLL_MS = 10_000;
/** The longest time that the others' figures wait for those of a slow server. */
const SETTLE_MS = 1_000;
/**
 * A broker is asked the less often the more it has: so much for each topic and channel. A broker of bunsq takes about 2 µs for
 * one of them in its answer, so being watched takes it at most 0.2 % of a core.
 */
const MS_PER_ENTRY = 1;

const STATS = "/stats?format=json&include_clients=false&include_mem=false&include_partitions=false&bunsq=true";

/** Polls brokers and lookups in rounds, and keeps the state that views are made of. */
export class Watcher {
  readonly cluster: Cluster;
  readonly replication = new Replication();
  /** The number of rounds: a view that was made in this one is not out of date. */
  round = 0;
  private readonly listeners = new Set<() => void>();
  private readonly refresher: Refresher;
  private timer: Timer | undefined;
  private readonly closing = new AbortController();
  private lookedMs = Number.NEGATIVE_INFINITY;
  private roundMs = Number.NaN;
  private nextLookupsMs = Number.NEGATIVE_INFINITY;
  private leftOut = 0;
  /** From the steady clock to ms since 1970: history must not go back when somebody sets the clock. */
  private readonly originMs: number;

  constructor(
    private readonly options: WatchOptions,
    private readonly upstream: Upstream,
    private readonly logger: Logger,
    readonly clock: Clock,
    /** Draws a number in [0, 1). */
    private readonly random: () => number = Math.random,
  ) {
    this.cluster = new Cluster(options.pollMs, options.historyBytes);
    this.originMs = clock.wallMs() - clock.steadyMs();
    this.refresher = new Refresher(clock, (servers) => this.askChanged(servers));
  }

  get pollMs(): number {
    return this.options.pollMs;
  }

  /** ms since 1970, on a clock that does not go back. */
  get timeMs(): number {
    return this.originMs + this.clock.steadyMs();
  }

  /** Begins to poll. */
  start(): void {
    void this.poll();
  }

  /** Asks a server, until the watcher is closed. Rejects with an Error that says plainly what went wrong. */
  ask(address: string, path: string): Promise<unknown> {
    return this.upstream.getJson(address, path, this.closing.signal);
  }

  /** Polls no more, and ends the requests that are under way. */
  close(): void {
    this.closing.abort();
    if (this.timer !== undefined) this.clock.cancel(this.timer);
    this.timer = undefined;
    this.refresher.close();
    this.listeners.clear();
  }

  /** Calls back after each round. @returns what ends that */
  onRound(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** A server was told to do something. @param address of any server */
  noteChange(address: string): void {
    const isWatched = this.cluster.brokers.has(address) || this.cluster.lookups.has(address);
    if (isWatched && !this.isClosed) this.refresher.note(address);
  }

  /** Asks those servers at once for which a change was noted, whenever it would be their turn. */
  refresh(): void {
    this.refresher.start();
  }

  /** Resolves when that is done, or takes too long; undefined if it is not under way. */
  refreshed(): Promise<void> | undefined {
    return this.refresher.wait();
  }

  /** Somebody looks: for a while brokers are polled often. */
  look(): void {
    const wasIdle = this.isIdle;
    this.lookedMs = this.clock.steadyMs();
    if (!wasIdle || this.timer === undefined) return;
    this.clock.cancel(this.timer);
    this.timer = undefined;
    void this.poll();
  }

  private get isClosed(): boolean {
    return this.closing.signal.aborted;
  }

  private get isIdle(): boolean {
    return this.listeners.size === 0 && this.clock.steadyMs() - this.lookedMs > LOOKING_MS;
  }

  private async poll(): Promise<void> {
    const startMs = this.clock.steadyMs();
    this.timer = undefined;
    const lookups = this.askLookups(startMs);
    // Only at the start nothing can be done without them.
    if (this.cluster.brokers.size === 0) await lookups;
    const replication = this.askReplication();
    await this.settled(Promise.all([this.askAll(this.dueBrokers(startMs), (broker) => this.askBroker(broker)), replication]));
    if (this.isClosed) return;
    this.finishRound();
    const intervalMs = this.isIdle ? Math.max(IDLE_POLL_MS, this.pollMs) : this.pollMs;
    const jitterMs = intervalMs * JITTER * (2 * this.random() - 1);
    const delayMs = Math.max(0, startMs + intervalMs + jitterMs - this.clock.steadyMs());
    this.timer = this.clock.callAfter(delayMs, () => void this.poll());
  }

  private finishRound(): void {
    const nowMs = this.clock.steadyMs();
    this.list();
    this.cluster.listSights(this.options.sights());
    this.cluster.sum();
    // The first figures have no rates: there is nothing to compare them with.
    if (!Number.isNaN(this.roundMs)) this.cluster.record(this.timeMs, nowMs - this.roundMs);
    this.roundMs = nowMs;
    this.round++;
    this.tellOfLeftOut();
    for (const listener of this.listeners) listener();
  }

  private list(): void {
    this.cluster.list(this.options.brokers(), this.options.lookups(), this.clock.steadyMs());
  }

  private tellOfLeftOut(): void {
    const { leftOut } = this.cluster.entries;
    if (leftOut > 0 && this.leftOut === 0) this.logger.warn("WATCH: there are too many topics and channels; some are not shown");
    this.leftOut = leftOut;
  }

  private async askChanged(addresses: ReadonlySet<string>): Promise<void> {
    const { brokers, lookups } = this.cluster;
    const free = <Server extends WatchedServer>(servers: ReadonlyMap<string, Server>): Server[] => {
      const changed = [...addresses].flatMap((address) => servers.get(address) ?? []);
      // The answer that is under way may be older than the change.
      for (const { address, isAsked } of changed) if (isAsked) this.noteChange(address);
      return changed.filter(({ isAsked }) => !isAsked);
    };
    const asking = [
      this.askAll(free(brokers), (broker) => this.askBroker(broker)),
      this.askAll(free(lookups), (lookup) => this.askLookup(lookup)),
    ];
    const isOfCluster = this.replication.lookup !== undefined && addresses.has(this.replication.lookup);
    await this.settled(Promise.all([...asking, ...(isOfCluster ? [this.askReplication()] : [])]));
    if (this.isClosed) return;
    this.list();
    this.cluster.sum();
    this.round++;
    for (const listener of this.listeners) listener();
  }

  /** Asks for the replicated cluster, if there is one. */
  private askReplication(): Promise<void> {
    return this.replication.ask(this.cluster.lookups.values(), this.clock.steadyMs(), (address, path) => this.ask(address, path));
  }

  /** Asks all lookups, if it is time. */
  private async askLookups(nowMs: number): Promise<void> {
    this.list();
    if (nowMs < this.nextLookupsMs) return;
    this.nextLookupsMs = nowMs + LOOKUP_POLL_MS;
    const due = [...this.cluster.lookups.values()].filter((lookup) => !lookup.isAsked && lookup.nextPollMs <= nowMs);
    await this.settled(this.askAll(due, (lookup) => this.askLookup(lookup)));
    this.list();
  }

  private dueBrokers(nowMs: number): WatchedBroker[] {
    // A round may begin somewhat early.
    const soonMs = nowMs + this.pollMs * JITTER;
    return [...this.cluster.brokers.values()].filter((broker) => !broker.isAsked && broker.nextPollMs <= soonMs);
  }

  /** Waits until all were asked, or for a second. */
  private async settled(asking: Promise<unknown>): Promise<void> {
    const settling = Promise.withResolvers<void>();
    const timer = this.clock.callAfter(SETTLE_MS, settling.resolve);
    await Promise.race([asking, settling.promise]);
    this.clock.cancel(timer);
  }

  private async askAll<Server extends WatchedServer>(servers: Server[], ask: (server: Server) => Promise<void>): Promise<void> {
    // They are taken now: a server that has to wait for its turn must not be asked by the next round, too.
    for (const server of servers) server.isAsked = true;
    const pending = servers.values();
    const workers = Array.from({ length: AT_A_TIME }, async () => {
      for (const server of pending) {
        try {
          if (!this.isClosed) await ask(server);
        } catch (error) {
          this.fail(server, error as Error);
        } finally {
          server.isAsked = false;
        }
      }
    });
    await Promise.all(workers);
  }

  private fail(server: WatchedServer, error: Error): void {
    if (this.isClosed) return;
    const why = error instanceof UpstreamError ? error.why : error.message;
    if (server.isUp || server.down === "") this.logger.warn(`WATCH: ${server.address} does not answer - ${why}`);
    server.fail(why, this.clock.steadyMs(), this.pollMs, this.timeMs);
  }

  private async askBroker(broker: WatchedBroker): Promise<void> {
    const startMs = this.clock.steadyMs();
    const stats = await this.ask(broker.address, STATS);
    const nowMs = this.clock.steadyMs();
    const wasDown = !broker.isUp && broker.down !== "";
    broker.foldStats(stats, nowMs, this.cluster.entries);
    broker.nextPollMs = startMs + (broker.topics.size + broker.channels) * MS_PER_ENTRY;
    if (wasDown) this.logger.info(`WATCH: ${broker.address} answers again`);
    if (broker.infoOf !== broker.startTime) broker.foldInfo(await this.ask(broker.address, "/info"));
  }

  private async askLookup(lookup: WatchedLookup): Promise<void> {
    const { address } = lookup;
    if (lookup.version === "") lookup.foldInfo(await this.ask(address, "/info"));
    const nodes = await this.ask(address, "/nodes");
    lookup.fold(nodes, await this.ask(address, "/topics"));
  }
}
