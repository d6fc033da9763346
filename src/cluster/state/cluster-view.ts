import type { Clock, Timer } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { RateLimitedLog } from "../../base/rate-limited-log.ts";
import type { Etcd, EtcdEntry, EtcdEvent, EtcdWatch } from "../etcd/etcd.ts";
import { EtcdError } from "../etcd/etcd-error.ts";
import type { ClusterKeys } from "./keys.ts";
import { type Kind, type Records, SHAPES } from "./records.ts";
import { BadValue } from "./shape.ts";

/** How long to wait before everything is read again after that failed. */
const READ_AGAIN_MS = 250;

/** A value of the cluster's, as etcd had it last. */
export interface Stored<T> {
  readonly value: T;
  /** What a transaction that changes the key must name. */
  readonly modRevision: number;
  readonly lease: string;
}

/** A key that was made, changed or removed. */
export type ViewChange = {
  [K in Kind]: {
    readonly kind: K;
    readonly name: string;
    readonly before: Stored<Records[K]> | undefined;
    readonly after: Stored<Records[K]> | undefined;
  };
}[Kind];

/**
 * Hears what changes. After something was missed, many revisions come as one.
 *
 * @param revision what the view is up to
 */
export type ViewListener = (changes: readonly ViewChange[], revision: number) => void;

type Tables = { readonly [K in Kind]: Map<string, Stored<Records[K]>> };

/**
 * A copy of all that etcd has of the cluster. It is read once and then kept by a watch, in the order of etcd's revisions. It may be behind:
 * what must be true is asked of etcd in the transaction that rests on it.
 *
 * A value that cannot be read does not count as removed: the one before it stays, and `unreadable` has the key.
 */
export class ClusterView {
  /** The revision that the copy is of; 0: nothing was read yet. */
  revision = 0;
  /** Keys whose values cannot be read, and why. */
  readonly unreadable = new Map<string, BadValue>();
  private readonly tables: Tables = {
    brokers: new Map(),
    lookups: new Map(),
    controller: new Map(),
    topics: new Map(),
    partitions: new Map(),
    moves: new Map(),
    removals: new Map(),
    deleted: new Map(),
    requests: new Map(),
  };
  /** The revision that changed each known key last. */
  private readonly modRevisions = new Map<string, number>();
  private readonly listeners = new Set<ViewListener>();
  private readonly errors: RateLimitedLog;
  private watch: EtcdWatch | undefined;
  private timer: Timer | undefined;
  private isClosed = false;
  private onLoaded: () => void = () => {};

  constructor(
    private readonly etcd: Etcd,
    private readonly keys: ClusterKeys,
    private readonly clock: Clock,
    logger: Logger,
    /** Called when etcd could not be read or followed; it is tried again. */
    private readonly onTrouble: (error: EtcdError) => void = (error) =>
      this.errors.error(`the cluster's state is not followed: ${error.message}`),
  ) {
    this.errors = new RateLimitedLog(logger, () => clock.steadyMs());
  }

  /** @returns once everything was read for the first time, however long etcd is away; not if it is closed before */
  start(): Promise<void> {
    const loaded = new Promise<void>((resolve) => {
      this.onLoaded = resolve;
    });
    void this.load();
    return loaded;
  }

  close(): void {
    this.isClosed = true;
    this.watch?.close();
    if (this.timer !== undefined) this.clock.cancel(this.timer);
  }

  /** @returns a function that ends this */
  listen(listener: ViewListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  get brokers(): ReadonlyMap<string, Stored<Records["brokers"]>> {
    return this.tables.brokers;
  }

  get lookups(): ReadonlyMap<string, Stored<Records["lookups"]>> {
    return this.tables.lookups;
  }

  get controller(): Stored<Records["controller"]> | undefined {
    return this.tables.controller.get("");
  }

  get topics(): ReadonlyMap<string, Stored<Records["topics"]>> {
    return this.tables.topics;
  }

  /** By `TOPIC/PARTITION`. */
  get partitions(): ReadonlyMap<string, Stored<Records["partitions"]>> {
    return this.tables.partitions;
  }

  get moves(): ReadonlyMap<string, Stored<Records["moves"]>> {
    return this.tables.moves;
  }

  get removals(): ReadonlyMap<string, Stored<Records["removals"]>> {
    return this.tables.removals;
  }

  get deleted(): ReadonlyMap<string, Stored<Records["deleted"]>> {
    return this.tables.deleted;
  }

  /** That an operator wants everything balanced now. */
  get balanceRequest(): Stored<Records["requests"]> | undefined {
    return this.tables.requests.get("balance");
  }

  /** Reads everything, tells what differs from before, and watches from there. */
  private async load(): Promise<void> {
    const { prefix } = this.keys;
    const range = await this.etcd.range(prefix);
    if (this.isClosed) return;
    if (range instanceof EtcdError) {
      this.onTrouble(range);
      this.timer = this.clock.callAfter(READ_AGAIN_MS, () => void this.load());
      return;
    }
    this.takeAll(range.entries, range.revision);
    this.watch = this.etcd.watch(prefix, range.revision + 1, {
      onEvents: (revision, events) => this.take(events, revision),
      onCompacted: () => void this.load(),
      onTrouble: this.onTrouble,
    });
    this.onLoaded();
  }

  private takeAll(entries: readonly EtcdEntry[], revision: number): void {
    const there = new Set(entries.map(({ key }) => key));
    const removed = [...this.modRevisions.keys()].filter((key) => !there.has(key)).map((key): EtcdEvent => ({ key, entry: undefined }));
    const changed = entries.filter(({ key, modRevision }) => this.modRevisions.get(key) !== modRevision);
    // When something was removed is not known; what was changed comes in the order in which it was.
    changed.sort((one, other) => one.modRevision - other.modRevision);
    this.take([...removed, ...changed.map((entry) => ({ key: entry.key, entry }))], revision);
  }

  private take(events: readonly EtcdEvent[], revision: number): void {
    if (this.isClosed) return;
    const changes: ViewChange[] = [];
    for (const { key, entry } of events) {
      const place = this.keys.placeOf(key);
      if (entry === undefined) this.modRevisions.delete(key);
      else this.modRevisions.set(key, entry.modRevision);
      const change = place === undefined ? undefined : this.apply(place.kind, place.name, key, entry);
      if (change !== undefined) changes.push(change);
    }
    this.revision = revision;
    if (changes.length === 0) return;
    for (const listener of [...this.listeners]) listener(changes, revision);
  }

  private apply<K extends Kind>(kind: K, name: string, key: string, entry: EtcdEntry | undefined): ViewChange | undefined {
    const table = this.tables[kind];
    const before = table.get(name);
    let after: Stored<Records[K]> | undefined;
    if (entry !== undefined) {
      const value = SHAPES[kind].read(entry.value);
      if (value instanceof BadValue) {
        this.unreadable.set(key, value);
        this.errors.error(`${key} in etcd cannot be read, and stays as it was: ${value.message}`);
        return undefined;
      }
      after = { value: value as Records[K], modRevision: entry.modRevision, lease: entry.lease };
      table.set(name, after);
    } else table.delete(name);
    this.unreadable.delete(key);
    if (before === undefined && after === undefined) return undefined;
    return { kind, name, before, after } as ViewChange;
  }
}
